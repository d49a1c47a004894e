"""Option scoring alone: the time of an option against how many share a prompt and a group."""

from typing import Any

import jax
import numpy as np

from dvmap_jax.bench.flops import option_flops
from dvmap_jax.bench.measure import measure
from dvmap_jax.bench.peers import option_batches
from dvmap_jax.bench.settings import BenchConfig
from dvmap_jax.bench.steps import SMALL
from dvmap_jax.evaluation.scoring import option_scorer, option_scores
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.transformer import Transformer

SHARED, TAIL, OPTION = 352, 32, 3  # tokens of a group's prompts, of one alone, of an option
PROMPTS, OPTIONS = (1, 4, 16), (2, 4, 8, 16)  # prompts of a group, options of a prompt


def run(config: BenchConfig) -> dict[str, Any]:
    """A table: each number of prompts with each number of options."""
    return {"options": grid(config, SMALL, prompts=PROMPTS, options=OPTIONS)}


def grid(
    config: BenchConfig,
    model: ModelConfig,
    *,
    prompts: tuple[int, ...],
    options: tuple[int, ...],
) -> list[dict[str, Any]]:
    """One row for each pair of a number of prompts and one of options."""
    transformer = Transformer(model, config.compute)
    score = option_scorer(transformer)
    params = transformer.init(jax.random.key(0))
    rows = []
    for count in prompts:
        for number in options:
            batches = _task(config.option_groups, count, number, model.vocab_size)

            def one(_, batches=batches):
                for batch in batches:
                    list(option_scores(score, params, batch))

            lengths = np.full((config.option_groups, count, number), OPTION)
            flops = option_flops(model, lengths, shared=SHARED, tail=TAIL)
            row = {"groups": config.option_groups, "prompts": count, "options": number}
            row |= measure(one, repeats=config.repeats) | {"model_flops": flops}
            rows.append(row | {"options_per_s": lengths.size / row["median_s"]})
    return rows


def _task(groups: int, prompts: int, options: int, vocab_size: int):
    """A batch of random tokens; a group's prompts begin with the same ones."""
    rng = np.random.default_rng([prompts, options])

    def draw(*shape):
        return rng.integers(0, vocab_size, shape, dtype=np.int32)

    shared = np.repeat(draw(groups, 1, SHARED), prompts, axis=1)
    whole = np.concatenate([shared, draw(groups, prompts, TAIL)], axis=2)
    return option_batches(whole, draw(groups, prompts, options, OPTION), size=groups)
