"""What a run knows of its model on held-out examples: accuracies, rewards and their intervals.

`heldout/STEP.jsonl` of the workdir holds a row an example, as `results.jsonl` of an evaluation.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import pandas as pd

from dvmap_jax.config import RunConfig
from dvmap_jax.data.forests import ForestShape
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.evaluation.evaluator import MODES, Evaluator, chosen
from dvmap_jax.evaluation.metrics import accuracy_metrics, mean_interval
from dvmap_jax.files import write_text
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.rl.group_rewards import mean_reward
from dvmap_jax.rl.rewards import RewardConfig
from dvmap_jax.survey.corpus import Example
from dvmap_jax.train.log import Log, read_rows

FOLDER = "heldout"
Rows = tuple[tuple[int, int], ...]  # of each level below a root, and the tokens they have
EVALUATION = {mode: f"evaluation: {mode}" for mode in MODES}  # names of programs


class Measurement:
    """Evaluates parameters in every mode of the config, on the same held-out examples.

    `results` are the rows of the last call in the first mode, which `keep` writes.
    """

    results: pd.DataFrame

    def __init__(
        self,
        config: RunConfig,
        model: Transformer,
        tokenizer: Tokenizer,
        heldout: Sequence[Example],
    ):
        self.config = config
        evaluation = config.evaluation
        decoder = Transformer(model.config, config.compute, layout=config.mesh.decode)
        self._evaluator = Evaluator(
            model, tokenizer, config=evaluation, data=config.data, decoder=decoder
        )
        self._benchmarks = {
            mode: self._evaluator.prepare(chosen(heldout, evaluation, mode=mode))
            for mode in evaluation.modes
        }

    @property
    def functions(self) -> dict[str, Any]:
        """What evaluations compile, by the names that the run's programs have."""
        made = {"score": self._evaluator.score, "generate": self._evaluator.decode}
        return {EVALUATION[mode]: made[mode] for mode in self._benchmarks}

    @property
    def drawn(self) -> Rows:
        """Rows of each level below a root and the tokens they are padded to, where it draws."""
        found = self._benchmarks.get("generate")
        return found.drawn_shapes if found else ()

    @property
    def scored(self) -> ForestShape | None:
        """The sizes of a root, where it scores."""
        found = self._benchmarks.get("score")
        return found.scored_shape if found else None

    def __call__(self, params: dict, log: Log) -> dict[str, float]:
        """Metrics named `eval/MODE/...`."""
        metrics: dict[str, float] = {}
        for mode, benchmark in self._benchmarks.items():
            log.doing(f"evaluating ({mode})")
            results = self._evaluator(params, benchmark, mode=mode)
            if mode == self.config.evaluation.modes[0]:
                self.results = results
            found = accuracy_metrics(results)
            if mode == "generate":
                found |= reward_metrics(results, benchmark.examples, self.config.rewards)
            metrics |= {f"eval/{mode}/{name}": value for name, value in found.items()}
        log.doing("training")
        return metrics

    def keep(self, workdir: pathlib.Path, step: int, *, also: int | None) -> None:
        """Writes the results as those of `step`; those of other steps go, of `also` excepted.

        In other processes than 0 nothing is written.
        """
        if jax.process_index():
            return
        how = {"orient": "records", "lines": True, "force_ascii": False, "double_precision": 15}
        write_text(heldout_file(workdir, step), self.results.to_json(**how))
        kept = {heldout_file(workdir, each) for each in (step, also)}
        for file in (workdir / FOLDER).glob("*.jsonl"):
            if file not in kept:
                file.unlink()


def heldout_file(workdir: pathlib.Path, step: int | None) -> pathlib.Path:
    """Where the rows of a step's evaluation are."""
    return workdir / FOLDER / f"{step}.jsonl"


def read_heldout(workdir: pathlib.Path, step: int) -> pd.DataFrame | None:
    """The rows of a step's evaluation, None where they were not kept."""
    file = heldout_file(workdir, step)
    return pd.DataFrame(read_rows(file)) if file.exists() else None


def reward_metrics(
    results: pd.DataFrame, examples: Sequence[Example], rewards: RewardConfig
) -> dict[str, float]:
    """Mean reward of the generated completions with its 95 % interval over archetypes.

    Of rewards of a group it is what they raise, their score, which takes two completions of an
    example; with one there is none.
    """
    metrics = {
        "readable": float(results["readable"].mean()),
        "truncated": float(results["truncated"].mean()),
    }
    if rewards.of_group and results["completions"].map(len).min() < 2:
        return metrics
    values = [
        mean_reward(texts, example, rewards)
        for texts, example in zip(results["completions"], examples, strict=True)
    ]
    mean, low, high = mean_interval(values, results["archetype"])
    return {"reward": mean, "reward/low": low, "reward/high": high} | metrics
