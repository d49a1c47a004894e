"""What a run knows of its model on held-out examples: accuracies, rewards and their intervals."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dvmap_jax.config import RunConfig
from dvmap_jax.data.forests import ForestShape
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.evaluation.evaluator import MODES, Evaluator, chosen
from dvmap_jax.evaluation.metrics import accuracy_metrics, mean_interval
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.rl.rewards import RewardConfig, reward_terms
from dvmap_jax.survey.corpus import Example
from dvmap_jax.train.log import Log

Rows = tuple[tuple[int, int], ...]  # of each level below a root, and the tokens they have
EVALUATION = {mode: f"evaluation: {mode}" for mode in MODES}  # names of programs


class Measurement:
    """Evaluates parameters in every mode of the config, on the same held-out examples."""

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
            found = accuracy_metrics(results)
            if mode == "generate":
                found |= reward_metrics(results, benchmark.examples, self.config.rewards)
            metrics |= {f"eval/{mode}/{name}": value for name, value in found.items()}
        log.doing("training")
        return metrics


def reward_metrics(
    results: pd.DataFrame, examples: Sequence[Example], rewards: RewardConfig
) -> dict[str, float]:
    """Mean reward of the generated completions with its 95 % interval over archetypes."""
    values = [
        sum(sum(reward_terms(text, example, rewards).values()) for text in texts) / len(texts)
        for texts, example in zip(results["completions"], examples, strict=True)
    ]
    mean, low, high = mean_interval(values, results["archetype"])
    return {
        "reward": mean,
        "reward/low": low,
        "reward/high": high,
        "readable": float(results["readable"].mean()),
        "truncated": float(results["truncated"].mean()),
    }
