"""Log-probabilities and entropies of given tokens, without logits of all tokens at once."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dvmap_jax.model.layers import full_precision
from dvmap_jax.sharding import constrain, current_platform, divided_into

SCORED = ("table_batch", None, None)  # axes of the hidden states of a chunk


def token_logprobs(
    hidden: Float[Array, "*B D"],
    head: Float[Array, "V D"],
    targets: Int[Array, "*B"],
    *,
    temperature: float = 1.0,
    chunk: int = 1024,
    layout: str = "update",
) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
    """Natural-log probability of each target and entropy of its distribution, in nats.

    The head is applied to `chunk` positions at a time, of each part that the first axis is divided
    into, and applied again in the backward pass, so no array of positions x vocabulary exists.
    Softmax is at least float32 and of logits / temperature. On a mesh the vocabulary of a chunk's
    logits is divided; sums over it are what devices exchange.
    """
    shape = targets.shape
    parts = divided_into("batch", layout)
    rows = shape[0] if parts > 1 else 1  # tokens of one row stay together where rows are divided
    hidden, targets = hidden.reshape(rows, -1, hidden.shape[-1]), targets.reshape(rows, -1)
    size = targets.shape[1]
    number = -(-size // max(1, chunk * parts // rows))
    padding = -size % number
    hidden = jnp.pad(hidden, ((0, 0), (0, padding), (0, 0)))
    hidden = jnp.moveaxis(hidden.reshape(rows, number, -1, hidden.shape[-1]), 1, 0)
    targets = jnp.moveaxis(jnp.pad(targets, ((0, 0), (0, padding))).reshape(rows, number, -1), 1, 0)
    found = _chunks(temperature, layout, hidden, head.astype(hidden.dtype), targets)
    found = (jnp.moveaxis(x, 0, 1).reshape(rows, -1)[:, :size].reshape(shape) for x in found)
    return tuple(found)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _chunks(temperature, layout, hidden, head, targets):
    """Both results for hidden [C, B, T, D] and targets [C, B, T], one of C chunks at a time."""
    return _forward(temperature, layout, hidden, head, targets)[0]


def _logits(temperature, layout, hidden, head):
    wide = jnp.promote_types(hidden.dtype, jnp.float32)
    hidden = constrain(hidden, SCORED, layout)
    logits = jnp.einsum("btd,vd->btv", hidden, head, preferred_element_type=wide)
    return constrain(full_precision(logits), (*SCORED[:2], "scored_vocab"), layout) / temperature


def _forward(temperature, layout, hidden, head, targets):
    def one(inputs):
        hidden, targets = inputs
        logits = _logits(temperature, layout, hidden, head)
        peak = logits.max(axis=-1, keepdims=True)
        weights = jnp.exp(logits - peak)
        total = weights.sum(axis=-1)
        log_total = jnp.log(total) + peak[..., 0]
        chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        entropy = log_total - _sum_of_products(weights, logits, layout) / total
        return chosen - log_total, entropy, log_total

    logprobs, entropies, log_totals = jax.lax.map(one, (hidden, targets))
    return (logprobs, entropies), (hidden, head, targets, entropies, log_totals)


def _sum_of_products(a, b, layout):
    """[B, T] of two arrays [B, T, V]."""
    # XLA's CPU backend is many times faster at a matrix product, which it gets wrong, though, where
    # a mesh divides the vocabulary.
    if current_platform() != "cpu" or divided_into("scored_vocab", layout) > 1:
        return (a * b).sum(axis=-1)
    return jnp.einsum("btv,btv->bt", a, b, precision=jax.lax.Precision.HIGHEST)


def _backward(temperature, layout, saved, cotangents):
    """With p the softmax, l its logarithm and H its entropy, the slopes over logit v are

    of the target's log-probability: [v is the target] - p_v; of H: -p_v (l_v + H).
    """
    hidden, head, targets, entropies, log_totals = saved
    wide = jnp.promote_types(head.dtype, jnp.float32)

    def one(head_slope, inputs):
        hidden, targets, entropy, log_total, of_logprob, of_entropy = inputs
        logs = _logits(temperature, layout, hidden, head) - log_total[..., None]
        is_target = jnp.arange(head.shape[0]) == targets[..., None]
        pull = of_logprob[..., None] + of_entropy[..., None] * (logs + entropy[..., None])
        slope = (of_logprob[..., None] * is_target - jnp.exp(logs) * pull) / temperature
        slope = slope.astype(hidden.dtype)
        # The order in which the slope, the large one, is read as it lies.
        head_slope += jnp.einsum("btd,btv->dv", hidden, slope, preferred_element_type=wide)
        hidden_slope = jnp.einsum("btv,vd->btd", slope, head)
        head_slope = constrain(head_slope, (None, "scored_vocab"), layout)
        return head_slope, constrain(hidden_slope, ("batch", None, None), layout)

    inputs = (hidden, targets, entropies, log_totals, *cotangents)
    zeros = constrain(jnp.zeros(head.shape[::-1], wide), (None, "scored_vocab"), layout)
    head_slope, slopes = jax.lax.scan(one, zeros, inputs)
    return slopes, head_slope.T.astype(head.dtype), None


_chunks.defvjp(_forward, _backward)
