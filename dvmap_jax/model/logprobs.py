"""Log-probabilities and entropies of given tokens, without logits of all tokens at once."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dvmap_jax.model.layers import full_precision


def token_logprobs(
    hidden: Float[Array, "*B D"],
    head: Float[Array, "V D"],
    targets: Int[Array, "*B"],
    *,
    temperature: float = 1.0,
    chunk: int = 1024,
) -> tuple[Float[Array, "*B"], Float[Array, "*B"]]:
    """Natural-log probability of each target and entropy of its distribution, in nats.

    The head is applied to `chunk` positions at a time and applied again in the backward
    pass, so no array of positions x vocabulary exists. Softmax is at least float32 and of
    logits / temperature.
    """
    shape = targets.shape
    hidden, targets = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)
    size = targets.shape[0]
    chunk = min(chunk, size)
    padding = -size % chunk
    hidden = jnp.pad(hidden, ((0, padding), (0, 0))).reshape(-1, chunk, hidden.shape[-1])
    targets = jnp.pad(targets, (0, padding)).reshape(-1, chunk)
    logprobs, entropies = _chunks(temperature, hidden, head.astype(hidden.dtype), targets)
    return logprobs.reshape(-1)[:size].reshape(shape), entropies.reshape(-1)[:size].reshape(shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _chunks(temperature, hidden, head, targets):
    """Both results for hidden [C, T, D] and targets [C, T], one chunk of T positions at a time."""
    return _forward(temperature, hidden, head, targets)[0]


def _logits(temperature, hidden, head):
    wide = jnp.promote_types(hidden.dtype, jnp.float32)
    logits = jnp.einsum("td,vd->tv", hidden, head, preferred_element_type=wide)
    return full_precision(logits) / temperature


def _forward(temperature, hidden, head, targets):
    def one(inputs):
        hidden, targets = inputs
        logits = _logits(temperature, hidden, head)
        peak = logits.max(axis=-1, keepdims=True)
        weights = jnp.exp(logits - peak)
        total = weights.sum(axis=-1)
        log_total = jnp.log(total) + peak[:, 0]
        chosen = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
        entropy = log_total - (weights * logits).sum(axis=-1) / total
        return chosen - log_total, entropy, log_total

    logprobs, entropies, log_totals = jax.lax.map(one, (hidden, targets))
    return (logprobs, entropies), (hidden, head, targets, entropies, log_totals)


def _backward(temperature, saved, cotangents):
    """With p the softmax, l its logarithm and H its entropy, the slopes over logit v are

    of the target's log-probability: [v is the target] - p_v; of H: -p_v (l_v + H).
    """
    hidden, head, targets, entropies, log_totals = saved
    wide = jnp.promote_types(head.dtype, jnp.float32)

    def one(head_slope, inputs):
        hidden, targets, entropy, log_total, of_logprob, of_entropy = inputs
        logs = _logits(temperature, hidden, head) - log_total[:, None]
        is_target = jnp.arange(head.shape[0]) == targets[:, None]
        pull = of_logprob[:, None] + of_entropy[:, None] * (logs + entropy[:, None])
        slope = (of_logprob[:, None] * is_target - jnp.exp(logs) * pull) / temperature
        slope = slope.astype(hidden.dtype)
        head_slope += jnp.einsum("tv,td->vd", slope, hidden, preferred_element_type=wide)
        return head_slope, jnp.einsum("tv,vd->td", slope, head)

    inputs = (hidden, targets, entropies, log_totals, *cotangents)
    head_slope, slopes = jax.lax.scan(one, jnp.zeros(head.shape, wide), inputs)
    return slopes, head_slope.astype(head.dtype), None


_chunks.defvjp(_forward, _backward)
