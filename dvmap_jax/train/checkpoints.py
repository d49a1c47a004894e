"""A run's checkpoints: state, data position and description in one atomic Orbax step each.

`workdir/checkpoints/STEP` holds the items `state` (arrays), `data` and `meta` (JSON). The latest
step and the best one by the metric are kept; the metric lies in the step itself, so a resumed run
still knows which one was best.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from dvmap_jax.model.config import ModelConfig
from dvmap_jax.records import from_mapping

FOLDER = "checkpoints"
TOKENIZER = "tokenizer"
BEST, LATEST = "best", "latest"  # steps by other names than their numbers
policies = ocp.checkpoint_managers


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Which checkpoints of a run are kept besides the latest."""

    best_metric: str = "eval/score/accuracy"  # of the evaluation on held-out archetypes
    best_mode: str = "max"
    asynchronous: bool = True

    def __post_init__(self):
        if self.best_mode not in ("max", "min"):
            raise ValueError(
                f"checkpoints.best_mode is {self.best_mode!r}; it must be 'max' or 'min'"
            )


@dataclasses.dataclass(frozen=True)
class Best:
    """The saved step with the best value of the metric so far; of equal ones the latest."""

    metric: str
    value: float
    step: int


@dataclasses.dataclass(frozen=True)
class Restored:
    """What a step held: the state's arrays, the position of the data stream, the description."""

    step: int
    state: Any
    data: dict[str, Any]
    meta: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class SavedModel:
    """The model in a checkpoint: sizes, parameters, the folder of its tokenizer, and its step."""

    config: ModelConfig
    params: Any
    tokenizer: pathlib.Path
    step: int


class Checkpoints:
    """The checkpoints under `workdir`; saving goes on while the run continues."""

    def __init__(self, workdir: pathlib.Path, config: CheckpointConfig):
        self._config = config
        self._folder = pathlib.Path(workdir).absolute() / FOLDER
        self._manager = ocp.CheckpointManager(
            str(self._folder),
            options=_options(config),
            item_handlers={**_json_handlers(), "state": ocp.StandardCheckpointHandler()},
        )
        self._best = self._kept_best()

    @property
    def latest_step(self) -> int | None:
        """The newest complete step, or None in a fresh run."""
        return self._manager.latest_step()

    @property
    def best(self) -> Best | None:
        """The best step by the metric among those saved, or None while none has a value."""
        return self._best

    def folder(self, step: int) -> pathlib.Path:
        """Where a step lies."""
        return self._folder / str(step)

    def save(
        self,
        step: int,
        state: Any,
        *,
        data: Mapping[str, Any],
        meta: Mapping[str, Any],
        metrics: Mapping[str, float],
    ) -> None:
        """Starts to save a step; a step that is already there is left as it is.

        `metrics` are those of an evaluation of this very state, empty where there was none: a step
        without the metric, or with one that is not finite, can be the latest but never the best.
        The state's buffers may be donated as soon as this returns.
        """
        if step == self.latest_step:
            return
        name = self._config.best_metric
        value = float(metrics[name]) if name in metrics else math.nan
        self._best = self._best_after(step, value)
        best = None if self._best is None else dataclasses.asdict(self._best)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                data=ocp.args.JsonSave(dict(data)),
                meta=ocp.args.JsonSave({**meta, "best": best}),
            ),
            metrics={name: value} if math.isfinite(value) else {},
            force=True,
        )

    def restore(self, abstract_state: Any, step: int | None = None) -> Restored:
        """The newest step (or the given one) with arrays placed and typed as `abstract_state` says.

        Its leaves are `jax.ShapeDtypeStruct`s; one without a sharding goes to the first device.
        """
        step = self.latest_step if step is None else step
        if step is None or step not in self._manager.all_steps():
            raise FileNotFoundError(f"no checkpoint of step {step} in {self._folder}")
        self._check_fits(step, abstract_state)
        items = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(jax.tree.map(_placed, abstract_state)),
                data=ocp.args.JsonRestore(),
                meta=ocp.args.JsonRestore(),
            ),
        )
        return Restored(step, items["state"], items["data"], items["meta"])

    def wait(self) -> None:
        """Returns once everything saved so far is on disk; raises what went wrong in saving it."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, then ends the background threads."""
        self._manager.wait_until_finished()
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _check_fits(self, step: int, abstract_state: Any) -> None:
        """Raises ValueError where names, shapes or dtypes of the saved arrays are other ones."""
        saved = _arrays(self._manager.item_metadata(step)["state"].tree)
        wanted = _arrays(abstract_state)
        for name in sorted(saved.keys() | wanted.keys()):
            found, due = saved.get(name, "nothing"), wanted.get(name, "nothing")
            if found != due:
                raise ValueError(
                    f"checkpoint {self.folder(step)} does not fit this model and optimizer: "
                    f"{name} holds {found}, needed is {due}"
                )

    def _kept_best(self) -> Best | None:
        step = self._manager.best_step()
        values = None if step is None else self._manager.metrics(step)
        name = self._config.best_metric
        return Best(name, values[name], step) if values else None

    def _best_after(self, step: int, value: float) -> Best | None:
        """The best once `step` is saved; of equal ones the newer, as Orbax keeps them."""
        if not math.isfinite(value):
            return self._best
        sign = 1 if self._config.best_mode == "max" else -1
        if self._best is not None and sign * value < sign * self._best.value:
            return self._best
        return Best(self._config.best_metric, value, step)


