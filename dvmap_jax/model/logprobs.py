"""Log-probabilities and entropies of given tokens, without logits of all tokens at once."""

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
    head = head.astype(hidden.dtype)

    @jax.checkpoint
    def one_chunk(inputs):
        return _chunk_logprobs(*inputs, head, temperature)

    logprobs, entropies = jax.lax.map(one_chunk, (hidden, targets))
    return logprobs.reshape(-1)[:size].reshape(shape), entropies.reshape(-1)[:size].reshape(shape)


def _chunk_logprobs(hidden, targets, head, temperature):
    wide = jnp.promote_types(hidden.dtype, jnp.float32)
    logits = jnp.einsum("td,vd->tv", hidden, head, preferred_element_type=wide)
    logits = full_precision(logits) / temperature
    peak = jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True))
    weights = jnp.exp(logits - peak)
    total = weights.sum(axis=-1)
    log_total = jnp.log(total) + peak[:, 0]
    chosen = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    entropy = log_total - (weights * logits).sum(axis=-1) / total
    return chosen - log_total, entropy
