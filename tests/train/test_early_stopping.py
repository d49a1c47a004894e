"""A run that no longer gets better ends, and stays ended."""

import dataclasses
import json

import pytest
from run_configs import TINY_RUN

from dvmap_jax.config import RunConfig
from dvmap_jax.data.batches import DataConfig
from dvmap_jax.train.checkpoints import Best, CheckpointConfig, saved_step
from dvmap_jax.train.state import OptimizerConfig
from dvmap_jax.train.trainer import is_over, train
from dvmap_jax.train.weights import WeightsConfig

METRIC = "eval/score/nll"
PATIENT = RunConfig(num_steps=20, evaluate_every=2, early_stopping=3)
# The NLL falls while a model learns, so that for one who wants it high the first is the best.
STUBBORN = dataclasses.replace(
    TINY_RUN,
    objective="distribution",
    num_steps=9,
    evaluate_every=1,
    early_stopping=2,
    export=False,
    weights=WeightsConfig(tokenizer="train:600"),
    model=dataclasses.replace(TINY_RUN.model, vocab_size=600),
    data=DataConfig(template="answer", system_prompt="none", batch_size=4, max_prompt_length=256),
    optimizer=OptimizerConfig(learning_rate=0.01),
    evaluation=dataclasses.replace(TINY_RUN.evaluation, modes=("score",)),
    checkpoints=CheckpointConfig(best_metric=METRIC, best_mode="max"),
)


@dataclasses.dataclass(frozen=True)
class Saved:
    """What a run's checkpoints say of themselves."""

    latest_step: int | None
    best: Best | None


def over(latest, best, config=PATIENT):
    found = None if best is None else Best(METRIC, 0.5, best)
    return is_over(config, Saved(latest, found))


def test_three_evaluations_in_a_row_without_a_better_one_are_enough():
    assert [over(latest, 2) for latest in (2, 4, 6, 8, 10)] == [False, False, False, True, True]
    assert not over(8, 4)


def test_a_save_between_evaluations_ends_nothing():
    assert not over(7, 2)


def test_all_steps_are_enough_whichever_was_best():
    assert over(20, 20) and over(20, None) and over(21, 21)


def test_a_run_that_has_saved_nothing_or_measured_nothing_goes_on():
    assert not over(None, None) and not over(18, None)


def test_runs_go_on_to_their_end_where_nobody_asks_for_less():
    assert RunConfig().early_stopping == 0
    assert not over(18, 2, dataclasses.replace(PATIENT, early_stopping=0))


def test_patience_without_evaluations_is_refused():
    with pytest.raises(
        ValueError, match="early_stopping is 3 evaluations, and evaluate_every is 0"
    ):
        RunConfig(early_stopping=3)
    with pytest.raises(ValueError, match="early_stopping is -1; it must not be negative"):
        RunConfig(early_stopping=-1)


def test_a_run_stops_by_itself_and_is_finished_then(tmp_path):
    assert train(STUBBORN, tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    scores = {row["step"]: row[METRIC] for row in map(json.loads, lines) if METRIC in row}
    assert list(scores) == [0, 1, 2, 3] and scores[1] > max(scores[2], scores[3])
    assert (saved_step(tmp_path), saved_step(tmp_path, "latest")) == (1, 3)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert not train(STUBBORN, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
