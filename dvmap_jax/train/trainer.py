"""The training loop: one config and one folder in, a trained state in that folder out."""

import dataclasses
import pathlib
import time
from collections.abc import Callable

from jax.sharding import Mesh

from dvmap_jax.config import RunConfig, to_json
from dvmap_jax.data.batches import PromptStream
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.processes import all_agree, all_succeed
from dvmap_jax.records import to_mapping
from dvmap_jax.rl.rollouts import Rollouts
from dvmap_jax.sharding import own_rows, use_mesh
from dvmap_jax.survey.splits import load_corpus
from dvmap_jax.train.checkpoints import FOLDER, Checkpoints
from dvmap_jax.train.compilation import check_room
from dvmap_jax.train.log import Log
from dvmap_jax.train.measure import Measurement
from dvmap_jax.train.placement import (
    check_mesh,
    first_state,
    placed_state,
    reference_params,
    update_of,
)
from dvmap_jax.train.sources import batch_source
from dvmap_jax.train.start import WARM_START, starting_point, warm_start_config
from dvmap_jax.train.state import TrainState
from dvmap_jax.train.workdir import claim_workdir

Reading = Callable[[int, int], None]
ON_THE_BAR = {"critic/rewards/mean": "reward", "sft/loss": "loss"}


def train(
    config: RunConfig, workdir: pathlib.Path, reading: Reading = lambda done, whole: None
) -> bool:
    """Trains from the newest checkpoint in `workdir`, or from the starting weights.

    `reading` is told how many bytes of weights are read, and of how many. Returns whether there
    was anything left to do. Killed at any point and run again, it leaves
    the metrics and parameters of a run that was never stopped. Every process of a run calls it.
    Raises ValueError for a workdir of another config, for input that cannot be trained on and for
    processes that disagree, and FloatingPointError after too many non-finite gradients in a row.
    """
    with use_mesh(config.mesh) as mesh:
        all_agree(to_mapping(config), "config")
        all_succeed(lambda: claim_workdir(workdir, to_json(config)))
        if is_finished(config, workdir):
            return False
        if config.warm_start_steps:
            train(warm_start_config(config), workdir / WARM_START, reading)
        run(config, workdir, mesh, reading)
    return True


def run(config: RunConfig, workdir: pathlib.Path, mesh: Mesh, reading: Reading) -> None:
    """The steps that are left, in their order."""
    corpus = load_corpus(config.corpus)
    how = {"warm_start": workdir / WARM_START, "mesh": mesh, "progress": reading}
    start = starting_point(config, workdir, corpus.train, **how)
    check_lengths(config, start.config)
    check_mesh(config, start.config, mesh)
    check_room(config, start.config, mesh)
    model = Transformer(start.config, config.compute)
    own = own_rows(config.data.batch_size)
    prompts = PromptStream(corpus.train, start.tokenizer, config.data, own=own)
    batches = batch_source(config, model, start.tokenizer)
    placed = placed_state(config, model, mesh)
    update = update_of(config, model, placed)
    measure = Measurement(config, model, start.tokenizer, corpus.heldout)

    with (
        Checkpoints(workdir, config.checkpoints) as checkpoints,
        open_log(config, workdir, checkpoints.latest_step) as log,
    ):
        reference = reference_params(config, model, start.params, placed)
        state = restore_or_init(config, checkpoints, prompts, params=start.params, placed=placed)
        start = dataclasses.replace(start, params={})  # the state's now; an update takes them
        if checkpoints.latest_step is None:
            log.write(0, measure(state.params, log))
        for done in range(int(state.step) + 1, config.num_steps + 1):
            clock = Clock()
            rollouts = batches(state.params, next(prompts), step=done - 1, reference=reference)
            clock.lap("rollout")
            state, metrics = update(state, rollouts.batch)
            metrics = {name: float(value) for name, value in metrics.items()}
            clock.lap("update")
            check_finite(state, config.optimizer.max_skipped)
            record_step(log, config, done, rollouts, metrics, clock)
            evaluating = due(done, config.evaluate_every, config.num_steps)
            scores = measure(state.params, log) if evaluating else {}
            if scores:
                log.write(done, scores)
            if scores or due(done, config.save_every, config.num_steps):
                meta = {"model": to_mapping(start.config), "run": to_mapping(config)}
                data = prompts.state()
                checkpoints.save(done, state, data=data, meta=meta, metrics=scores)


