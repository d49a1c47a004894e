"""The rows of a run's steps: each written when the next step is under way, so nothing waits.

Seconds are those of the devices' clock: a step lasts from the end of the update before it (or from
its start, where something else came between) to the end of its own. `timing_s/rollout` is its time
until the update is handed over, `timing_s/update` the rest; what the host does meanwhile, such as
the row of the step before, is in neither.
"""

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dvmap_jax.config import RunConfig
from dvmap_jax.rl.rollouts import Rollouts
from dvmap_jax.train.log import Log
from dvmap_jax.train.state import TrainState

ON_THE_BAR = {"critic/rewards/mean": "reward", "sft/loss": "loss", "distribution/loss": "loss"}


class Step(NamedTuple):
    """A step whose update is handed over: what there is to say once it is done."""

    number: int
    rollouts: Rollouts
    metrics: Mapping[str, jax.Array]
    skipped_in_row: jax.Array
    began: float
    handed_over: float
    finished: Future[float]


class StepLog:
    """Writes a step's row while the next one computes."""

    def __init__(self, log: Log, config: RunConfig):
        self._log, self._config = log, config
        self._watch = ThreadPoolExecutor(1, thread_name_prefix="watching")
        self._pending: Step | None = None
        self._began = self._handed_over = 0.0

    def begin(self) -> None:
        """A step starts."""
        self._began = time.perf_counter()

    def hand_over(self) -> None:
        """The step's batch is there; its update comes next."""
        self._handed_over = time.perf_counter()

    def add(
        self, number: int, rollouts: Rollouts, state: TrainState, metrics: Mapping[str, jax.Array]
    ) -> None:
        """Takes the step whose update has been handed over, and writes the one before it."""
        # A copy, since the next update takes the state.
        step = Step(
            number,
            rollouts,
            metrics,
            jnp.copy(state.skipped_in_row),
            self._began,
            self._handed_over,
            self._watch.submit(_ready_at, metrics),
        )
        self._pending, before = step, self._pending
        if before is not None:
            self._write(before)
            # The device took this step up when it was through with the one before.
            began = max(step.began, before.finished.result())
            self._pending = step._replace(began=began)

    def flush(self) -> None:
        """Waits for the newest step and writes it."""
        step, self._pending = self._pending, None
        if step is not None:
            self._write(step)

    def close(self) -> None:
        """Ends the thread that watches; a step not yet written is given up."""
        self._watch.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> "StepLog":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _write(self, step: Step) -> None:
        """Writes a step's metrics, timings and, when due, a table of its completions."""
        log, config, rollouts = self._log, self._config, step.rollouts
        finished = step.finished.result()
        check_finite(int(step.skipped_in_row), config.optimizer.max_skipped)
        metrics = {name: float(value) for name, value in step.metrics.items()}
        middle = max(step.began, step.handed_over)
        seconds, tokens = finished - step.began, rollouts.num_tokens
        timing = {"timing_s/rollout": middle - step.began, "timing_s/update": finished - middle}
        timing |= {"timing_s/step": seconds, "perf/throughput": tokens / seconds}
        log.write_timing(step.number, timing | {"perf/total_num_tokens": tokens})
        known = rollouts.metrics | metrics
        if step.number % config.log.every == 0:
            log.write(step.number, known)
        if due(step.number, config.sample_every, config.num_steps):
            log.write_samples(step.number, rollouts.samples(config.log.samples))
        shown = {label: known[name] for name, label in ON_THE_BAR.items() if name in known}
        log.progress(step.number, **shown, **{"tok/s": tokens / seconds})


def _ready_at(metrics: Mapping[str, jax.Array]) -> float:
    """Waits for an update's metrics; when they were there."""
    jax.block_until_ready(metrics)
    return time.perf_counter()


def check_finite(skipped: int, max_skipped: int) -> None:
    """Raises FloatingPointError once more than `max_skipped` updates in a row were left out."""
    if skipped > max_skipped:
        raise FloatingPointError(
            f"{skipped} gradients in a row were not finite, over optimizer.max_skipped = "
            f"{max_skipped}; lower optimizer.learning_rate or resume from an older checkpoint"
        )


def due(step: int, every: int, last: int) -> bool:
    """Whether something done every so many steps, and at the last one, is due after `step`."""
    return step == last or (every > 0 and step % every == 0)
