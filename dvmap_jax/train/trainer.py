"""The training loop: one config and one folder in, a trained state in that folder out."""

import dataclasses
import pathlib
from collections.abc import Callable

from jax.sharding import Mesh

from dvmap_jax.config import RunConfig, to_json
from dvmap_jax.data.batches import PromptStream
from dvmap_jax.data.questions import QuestionStream
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.processes import all_agree, all_succeed
from dvmap_jax.records import to_mapping
from dvmap_jax.sharding import use_mesh
from dvmap_jax.survey.splits import load_corpus
from dvmap_jax.train.ahead import Ahead, use_compilation_cache
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
from dvmap_jax.train.profile import FOLDER as PROFILE
from dvmap_jax.train.profile import Profile
from dvmap_jax.train.programs import UPDATE, Shapes, programs
from dvmap_jax.train.sources import (
    BatchSource,
    batch_source,
    packed_name,
    packed_rows,
    stream_of,
)
from dvmap_jax.train.start import WARM_START, starting_point, warm_start_config
from dvmap_jax.train.state import TrainState
from dvmap_jax.train.steps import StepLog, due
from dvmap_jax.train.update import Update
from dvmap_jax.train.workdir import claim_workdir

Reading = Callable[[int, int], None]


def train(
    config: RunConfig,
    workdir: pathlib.Path,
    reading: Reading = lambda done, whole: None,
    *,
    profile: int = 0,
) -> bool:
    """Trains from the newest checkpoint in `workdir`, or from the starting weights.

    `reading` is told how many bytes of weights are read, and of how many; `profile` steps are
    traced. Returns whether there was anything left to do. Killed at any point and run again, it
    leaves the metrics and parameters of a run that was never stopped. Every process calls it.
    Raises ValueError for a workdir of another config, for input that cannot be trained on and for
    processes that disagree, and FloatingPointError after too many non-finite gradients in a row.
    """
    use_compilation_cache(config.compilation_cache)
    with use_mesh(config.mesh) as mesh:
        all_agree(to_mapping(config), "config")
        all_succeed(lambda: claim_workdir(workdir, to_json(config)))
        if is_finished(config, workdir):
            return False
        if config.warm_start_steps:
            train(warm_start_config(config), workdir / WARM_START, reading)
        run(config, workdir, mesh, reading, profile=profile)
    return True


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a run's steps are made of; `meta` describes the run in its checkpoints."""

    prompts: PromptStream | QuestionStream
    batches: BatchSource
    update: Update
    measure: Measurement
    checkpoints: Checkpoints
    log: Log
    ahead: Ahead
    profile: Profile
    workdir: pathlib.Path
    meta: dict


def run(
    config: RunConfig, workdir: pathlib.Path, mesh: Mesh, reading: Reading, *, profile: int
) -> None:
    """The steps that are left, in their order."""
    corpus = load_corpus(config.corpus)
    how = {"warm_start": workdir / WARM_START, "mesh": mesh, "progress": reading}
    start = starting_point(config, workdir, corpus.train, **how)
    check_lengths(config, start.config)
    check_mesh(config, start.config, mesh)
    model = Transformer(start.config, config.compute)
    prompts = stream_of(config, corpus.train, start.tokenizer)
    batches = batch_source(config, model, start.tokenizer)
    placed = placed_state(config, model, mesh)
    update = update_of(config, model, placed)
    measure = Measurement(config, model, start.tokenizer, corpus.heldout)
    longest = batches.longest(corpus.train)
    shapes = Shapes(prompts.shapes, longest, measure.drawn, measure.scored)
    functions = {**batches.functions, UPDATE: update, **measure.functions}
    kinds = {"shapes": shapes, "functions": functions, "packed": True}
    found = programs(config, start.config, mesh, **kinds)

    with (
        Checkpoints(workdir, config.checkpoints) as checkpoints,
        open_log(config, workdir, checkpoints.latest_step) as log,
    ):
        if checkpoints.latest_step is None:  # it begins with an evaluation
            found.sort(key=lambda program: program.name not in measure.functions)
        with Ahead(found, log.doing) as ahead:
            check_room(config, found, ahead, mesh)
            reference = reference_params(config, model, start.params, placed)
            restored = {"params": start.params, "placed": placed}
            state = restore_or_init(config, checkpoints, prompts, **restored)
            restored.clear()
            meta = {"model": to_mapping(start.config), "run": to_mapping(config)}
            start = dataclasses.replace(start, params={})  # the state's now; an update takes them
            tracing = Profile(workdir / PROFILE, profile, ahead.texts)
            made = (prompts, batches, update, measure, checkpoints, log, ahead, tracing)
            take_steps(config, Parts(*made, workdir, meta), state, reference)


def take_steps(config: RunConfig, parts: Parts, state: TrainState, reference) -> None:
    """Evaluates a run that begins, then takes its steps; the host reads one while the next runs."""
    log, ahead = parts.log, parts.ahead
    parts.batches.wait = ahead.wait
    if parts.checkpoints.latest_step is None:
        log.write(0, evaluate(parts, state))
    with StepLog(log, config) as steps:
        left = range(int(state.step) + 1, config.num_steps + 1)
        for done in parts.profile.over(left, steps.flush):
            steps.begin()
            prompts = next(parts.prompts)
            rollouts = parts.batches(state.params, prompts, step=done - 1, reference=reference)
            steps.hand_over()
            batch = rollouts.batch
            ahead.wait(packed_name(UPDATE, packed_rows(batch.levels, batch.tree[-1])))
            state, metrics = parts.update(state, batch)
            steps.add(done, rollouts, state, metrics)
            evaluating = due(done, config.evaluate_every, config.num_steps)
            if evaluating or due(done, config.save_every, config.num_steps):
                steps.flush()
                save(parts, done, state, evaluating=evaluating)
            if evaluating and is_over(config, parts.checkpoints):
                break


def evaluate(parts: Parts, state: TrainState) -> dict[str, float]:
    """The scores of a state on the held-out examples."""
    parts.ahead.wait(*parts.measure.functions)
    return parts.measure(state.result, parts.log)


def save(parts: Parts, done: int, state: TrainState, *, evaluating: bool) -> None:
    """Saves a step with its scores, where they are due; its row must be written."""
    scores = evaluate(parts, state) if evaluating else {}
    if scores:
        parts.log.write(done, scores)
        best = parts.checkpoints.best
        parts.measure.keep(parts.workdir, done, also=best and best.step)
    data = parts.prompts.state()
    parts.checkpoints.save(done, state, data=data, meta=parts.meta, metrics=scores)


def is_finished(config: RunConfig, workdir: pathlib.Path) -> bool:
    """Whether the run's last step is saved."""
    if not (workdir / FOLDER).exists():
        return False
    with Checkpoints(workdir, config.checkpoints) as checkpoints:
        return is_over(config, checkpoints)


def is_over(config: RunConfig, checkpoints: Checkpoints) -> bool:
    """Whether no step comes after the newest checkpoint: all are done, or none got better."""
    step, best = checkpoints.latest_step, checkpoints.best
    if step is None or step >= config.num_steps:
        return step is not None
    patience = config.early_stopping * config.evaluate_every
    return bool(patience) and best is not None and step - best.step >= patience


def open_log(config: RunConfig, workdir: pathlib.Path, restored_step: int | None) -> Log:
    """The run's log, without the rows of steps that no checkpoint holds."""
    return Log(workdir, config.log, num_steps=config.num_steps, restored_step=restored_step)


def restore_or_init(
    config: RunConfig,
    checkpoints: Checkpoints,
    prompts: PromptStream | QuestionStream,
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
