"""The peers' workload: the same checkpoint, token ids, rewards and JSON keys as the peers' scripts.

Everything comes from constants of the peers' `workload.py`, so that `--peers` with a copy of other
sizes times those. An update contains the reference's pass (TRL's `update` does not); the parts of
a step are under `step.phases`. Operations count shared prompts once, as our trees compute them.
"""

import dataclasses
import pathlib
import tempfile
from types import ModuleType
from typing import Any

import jax
import numpy as np

from dvmap_jax.bench.flops import forward_flops, option_flops, score_flops
from dvmap_jax.bench.measure import measure
from dvmap_jax.bench.settings import BenchConfig, peers_workload
from dvmap_jax.bench.steps import Case, Steps, levels_of, rewards_of, rollout_batch
from dvmap_jax.data.forests import fitting_shape
from dvmap_jax.evaluation.scoring import (
    ScoreBatch,
    make_roots,
    option_scorer,
    option_scores,
    score_batches,
)
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level
from dvmap_jax.rl.rollouts import RolloutBatch
from dvmap_jax.train.sources import branch_scorer
from dvmap_jax.train.state import OptimizerConfig
from dvmap_jax.train.weights import load_model

# A step comes first: the seconds until it is done count from the start of the process.
PARTS = ("step", "rollout", "update", "score", "options_shared")


def run(config: BenchConfig) -> dict[str, Any]:
    """The parts asked for, each under the name the peers give it.

    `dense`, which is not among the usual ones, is the update with a prompt for every completion.
    """
    parts, w = config.chosen(PARTS, ("dense",)), peers_workload(config)
    with tempfile.TemporaryDirectory() as made:
        folder = config.checkpoint or made
        if not (pathlib.Path(folder) / "config.json").is_file():
            w.make_checkpoint(folder)
        loaded = load_model(folder, "float32")
        params = jax.tree.map(jax.device_put, loaded.params)
    bench = _Peers(w, loaded.config, params, config)
    found: dict[str, Any] = {"load_s": w.process_age(), "micro_batch": bench.micro_batch}
    makers = (bench.step, bench.rollout, bench.update, bench.score, bench.options_shared)
    for make in (*makers, bench.dense):
        if make.__name__ in parts:
            found |= make()
    return found


def case_of(w: ModuleType, model: ModelConfig) -> Case:
    """The workload's sizes and settings."""
    return Case(
        model=model,
        prompts=w.PROMPTS,
        prompt_length=w.PROMPT_LEN,
        group=w.SAMPLES,
        max_tokens=w.NEW_TOKENS,
        temperature=w.TEMPERATURE,
        kl_coef=w.KL_COEF,
        clip=w.CLIP,
        learning_rate=w.LEARNING_RATE,
    )


def fixed_batch(w: ModuleType, *, dense: bool = False) -> RolloutBatch:
    """The batch of the measured update: the step-0 prompts with the last tokens of `score_ids`.

    `dense` gives every completion a prompt of its own, the same numbers in another shape.
    """
    prompts = w.prompt_ids(0)
    tokens = w.score_ids()[:, w.PROMPT_LEN :].reshape(w.PROMPTS, w.SAMPLES, w.NEW_TOKENS)
    batch = rollout_batch(levels_of(prompts), tokens, rewards_of(tokens, w.reward))
    if not dense:
        return batch
    rows = jax.tree.map(
        lambda x: np.asarray(x).reshape(w.SEQUENCES, 1, *x.shape[2:]), batch.replace(levels=())
    )
    return rows.replace(levels=levels_of(np.repeat(prompts, w.SAMPLES, axis=0)))


