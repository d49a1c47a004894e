"""One optimizer step: gradients of an objective summed over micro-batches, then AdamW."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dvmap_jax.model.transformer import Transformer
from dvmap_jax.rl.distribution import OptionsBatch
from dvmap_jax.rl.grpo import GRPOConfig
from dvmap_jax.rl.rollouts import BranchBatch
from dvmap_jax.sharding import constrain_rows, divided_into, without_mesh
from dvmap_jax.train.micro import num_roots, roots_at_a_time, split_rows
from dvmap_jax.train.objectives import Objective
from dvmap_jax.train.state import (
    OptimizerConfig,
    TrainState,
    averaged,
    learning_rate_schedule,
    make_optimizer,
)

MAXIMA = ("sampler_gap/max",)  # metrics of micro-batches that do not add up
DEVICES = "devices"  # the axis of a pmapped update

Batch = BranchBatch | OptionsBatch
Update = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]


def make_update(
    objective: Objective,
    model: Transformer,
    optimizer: OptimizerConfig,
    grpo: GRPOConfig,
    *,
    shardings: TrainState | None = None,
) -> Update:
    """`update(state, batch) -> (state, metrics)`, compiled, its state donated.

    The batch's roots are divided among `grpo.updates_per_rollout` updates, each of these
    into micro-batches; a micro-batch's loss is its share of the update's, so that split
    changes nothing but rounding. A gradient that is not finite leaves parameters and
    moments as they were. `shardings` says where the state is kept on a mesh.
    """
    recipe = _Recipe(objective, model, optimizer, grpo, _placing(shardings), None)
    update = functools.partial(_update, recipe)
    if shardings is None:
        return jax.jit(update, donate_argnums=0)
    return jax.jit(update, donate_argnums=0, out_shardings=(shardings, None))


def make_pmapped_update(
    objective: Objective, model: Transformer, optimizer: OptimizerConfig, grpo: GRPOConfig
) -> Update:
    """`make_update` with the state whole on every local device and the roots divided over them.

    Gradients and metrics are summed over the devices under one denominator, so tokens count
    alike wherever they are. A micro-batch is divided over the devices; each takes its part.
    """
    number = jax.local_device_count()
    recipe = _Recipe(objective, model, optimizer, grpo, _placing(None), DEVICES)
    mapped = jax.pmap(functools.partial(_update, recipe), DEVICES, in_axes=(None, 0), out_axes=None)

    def divided(state: TrainState, batch: Batch):
        share = num_roots(batch) // grpo.updates_per_rollout
        size = roots_at_a_time(optimizer, share, tree=batch.tree, parts=number)
        batch = jax.tree.map(np.asarray, batch)
        with without_mesh():  # a pmap makes its own
            return mapped(state, _device_rows(batch, size, number))

    return divided


def _device_rows(batch: Batch, micro_batch_size: int, number: int):
    """Rows [devices, roots / devices, ...], each device's from every micro-batch in turn."""
    if micro_batch_size % number:
        raise ValueError(
            f"micro-batches of {micro_batch_size} roots (optimizer.micro_batch_size, or the whole "
            f"update) do not divide over {number} devices"
        )
    part = micro_batch_size // number

    def divide(x):
        return (
            x.reshape(-1, number, part, *x.shape[1:])
            .swapaxes(0, 1)
            .reshape(number, -1, *x.shape[1:])
        )

    return jax.tree.map(divide, batch)


class _Recipe(NamedTuple):
    """What an update is made of; `axis` names the devices of a pmapped one."""

    objective: Objective
    model: Transformer
    optimizer: OptimizerConfig
    grpo: GRPOConfig
    place: Callable[[dict], dict]
    axis: str | None


def _update(recipe: _Recipe, state: TrainState, batch: Batch):
    """All updates that a batch serves."""
    objective, model, optimizer, grpo, place, axis = recipe
    transform = make_optimizer(optimizer)
    rate = learning_rate_schedule(optimizer)

    def one(state: TrainState, batch: Batch):
        working = model.working(state.params)
        micros = split_rows(batch, _micro_batch(optimizer, batch, axis))
        totals = objective.totals(micros, axis)
        grads, metrics = _gradients(objective.loss, working, micros, totals, place)
        grads, metrics = _over_devices(grads, metrics, axis)
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(norm)
        changes, moments = transform.update(grads, state.optimizer, state.params)
        params = optax.apply_updates(state.params, changes)

        def keep(new, old):
            return jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)

        new = state.replace(
            updates=state.updates + finite,
            params=keep(params, state.params),
            optimizer=keep(moments, state.optimizer),
            average=keep(averaged(state, params, optimizer), state.average),
            skipped=state.skipped + ~finite,
            skipped_in_row=jnp.where(finite, 0, state.skipped_in_row + 1),
        )
        return new, metrics | {"actor/grad_norm": norm, "actor/lr": rate(state.updates)}

    parts = split_rows(batch, num_roots(batch) // grpo.updates_per_rollout)
    state, metrics = jax.lax.scan(one, state, parts)
    metrics = {name: values.mean() for name, values in metrics.items()}
    return state.replace(step=state.step + 1), metrics | {"skipped": state.skipped}


def _placing(shardings: TrainState | None) -> Callable[[dict], dict]:
    """Keeps gradients where their parameters are kept."""
    if shardings is None:
        return lambda grads: grads
    return lambda grads: jax.lax.with_sharding_constraint(grads, shardings.params)


def _micro_batch(optimizer: OptimizerConfig, batch: Batch, axis: str | None) -> int:
    """Roots of a micro-batch that one device of the axis computes, or all devices of the mesh."""
    number = jax.lax.axis_size(axis) if axis else 1
    parts = number if axis else divided_into("batch", "update")
    roots = num_roots(batch) * number
    return roots_at_a_time(optimizer, roots, tree=batch.tree, parts=parts) // number


def _over_devices(grads, metrics, axis: str | None):
    if axis is None:
        return grads, metrics
    return jax.lax.psum(grads, axis), {
        name: jax.lax.pmax(value, axis) if name in MAXIMA else jax.lax.psum(value, axis)
        for name, value in metrics.items()
    }


def _gradients(loss, params, micros, totals, place):
    """Gradient and metrics of the whole batch, a micro-batch at a time, summed in float32."""

    def one(grads, inputs):
        micro, total = inputs
        micro = jax.tree.map(constrain_rows, micro)
        (_, metrics), grad = jax.value_and_grad(loss, has_aux=True)(params, micro, total)
        return jax.tree.map(lambda a, b: a + b.astype(a.dtype), grads, place(grad)), metrics

    wide = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, "float32")), params)
    grads, metrics = jax.lax.scan(one, place(wide), (micros, totals))
    return grads, {
        name: values.max() if name in MAXIMA else values.sum() for name, values in metrics.items()
    }
