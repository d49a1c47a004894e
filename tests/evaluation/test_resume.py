"""An evaluation that stopped goes on: nothing is answered twice, and nothing answered otherwise."""

import jax
import pandas as pd
import pytest

from dvmap_jax.data.batches import DataConfig
from dvmap_jax.evaluation.answers import Answers
from dvmap_jax.evaluation.evaluator import EvaluationConfig, Evaluator
from dvmap_jax.evaluation.journal import Journal
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.survey.synthetic import synthetic_examples

MODEL = Transformer(
    ModelConfig(
        vocab_size=600, width=32, mlp_width=48, num_layers=1, head_dim=8, initializer_range=0.2
    )
)
DATA = DataConfig(template="answer", system_prompt="none", max_prompt_length=512)
EXAMPLES = synthetic_examples(5, seed=3)  # 5 archetypes with 16 questions


class StopError(Exception):
    """What ends an evaluation in the middle."""


@pytest.fixture(scope="module")
def evaluator(tokenizer):
    """Scores by contrast, for which what was left out has to be asked of nobody again."""
    drawn = {"temperature": 1.0, "samples": 2, "max_tokens": 6}
    config = EvaluationConfig(normalize="contrast", batch_size=2, **drawn)
    return Evaluator(MODEL, tokenizer, config=config, data=DATA)


@pytest.fixture(scope="module")
def params():
    return MODEL.init(jax.random.key(1))


def stop_at(limit):
    def progress(rows):
        if rows >= limit:
            raise StopError

    return progress


@pytest.mark.parametrize("mode", ["score", "generate"])
def test_a_resumed_evaluation_is_one_that_never_stopped(evaluator, params, tmp_path, mode):
    benchmark = evaluator.prepare(EXAMPLES, name="test")
    whole = evaluator(params, benchmark, mode=mode)
    with pytest.raises(StopError):
        how = {"mode": mode, "progress": stop_at(40)}
        evaluator(params, benchmark, journal=Journal(tmp_path, {}), **how)
    kept = Journal(tmp_path, {})
    assert 40 <= len(kept.rows()) < len(EXAMPLES)
    told = []
    journal = Journal(tmp_path, {})
    rest = evaluator(params, benchmark, mode=mode, journal=journal, progress=told.append)
    assert told[0] > len(kept.rows()) and told[-1] == len(EXAMPLES)
    pd.testing.assert_frame_equal(rest, whole)
    assert Journal(tmp_path, {}).rows() == whole.to_dict(orient="records")


def test_a_whole_journal_needs_no_model(evaluator, params, tmp_path):
    benchmark = evaluator.prepare(EXAMPLES[:20], name="test")
    journal = Journal(tmp_path, {})
    once = evaluator(params, benchmark, mode="score", journal=journal)
    again = evaluator({}, benchmark, mode="score", journal=Journal(tmp_path, {}))
    pd.testing.assert_frame_equal(again, once)


def test_benchmarks_share_a_journal(evaluator, params, tmp_path):
    journal = Journal(tmp_path, {})
    for name, examples in (("b", EXAMPLES[:16]), ("a", EXAMPLES[16:40])):
        found = evaluator(
            params, evaluator.prepare(examples, name=name), mode="score", journal=journal
        )
        assert len(found) == len(examples) and set(found["benchmark"]) == {name}
    assert [row["benchmark"] for row in journal.rows()] == ["a"] * 24 + ["b"] * 16


def test_rows_that_are_there_are_left_as_they_are(tmp_path):
    journal = Journal(tmp_path, {})
    journal.add([{"benchmark": "a", "number": 1, "x": 1}])
    answers = Answers("a", journal)
    answers.add([{"benchmark": "a", "number": 1, "x": 2}, {"benchmark": "a", "number": 0, "x": 2}])
    assert answers.table()["x"].tolist() == [2, 1]
    assert [row["x"] for row in journal.rows()] == [2, 1]
