"""One optimizer step: gradients of an objective summed over micro-batches, then AdamW."""

import jax
import jax.numpy as jnp
import optax

from dvmap_jax.rl.grpo import EPSILON, GRPOConfig, denominator
from dvmap_jax.rl.rollouts import BranchBatch
from dvmap_jax.train.objectives import Objective
from dvmap_jax.train.state import (
    OptimizerConfig,
    TrainState,
    learning_rate_schedule,
    make_optimizer,
)

MAXIMA = ("sampler_gap/max",)  # metrics of micro-batches that do not add up


def make_update(objective: Objective, optimizer: OptimizerConfig, grpo: GRPOConfig):
    """`update(state, reference, batch) -> (state, metrics)`, compiled, its state donated.

    The batch's roots are divided among `grpo.updates_per_rollout` updates, each of these
    into micro-batches; a micro-batch's loss is its share of the update's, so that split
    changes nothing but rounding. A gradient that is not finite leaves parameters and
    moments as they were.
    """
    transform = make_optimizer(optimizer)
    rate = learning_rate_schedule(optimizer)

    def one(state: TrainState, reference, batch: BranchBatch):
        grads, metrics = batch_gradients(objective, state.params, reference, batch, optimizer, grpo)
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
            skipped=state.skipped + ~finite,
            skipped_in_row=jnp.where(finite, 0, state.skipped_in_row + 1),
        )
        return new, metrics | {"actor/grad_norm": norm, "actor/lr": rate(state.updates)}

    def update(state: TrainState, reference, batch: BranchBatch):
        parts = split_rows(batch, batch.mask.shape[0] // grpo.updates_per_rollout)
        state, metrics = jax.lax.scan(lambda s, part: one(s, reference, part), state, parts)
        metrics = {name: values.mean() for name, values in metrics.items()}
        return state.replace(step=state.step + 1), metrics | {"skipped": state.skipped}

    return jax.jit(update, donate_argnums=0)


def batch_gradients(objective, params, reference, batch, optimizer: OptimizerConfig, grpo):
    """Gradient and metrics of the whole batch, a micro-batch at a time."""
    micros = split_rows(batch, optimizer.micro_batch_size)
    totals = micro_totals(micros.mask, grpo)

    def one(grads, inputs):
        micro, total = inputs
        (_, metrics), grad = jax.value_and_grad(objective, has_aux=True)(
            params, reference, micro, total
        )
        return jax.tree.map(jnp.add, grads, grad), metrics

    zeros = jax.tree.map(jnp.zeros_like, params)
    grads, metrics = jax.lax.scan(one, zeros, (micros, totals))
    return grads, {
        name: values.max() if name in MAXIMA else values.sum() for name, values in metrics.items()
    }


def split_rows(batch, micro_batch_size: int):
    """Leading axis of every array split into micro-batches of that many roots; 0: one of all."""
    roots = jax.tree.leaves(batch)[0].shape[0]
    size = micro_batch_size or roots
    if roots % size:
        raise ValueError(
            f"optimizer.micro_batch_size is {size}, which does not divide the {roots} roots of an "
            "update (data.batch_size / grpo.updates_per_rollout)"
        )
    return jax.tree.map(lambda x: x.reshape(roots // size, size, *x.shape[1:]), batch)


def micro_totals(mask: jax.Array, grpo: GRPOConfig) -> dict[str, jax.Array]:
    """Denominators for each micro-batch of `mask` [micro, B, M, R]: shared by all of them.

    With `token_mean_scope="micro"` each has its own, times their number (the original).
    """
    count = mask.shape[0]
    flat = mask.reshape(count, -1, mask.shape[-1])
    whole = denominator(flat.reshape(-1, mask.shape[-1]), grpo.aggregation)
    loss = jnp.broadcast_to(whole, (count,))
    if grpo.token_mean_scope == "micro":
        loss = count * jax.vmap(lambda part: denominator(part, grpo.aggregation))(flat)
    tokens = jnp.broadcast_to(mask.sum() + EPSILON, (count,))
    return {"loss": loss, "tokens": tokens}