def is_checkpoint(path: pathlib.Path) -> bool:
    """Whether `path` is a run's workdir or the folder of one of its steps."""
    return _steps_folder(path).is_dir()


def read_checkpoint(
    path: pathlib.Path,
    *,
    step: str = BEST,
    dtype: str | None = None,
    shardings_of: Callable[[ModelConfig], Any] | None = None,
) -> SavedModel:
    """The model of a step of the run `path`, or of the step whose folder it is.

    `step` is "best", that of the best metric (where none has one, the newest), "latest" or a
    number. The parameters are the average where one was kept, in `dtype` or the one they were
    saved in. `shardings_of` gives, from the
    sizes found, where they belong, as a tree like them; without it they go to the first device,
    whatever devices the run had. `meta` must hold the model's sizes under `model`.
    """
    path = pathlib.Path(path).absolute()
    folder = _steps_folder(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"{path} is neither a run's workdir nor a step in its checkpoints")
    with _reader(folder) as reader:
        number = _number(reader, path.name if folder == path.parent else step, path)
        config = from_mapping(ModelConfig, _meta(reader, number)["model"], f"{path}: model")
        state = reader.item_metadata(number)["state"].tree
        kept = "average" if state.get("average") else "params"
        shardings = None if shardings_of is None else shardings_of(config)
        wanted = {kept: placed(state[kept], dtype=dtype, shardings=shardings)}
        return SavedModel(
            config, _read_part(reader, number, wanted)[kept], folder.parent / TOKENIZER, number
        )


def saved_step(workdir: pathlib.Path, step: str = BEST) -> int:
    """The number of the step that `read_checkpoint` takes of a run."""
    with _reader(_steps_folder(pathlib.Path(workdir).absolute())) as reader:
        return _number(reader, step, workdir)


def _number(reader: ocp.CheckpointManager, step: str, path: pathlib.Path) -> int:
    """The number of a step; FileNotFoundError where it is not among the complete ones."""
    steps, newest = reader.all_steps(), reader.latest_step()
    if not steps:
        raise FileNotFoundError(f"{path} holds no complete checkpoint")
    best = (_meta(reader, newest)["best"] or {}).get("step")
    named = {LATEST: newest, BEST: best if best in steps else newest}
    number = named.get(step, int(step) if step.isdigit() else None)
    if number not in steps:
        raise FileNotFoundError(
            f"{path} holds no complete checkpoint of step {step!r}; there are "
            f"{', '.join(map(str, sorted(steps)))}, {BEST!r} and {LATEST!r}"
        )
    return number


def _meta(reader: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    return reader.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]


def _reader(folder: pathlib.Path) -> ocp.CheckpointManager:
    """A manager that never saves and, unlike the run's own, reads parts of a state."""
    return ocp.CheckpointManager(
        str(folder),
        options=ocp.CheckpointManagerOptions(create=False),
        item_handlers={**_json_handlers(), "state": ocp.PyTreeCheckpointHandler()},
    )


def _json_handlers() -> dict[str, ocp.CheckpointHandler]:
    return {"data": ocp.JsonCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}


def placed(tree: Any, *, dtype: str | None = None, shardings: Any = None) -> Any:
    """Shapes to restore `tree` by: in `dtype` or its own, at `shardings` or on the first device."""
    shapes = jax.tree.map(_placed, tree)
    if shardings is None:
        shardings = jax.tree.map(lambda leaf: leaf.sharding, shapes)
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, dtype or leaf.dtype, sharding=place),
        shapes,
        shardings,
    )


def _read_part(reader: ocp.CheckpointManager, step: int, wanted: Any) -> Any:
    """The part of a saved state that `wanted` has and places, and nothing else of it."""
    state = ocp.args.PyTreeRestore(
        item=wanted,
        restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
        partial_restore=True,
    )
    return reader.restore(step, args=ocp.args.Composite(state=state))["state"]


def _options(config: CheckpointConfig) -> ocp.CheckpointManagerOptions:
    """Keeps the latest step and the best; steps without the metric count as latest only."""

    worst = -math.inf if config.best_mode == "max" else math.inf

    def value(metrics: Mapping[str, float]) -> float:
        return metrics[config.best_metric] if metrics else worst

    best = policies.BestN(
        get_metric_fn=value,
        reverse=config.best_mode == "min",
        n=1,
        keep_checkpoints_without_metrics=False,
    )
    return ocp.CheckpointManagerOptions(
        best_fn=value,
        best_mode=config.best_mode,
        preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(n=1), best]),
        enable_async_checkpointing=config.asynchronous,
        cleanup_tmp_directories=True,
    )


def _arrays(tree: Any) -> dict[str, str]:
    """Name -> dtype and shape of every array of a tree, whatever containers it is made of."""
    return {
        "/".join(path): f"{np.dtype(leaf.dtype)} {list(leaf.shape)}"
        for path, leaf in ocp.tree.to_flat_dict(tree).items()
    }


def _placed(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape and dtype of a leaf, with its own sharding of this process, or the first device."""
    sharding = leaf.sharding
    if not isinstance(sharding, jax.sharding.Sharding):
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _steps_folder(path: pathlib.Path) -> pathlib.Path:
    """The folder of steps that `path`, a workdir or one of the steps, belongs to."""
    return path.parent if path.name.isdigit() and path.parent.name == FOLDER else path / FOLDER
