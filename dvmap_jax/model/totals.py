"""The logarithm of the sum over the vocabulary that turns logits into log-probabilities."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dvmap_jax.model.layers import full_precision
from dvmap_jax.sharding import constrain, current_platform, divided_into

TILE = 512  # rows of the head whose logits a CPU's caches hold while they are summed
TILED = 2048  # positions at a time: a third faster than 776 (2 cores, a head of 152 thousand rows)


def log_totals(
    hidden: Float[Array, "B P D"],
    head: Float[Array, "V D"],
    counts: Int[Array, " B"],
    *,
    chunk: int = 1024,
    layout: str = "update",
) -> Float[Array, "B P"]:
    """Log of the sum of exponentials of the logits, of each row's first `counts` positions.

    No more positions are computed than the longest count needs, about `chunk` at a time of each
    part that rows are divided into, more where no more logits exist for it; what lies beyond means
    nothing. At least float32. Without gradient: `token_logprobs` has one.
    """
    rows, number, _ = hidden.shape
    tiled = _fits_tiles(layout)
    if tiled:  # the logits of a tile are all that exist
        chunk = min(TILED, chunk * max(1, len(head) // TILE))
    pieces = -(-number * rows // (chunk * divided_into("batch", layout)))
    size = -(-number // max(1, pieces))
    head = head.astype(hidden.dtype)
    hidden = jnp.pad(hidden, ((0, 0), (0, -number % size), (0, 0)))
    one = _tiled if tiled else _whole

    def step(piece, found):
        start = piece * size
        part = jax.lax.dynamic_slice_in_dim(hidden, start, size, axis=1)
        total = one(constrain(part, ("table_batch", None, None), layout), head, layout)
        return jax.lax.dynamic_update_slice_in_dim(found, total, start, axis=1)

    wide = jnp.promote_types(hidden.dtype, jnp.float32)
    found = jnp.zeros(hidden.shape[:2], wide)
    return jax.lax.fori_loop(0, -(-counts.max() // size), step, found)[:, :number]


def _fits_tiles(layout: str) -> bool:
    return current_platform() == "cpu" and divided_into("scored_vocab", layout) == 1


def _whole(hidden, head, layout):
    """[B, P], all logits of a chunk at once."""
    wide = jnp.promote_types(hidden.dtype, jnp.float32)
    logits = jnp.einsum("bpd,vd->bpv", hidden, head, preferred_element_type=wide)
    logits = constrain(full_precision(logits), ("table_batch", None, "scored_vocab"), layout)
    return jax.nn.logsumexp(logits, axis=-1)


def _tiled(hidden, head, layout):
    """[B, P], tile by tile of the head, so that logits never leave the processor's caches.

    Exponentials are of logits less the greatest of the first tile, so that no tile is read twice.
    Where some other logit is so much greater that they overflow, they are computed again.
    """
    rows = hidden.reshape(-1, hidden.shape[-1])
    logits = functools.partial(_logits, rows)
    peak = logits(head[:TILE]).max(axis=-1)
    total = _over_tiles(lambda sums, tile: sums + _sums(logits(tile), peak), head, peak * 0)

    def exact(_):
        highest = _over_tiles(
            lambda top, tile: jnp.maximum(top, logits(tile).max(axis=-1)), head, peak
        )
        sums = _over_tiles(lambda s, tile: s + _sums(logits(tile), highest), head, peak * 0)
        return highest + jnp.log(sums)

    found = jax.lax.cond(jnp.isfinite(total).all(), lambda _: peak + jnp.log(total), exact, None)
    return found.reshape(hidden.shape[:2])


def _logits(rows, tile):
    wide = jnp.promote_types(rows.dtype, jnp.float32)
    return jnp.einsum("nd,vd->nv", rows, tile, preferred_element_type=wide)


def _sums(logits, peak):
    return jnp.exp(logits - peak[:, None]).sum(axis=-1)


def _over_tiles(combine, head, carry):
    """`combine(carry, tile)` over the head, whose last tile may be smaller."""
    number = head.shape[0] // TILE

    def step(carry, start):
        return combine(carry, jax.lax.dynamic_slice_in_dim(head, start, TILE)), None

    if number:
        carry, _ = jax.lax.scan(step, carry, jnp.arange(number) * TILE)
    rest = head[number * TILE :]
    return combine(carry, rest) if len(rest) else carry