def is_finished(config: RunConfig, workdir: pathlib.Path) -> bool:
    """Whether the run's last step is saved."""
    if not (workdir / FOLDER).exists():
        return False
    with Checkpoints(workdir, config.checkpoints) as checkpoints:
        step = checkpoints.latest_step
    return step is not None and step >= config.num_steps


def open_log(config: RunConfig, workdir: pathlib.Path, restored_step: int | None) -> Log:
    """The run's log, without the rows of steps that no checkpoint holds."""
    return Log(workdir, config.log, num_steps=config.num_steps, restored_step=restored_step)


def restore_or_init(
    config: RunConfig,
    checkpoints: Checkpoints,
    prompts: PromptStream,
    *,
    params: dict,
    placed: TrainState,
) -> TrainState:
    """The state to go on from, with the prompts at their place: the newest checkpoint's or new."""
    if checkpoints.latest_step is None:
        return first_state(config, params, placed)
    restored = checkpoints.restore(placed)
    prompts.restore(restored.data)
    return restored.state


def check_lengths(config: RunConfig, model: ModelConfig) -> None:
    """Raises ValueError where prompt and completion together exceed the model's positions."""
    longest = config.data.max_prompt_length + config.sampling.max_tokens
    if longest > model.max_position:
        raise ValueError(
            f"data.max_prompt_length + sampling.max_tokens = {longest} exceeds the model's "
            f"{model.max_position} positions; lower one of them"
        )


def check_finite(state: TrainState, max_skipped: int) -> None:
    """Raises FloatingPointError once more than `max_skipped` updates in a row were left out."""
    skipped = int(state.skipped_in_row)
    if skipped > max_skipped:
        raise FloatingPointError(
            f"{skipped} gradients in a row were not finite, over optimizer.max_skipped = "
            f"{max_skipped}; lower optimizer.learning_rate or resume from an older checkpoint"
        )


def due(step: int, every: int, last: int) -> bool:
    """Whether something done every so many steps, and at the last one, is due after `step`."""
    return step == last or (every > 0 and step % every == 0)


@dataclasses.dataclass
class Clock:
    """Seconds of the phases of one step."""

    started: float = dataclasses.field(default_factory=time.perf_counter)
    laps: dict[str, float] = dataclasses.field(default_factory=dict)

    def lap(self, name: str) -> None:
        """Ends the phase that runs now."""
        self.laps[name] = time.perf_counter() - self.started - sum(self.laps.values())


def record_step(
    log: Log,
    config: RunConfig,
    step: int,
    rollouts: Rollouts,
    metrics: dict[str, float],
    clock: Clock,
) -> None:
    """Writes a step's metrics, timings and, when due, a table of its completions."""
    seconds = sum(clock.laps.values())
    tokens = rollouts.num_tokens
    timing = {f"timing_s/{name}": value for name, value in clock.laps.items()}
    timing |= {"timing_s/step": seconds, "perf/throughput": tokens / seconds}
    log.write_timing(step, timing | {"perf/total_num_tokens": tokens})
    if step % config.log.every == 0:
        log.write(step, rollouts.metrics | metrics)
    if due(step, config.sample_every, config.num_steps):
        log.write_samples(step, rollouts.samples(config.log.samples))
    known = rollouts.metrics | metrics
    shown = {label: known[name] for name, label in ON_THE_BAR.items() if name in known}
    log.progress(step, **shown, **{"tok/s": tokens / seconds})
