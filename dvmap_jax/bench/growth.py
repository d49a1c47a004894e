"""Growth: seconds, memory and compilation of a step against one size at a time, as a table.

The reference's pass, a quarter of an update, is left out.

Every point has a process of its own, so that its peak is its own. `temp_bytes` are a compiled
program's temporaries as XLA plans them, `largest` the largest array that its text names.
"""

import dataclasses
import math
import time
from typing import Any

import jax

from dvmap_jax.bench.measure import in_fresh_process, measure
from dvmap_jax.bench.settings import BenchConfig
from dvmap_jax.bench.steps import SMALL, Case, Steps, levels_of, reward, rewards_of, rollout_batch
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.train.collectives import shapes

BASE = Case(
    model=dataclasses.replace(SMALL, num_layers=4), prompts=4, prompt_length=256, max_tokens=128
)
FACTORS = {
    "group": (2, 4, 8, 16, 32),
    "prompt_length": (128, 256, 512, 1024),
    "max_tokens": (64, 128, 256, 512, 1024),
    "num_layers": (2, 6, 12, 24),
    "vocab_size": (8192, 32_768, 65_536, 152_064),
}


def run(config: BenchConfig) -> dict[str, Any]:
    """The table; parts are the factors."""
    chosen = config.chosen(tuple(FACTORS))
    return {"growth": growth(BASE, config, {name: FACTORS[name] for name in chosen})}


def growth(
    base: Case, config: BenchConfig, factors: dict[str, tuple[int, ...]]
) -> list[dict[str, Any]]:
    """One row for each value of each factor, all others as in the base."""
    return [
        {"factor": factor, "value": value}
        | in_fresh_process(point, changed(base, factor, value), config)
        for factor, values in factors.items()
        for value in values
    ]


def changed(case: Case, factor: str, value: int) -> Case:
    """The case with one size of its own or of its model changed."""
    if factor in ("num_layers", "vocab_size"):
        return dataclasses.replace(case, model=dataclasses.replace(case.model, **{factor: value}))
    return dataclasses.replace(case, **{factor: value})


def point(case: Case, config: BenchConfig) -> dict[str, Any]:
    """Rollout and update of one case, each compiled ahead of its calls."""
    params = Transformer(case.model, config.compute).init(jax.random.key(0))
    steps = Steps(case, params, config)
    prompts = case.prompt_ids(0)
    drawing, rollout = compiled(steps.decoder, steps.decoder_inputs(prompts, 0))
    batch = batch_of(case)
    known = steps.swept(batch.levels, batch.branches)
    batch = batch.replace(reference_logprobs=known)
    learning, update = compiled(steps.update, (steps.state, batch))
    steps.decoder, steps.update = drawing, learning
    drawn = measure(lambda i: _call(steps.rollout, prompts, i), repeats=config.repeats)
    learned = measure(lambda _: _call(steps.learn, batch), repeats=config.repeats)
    rollout |= drawn | case.rollout_work()
    update |= learned | case.update_work()
    step_s = rollout["median_s"] + update["median_s"]
    return {"step_s": step_s, "rollout": rollout, "update": update}


def batch_of(case: Case):
    """Random completions of a case's prompts, with rewards."""
    tokens = case.completion_ids()
    return rollout_batch(levels_of(case.prompt_ids(0)), tokens, rewards_of(tokens, reward))


def compiled(function, arguments: tuple) -> tuple[jax.stages.Compiled, dict[str, Any]]:
    """The function compiled for arguments, and what the compiler says of it."""
    started = time.perf_counter()
    found = function.lower(*arguments).compile()
    seconds = time.perf_counter() - started
    memory = found.memory_analysis()
    return found, {
        "ahead_compile_s": round(seconds, 3),
        "temp_bytes": memory.temp_size_in_bytes,
        "argument_bytes": memory.argument_size_in_bytes,
        "largest": largest_array(found.as_text()),
    }


def largest_array(text: str) -> dict[str, Any]:
    """The array with most entries among those that a compiled program's text names."""
    kind, sizes = max(shapes(text), key=lambda found: math.prod(found[1]))
    return {"dtype": kind, "shape": list(sizes), "entries": math.prod(sizes)}


def _call(function, *args: Any) -> None:
    """The function's result is dropped: what it returns names no phases."""
    function(*args)
