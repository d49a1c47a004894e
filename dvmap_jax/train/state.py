"""The state of a run and its optimizer: what an update changes and a checkpoint keeps."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Int


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, its schedule and what guards it; defaults are the original's (original recipe).

    `weight_decay_on` is "all" parameters as in the original, or "matrices" (no norm scales).
    Roots (prompts or archetypes) computed at a time are `micro_batch_size`, 0 all of them, or as
    many as have `micro_batch_tokens` in their trees, padding included. With `packing` short
    completions of a prompt share a row: fewer tokens to compute, the same numbers.

    With `average_decay` d an exponential average of the parameters is kept, of which an update
    leaves d and takes 1 - d from the new ones, more in the first updates (`averaged`); it is what
    is evaluated and exported.
    """

    SCHEDULES: ClassVar[tuple[str, ...]] = ("constant", "linear", "cosine")

    learning_rate: float = 1e-6
    schedule: str = "constant"
    warmup_steps: int = 0
    decay_steps: int = 0
    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    weight_decay_on: str = "matrices"
    max_grad_norm: float = 1.0
    micro_batch_size: int = 0
    micro_batch_tokens: int = 0
    packing: bool = True
    max_skipped: int = 5
    average_decay: float = 0.0

    def __post_init__(self):
        if self.schedule not in self.SCHEDULES:
            raise ValueError(
                f"optimizer.schedule is {self.schedule!r}; it must be one of {self.SCHEDULES}"
            )
        if self.schedule != "constant" and self.decay_steps <= self.warmup_steps:
            raise ValueError(
                f"optimizer.decay_steps is {self.decay_steps}; a {self.schedule} schedule needs it "
                f"above optimizer.warmup_steps = {self.warmup_steps}"
            )
        if self.weight_decay_on not in ("matrices", "all"):
            raise ValueError(
                f"optimizer.weight_decay_on is {self.weight_decay_on!r}; use 'matrices' or 'all'"
            )
        if self.learning_rate <= 0 or self.max_grad_norm <= 0:
            raise ValueError(
                "optimizer.learning_rate and max_grad_norm must be positive; found "
                f"{self.learning_rate} and {self.max_grad_norm}"
            )
        if not 0 <= self.average_decay < 1:
            raise ValueError(
                f"optimizer.average_decay is {self.average_decay}; it must be at least 0 and below "
                "1"
            )
        if min(self.micro_batch_size, self.micro_batch_tokens, self.max_skipped) < 0:
            raise ValueError(
                "optimizer.micro_batch_size, micro_batch_tokens and max_skipped cannot be negative"
            )
        if self.micro_batch_size and self.micro_batch_tokens:
            raise ValueError(
                f"optimizer.micro_batch_size is {self.micro_batch_size} and micro_batch_tokens "
                f"{self.micro_batch_tokens}; one of them says what is computed at a time, set the "
                "other to 0"
            )


@struct.dataclass
class TrainState:
    """Parameters and optimizer after `step` batches, each of one update or a few.

    `updates` counts those applied, `skipped` those left out for a gradient
    that was not finite, `skipped_in_row` those since the last applied. `average` is that of the
    parameters, where one is kept.
    """

    step: Int[Array, ""]
    updates: Int[Array, ""]
    params: dict
    optimizer: optax.OptState
    skipped: Int[Array, ""]
    skipped_in_row: Int[Array, ""]
    average: dict | None = None

    @property
    def result(self) -> dict:
        """What is evaluated: the average of the parameters, themselves where there is none."""
        return self.params if self.average is None else self.average


def learning_rate_schedule(config: OptimizerConfig) -> optax.Schedule:
    """Learning rate by number of updates: linear warm-up, then constant or a decay to zero."""
    peak, warmup = config.learning_rate, config.warmup_steps
    remaining = config.decay_steps - warmup
    after = {
        "constant": lambda: optax.constant_schedule(peak),
        "linear": lambda: optax.linear_schedule(peak, 0.0, remaining),
        "cosine": lambda: optax.cosine_decay_schedule(peak, remaining),
    }[config.schedule]()
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """AdamW behind gradient clipping by global norm; moments have the parameters' dtype."""
    return optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm),
        optax.adamw(
            learning_rate_schedule(config),
            b1=config.b1,
            b2=config.b2,
            eps=config.epsilon,
            weight_decay=config.weight_decay,
            mask=_decayed if config.weight_decay_on == "matrices" else None,
        ),
    )


def _decayed(params: dict) -> dict:
    """True for matrices and tables; norm scales are named `scale`."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key != "scale", params)


def averaged(state: TrainState, params: dict, config: OptimizerConfig) -> dict | None:
    """The average after an update to these parameters.

    After n updates its decay is at most (1 + n) / (10 + n), so that the first parameters are
    forgotten as fast as later ones come.
    """
    decay = jnp.minimum(config.average_decay, (1 + state.updates) / (10 + state.updates))

    def mixed(old, new):
        return (decay * old + (1 - decay) * new).astype(old.dtype)

    return None if state.average is None else jax.tree.map(mixed, state.average, params)


def init_state(
    params: dict, optimizer: optax.GradientTransformation, *, average: bool = False
) -> TrainState:
    """The state before the first update, with an average of the parameters where one is kept."""
    counts = (jnp.zeros((), jnp.int32) for _ in range(4))  # apart, since each is donated
    moments = jax.jit(optimizer.init)(params)
    kept = jax.tree.map(jnp.copy, params) if average else None
    return TrainState(next(counts), next(counts), params, moments, next(counts), next(counts), kept)


def abstract_state(
    params: dict, optimizer: optax.GradientTransformation, *, average: bool = False
) -> TrainState:
    """Shapes of the first state of parameters with these shapes."""
    moments = jax.eval_shape(optimizer.init, params)
    count = jax.ShapeDtypeStruct((), jnp.int32)
    kept = params if average else None
    return TrainState(count, count, params, moments, count, count, kept)


def state_shardings(state: TrainState, params: dict, whole: jax.sharding.Sharding) -> TrainState:
    """Where a state is kept: moments with their parameters, of which `params` has the shardings.

    What belongs to no parameter is `whole` on every device.
    """
    like = jax.tree.structure(state.params)

    def is_params(part) -> bool:
        return jax.tree.structure(part) == like

    return jax.tree.map(lambda part: params if is_params(part) else whole, state, is_leaf=is_params)
