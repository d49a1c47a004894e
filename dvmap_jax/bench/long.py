"""Long completions: rollout and update of 1,024 tokens after prompts of 384."""

from typing import Any

import jax

from dvmap_jax.bench.measure import measure
from dvmap_jax.bench.settings import BenchConfig
from dvmap_jax.bench.steps import Case, Steps
from dvmap_jax.model.transformer import Transformer

CASE = Case(max_tokens=1024)


def run(config: BenchConfig) -> dict[str, Any]:
    """Whole steps, their rollouts and updates as phases."""
    return steps_of(CASE, config)


def steps_of(case: Case, config: BenchConfig) -> dict[str, Any]:
    """Steps of random parameters on new prompts, and rollouts and updates out of them."""
    params = Transformer(case.model, config.compute).init(jax.random.key(0))
    steps = Steps(case, params, config)
    found = measure(lambda i: steps.step(case.prompt_ids(i), i), repeats=config.repeats)
    phases = found["phases"]
    phases["rollout"] |= case.rollout_work()
    phases["update"] |= case.update_work()
    return {"step": found | case.step_work()}