@dataclasses.dataclass
class _Peers:
    """The parts; each gives its entries of the result."""

    w: ModuleType
    model: ModelConfig
    params: dict
    config: BenchConfig

    def __post_init__(self):
        self.case = case_of(self.w, self.model)
        self.micro_batch = min(self.config.micro_batch_size, self.w.PROMPTS) * self.w.SAMPLES
        self._steps: Steps | None = None

    @property
    def steps(self) -> Steps:
        """The compiled functions, made when first needed; the state is that of the start."""
        if self._steps is None:
            self._steps = Steps(self.case, self.params, self.config)
        self._steps.reset()
        return self._steps

    def step(self) -> dict[str, Any]:
        """Whole steps on new prompts; the first of them is the process's first."""
        w, steps, done = self.w, self.steps, []

        def one(i):
            yield from steps.step(w.prompt_ids(i), i, w.reward)
            done.append(w.process_age())

        found = measure(one, repeats=self.config.repeats)
        phases = found["phases"]
        return {
            "first_step_done_s": done[0],
            "step": found | self.case.step_work(),
            "step_rollout_s": phases["rollout"]["median_s"],
            "step_reward_s": phases["rewards"]["median_s"],
            "step_update_s": phases["update"]["median_s"],
        }

    def rollout(self) -> dict[str, Any]:
        """Completions of new prompts."""
        steps = self.steps

        def one(i):
            steps.rollout(self.w.prompt_ids(i), i)

        itemsize = 2 if self.config.compute.dtype == "bfloat16" else 4
        found = measure(one, repeats=self.config.repeats)
        return {"rollout": found | self.case.rollout_work(itemsize)}

    def update(self) -> dict[str, Any]:
        """An update on a fixed batch, and the reference's log-probabilities of it by themselves."""
        steps, batch = self.steps, fixed_batch(self.w)
        update, first = _updates(steps, batch, self.config)

        def reference(_):
            jax.block_until_ready(steps.swept(batch.levels, batch.branches))

        flops = forward_flops(self.model, self.case.prompt_lengths, self.case.completion_lengths)
        work = self.case.update_work() | {"model_flops": flops}
        return {
            "update": update | self.case.update_work(),
            "reference": measure(reference, repeats=self.config.repeats) | work,
            "first_update": first,
        }

    def dense(self) -> dict[str, Any]:
        """The update as rows of prompt and completion, and the numbers of the first one."""
        case = dataclasses.replace(self.case, prompts=self.w.SEQUENCES, group=1)
        config = dataclasses.replace(self.config, micro_batch_size=self.micro_batch)
        steps = Steps(case, self.params, config)
        update, first = _updates(steps, fixed_batch(self.w, dense=True), config)
        return {"dense": update | case.update_work(), "first_dense_update": first}

    def score(self) -> dict[str, Any]:
        """Log-probabilities of the next token of dense sequences."""
        w, size = self.w, min(self.config.score_batch, self.w.SEQUENCES)
        score = branch_scorer(
            Transformer(self.model, self.config.compute), OptimizerConfig(micro_batch_size=size)
        )
        tokens = w.score_ids()
        rest = np.full((len(tokens), 1), w.TOTAL_LEN - 1, np.int32)
        inputs = (levels_of(tokens[:, :1]), Level(tokens[:, None, 1:], rest))
        found = []

        def one(_):
            found[:] = [np.asarray(score(self.params, *inputs))]

        times = measure(one, repeats=self.config.repeats)
        work = {"model_flops": score_flops(self.model, *tokens.shape), "tokens": tokens.size}
        return {"score": times | work, "score_mean": float(found[0].mean())}

    def options_shared(self) -> dict[str, Any]:
        """Sums of the options' log-probabilities: groups, their prompts, and their options."""
        w, size = self.w, min(self.config.option_groups, self.w.GROUPS)
        score = option_scorer(Transformer(self.model, self.config.compute))
        prompts, options = w.option_task()
        batches = option_batches(prompts, options, size=size)
        sums = np.zeros((w.GROUPS * w.PER_GROUP, w.OPTIONS))

        def one(_):
            for batch in batches:
                for number, found, _ in option_scores(score, self.params, batch):
                    sums[number] = found

        times = measure(one, repeats=self.config.repeats)
        lengths = np.full(options.shape[:3], w.OPTION_LEN)
        tail = w.PROMPT_LEN - w.SHARED_LEN
        flops = option_flops(self.model, lengths, shared=w.SHARED_LEN, tail=tail)
        work = {"model_flops": flops, "options": sums.size}
        return {"options_shared": times | work, "options_mean": float(sums.mean())}


def option_batches(
    prompts: np.ndarray, options: np.ndarray, *, size: int
) -> tuple[ScoreBatch, ...]:
    """Prompts [G, N, T] that begin alike in each group, with options [G, N, O, R].

    Questions count through all groups, of which `size` are scored at a time.
    """
    groups, number, _ = prompts.shape
    asked = [tuple(row) for row in prompts.reshape(groups * number, -1).tolist()]
    rows = options.reshape(groups * number, *options.shape[2:]).tolist()
    units = np.arange(groups * number).reshape(groups, number).tolist()
    roots = make_roots(units, asked, [tuple(map(tuple, own)) for own in rows])
    return score_batches(roots, units, shape=fitting_shape(roots), size=size)


def _updates(steps: Steps, batch: RolloutBatch, config: BenchConfig):
    """Seconds of updates on the same batch, and the metrics of the first."""
    metrics: list[dict[str, float]] = []
    times = measure(lambda _: metrics.append(steps.learn(batch)), repeats=config.repeats)
    first = {name: x for name, x in metrics[0].items() if not name.startswith("sampler_gap")}
    return times, first  # these completions have no sampler
