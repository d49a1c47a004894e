"""Ragged completions: decode time where lengths are geometric, against tokens really drawn.

A random model's next token is nearly uniform, so that a set of V p end tokens ends a completion
with probability p at every token. The ideal is the time that as many tokens take in the same
decoder where none ends: 1 / `of_ideal` says how many times longer ragged ones take.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from dvmap_jax.bench.measure import measure
from dvmap_jax.bench.settings import BenchConfig
from dvmap_jax.bench.steps import Case, levels_of
from dvmap_jax.model.decode import make_decoder
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.model.transformer import Transformer

CASE = Case(prompts=64)
MEAN_SHARE = 1 / 4  # of the longest completion, which the mean length shall be
# Prompts at a time, and completions of each at a time (0: all): the same rows are drawn at a time.
SCHEDULES = {"plain": (8, 0), "refill": (32, 2)}


def run(config: BenchConfig) -> dict[str, Any]:
    """Every schedule; parts are their names."""
    chosen = config.chosen(tuple(SCHEDULES))
    return ragged(CASE, config, {name: SCHEDULES[name] for name in chosen})


def ragged(
    case: Case, config: BenchConfig, schedules: dict[str, tuple[int, int]]
) -> dict[str, Any]:
    """Times of ragged and of whole completions by schedule, and the lengths' distribution."""
    model = Transformer(case.model, config.compute)
    params = model.init(jax.random.key(0))
    found: dict[str, Any] = {}
    for name, (prompts, branches) in schedules.items():
        sampling = SamplingConfig(
            temperature=case.temperature,
            max_tokens=case.max_tokens,
            batch_size=prompts,
            branches=branches,
        )
        found[name] = _schedule(case, model, params, sampling, config.repeats)
    return found


def end_ids(case: Case) -> tuple[int, ...]:
    """As many random tokens as end a completion after MEAN_SHARE of the longest, in the mean."""
    count = round(case.model.vocab_size / (MEAN_SHARE * case.max_tokens))
    chosen = np.random.default_rng(0).permutation(case.model.vocab_size)[:count]
    return tuple(int(token) for token in np.sort(chosen))


def _schedule(case, model, params, sampling, repeats: int) -> dict[str, Any]:
    ends = end_ids(case)
    beyond = tuple(case.model.vocab_size + token for token in ends)  # as many that none draws
    one_token = dataclasses.replace(sampling, max_tokens=1)
    ragged, lengths = _decoding(case, model, params, (ends, sampling), repeats)
    whole, full = _decoding(case, model, params, (beyond, sampling), repeats)
    prefill, _ = _decoding(case, model, params, (beyond, one_token), repeats)
    tokens, most = lengths.mean(axis=0).sum(), full[0].sum()
    ideal = tokens / (most / whole["median_s"])
    start = prefill["median_s"]
    apart = start + tokens / most * (whole["median_s"] - start)
    return {
        "sampling": dataclasses.asdict(sampling),
        "num_end_ids": len(ends),
        "mean_length": float(lengths.mean()),
        "intended_mean": float(MEAN_SHARE * case.max_tokens),
        "quantiles": np.quantile(lengths, (0.1, 0.5, 0.9)).tolist(),
        "ragged": ragged | {"tokens": float(tokens)},
        "whole": whole | case.rollout_work(),
        "prefill": prefill,
        "ideal_s": float(ideal),
        "of_ideal": float(ideal / ragged["median_s"]),
        "ideal_with_prefill_s": float(apart),
        "of_ideal_with_prefill": float(apart / ragged["median_s"]),
    }


def _decoding(case: Case, model: Transformer, params: dict, how: tuple, repeats: int):
    """Seconds of rollouts with new draws, and their lengths [repeats, P, G]."""
    ends, sampling = how
    decoder = make_decoder(model, eos_ids=ends, sampling=sampling)
    levels = levels_of(case.prompt_ids(0))
    rows = np.arange(case.prompts * case.group, dtype=np.int32).reshape(case.prompts, -1)
    lengths = []

    def one(i):
        key = jax.random.fold_in(jax.random.key(1), i)
        lengths.append(jax.device_get(decoder(params, levels, rows, key)).lengths)

    times = measure(one, repeats=repeats)
    return times, np.stack(lengths[1:])
