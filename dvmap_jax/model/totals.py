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
    nothing and has no slope. At least float32. For the gradient the logits are computed again, as
    many at a time.
    """
    rows, number, _ = hidden.shape
    if _fits_tiles(layout):  # the logits of a tile are all that exist
        chunk = min(TILED, chunk * max(1, len(head) // TILE))
    pieces = -(-number * rows // (chunk * divided_into("batch", layout)))
    size = -(-number // max(1, pieces))
    hidden = jnp.pad(hidden, ((0, 0), (0, -number % size), (0, 0)))
    return _totals(layout, size, hidden, head.astype(hidden.dtype), counts)[:, :number]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _totals(layout, size, hidden, head, counts):
    """Of hidden [B, P, D], `size` positions at a time, which divides P."""
    return _forward(layout, size, hidden, head, counts)[0]


def _forward(layout, size, hidden, head, counts):
    one = _tiled if _fits_tiles(layout) else _whole

    def step(piece, found):
        total = one(_piece(hidden, piece, size, layout), head, layout)
        return jax.lax.dynamic_update_slice_in_dim(found, total, piece * size, axis=1)

    wide = jnp.promote_types(hidden.dtype, jnp.float32)
    zeros = jnp.zeros(hidden.shape[:2], wide)
    found = jax.lax.fori_loop(0, -(-counts.max() // size), step, zeros)
    return found, (hidden, head, counts, found)


def _backward(layout, size, saved, slopes):
    """The slope of a total over logit v is the softmax's share of v."""
    hidden, head, counts, totals = saved
    wide = totals.dtype
    one = _tiled_slopes if _fits_tiles(layout) else _whole_slopes

    def step(piece, found):
        of_hidden, of_head = found
        part = _piece(hidden, piece, size, layout)
        total, slope = (_piece(x, piece, size, layout) for x in (totals, slopes))
        of_part, of_head = one(part, head, total, slope, of_head, layout)
        of_part = of_part.astype(hidden.dtype)
        return jax.lax.dynamic_update_slice_in_dim(of_hidden, of_part, piece * size, 1), of_head

    zeros = constrain(jnp.zeros(head.shape[::-1], wide), (None, "scored_vocab"), layout)
    zeros = jnp.zeros_like(hidden), zeros
    of_hidden, of_head = jax.lax.fori_loop(0, -(-counts.max() // size), step, zeros)
    of_hidden = constrain(of_hidden, ("batch", None, None), layout)
    return of_hidden, of_head.T.astype(head.dtype), None


_totals.defvjp(_forward, _backward)


def _piece(x, piece, size, layout):
    part = jax.lax.dynamic_slice_in_dim(x, piece * size, size, axis=1)
    return constrain(part, ("table_batch",), layout)


def _fits_tiles(layout: str) -> bool:
    return current_platform() == "cpu" and divided_into("scored_vocab", layout) == 1


def _whole(hidden, head, layout):
    """[B, P], all logits of a chunk at once."""
    return jax.nn.logsumexp(_all_logits(hidden, head, layout), axis=-1)


def _whole_slopes(hidden, head, totals, slopes, of_head, layout):
    """Of hidden, and those of the head [D, V] with this chunk's added."""
    logits = _all_logits(hidden, head, layout)
    shares = (jnp.exp(logits - totals[..., None]) * slopes[..., None]).astype(hidden.dtype)
    of_hidden = jnp.einsum("bpv,vd->bpd", shares, head)
    of_head += jnp.einsum("bpd,bpv->dv", hidden, shares, preferred_element_type=of_head.dtype)
    return of_hidden, constrain(of_head, (None, "scored_vocab"), layout)


def _all_logits(hidden, head, layout):
    wide = jnp.promote_types(hidden.dtype, jnp.float32)
    logits = jnp.einsum("bpd,vd->bpv", hidden, head, preferred_element_type=wide)
    return constrain(full_precision(logits), ("table_batch", None, "scored_vocab"), layout)


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


def _tiled_slopes(hidden, head, totals, slopes, of_head, layout):
    """As `_whole_slopes`, a tile of the head after the other."""
    rows, totals, slopes = hidden.reshape(-1, hidden.shape[-1]), totals.ravel(), slopes.ravel()

    def step(start, found, size=TILE):
        of_rows, of_head = found
        tile = jax.lax.dynamic_slice_in_dim(head, start, size)
        shares = jnp.exp(_logits(rows, tile) - totals[:, None]) * slopes[:, None]
        shares = shares.astype(rows.dtype)
        of_tile = jnp.einsum("nd,nv->dv", rows, shares, preferred_element_type=of_head.dtype)
        of_tile += jax.lax.dynamic_slice_in_dim(of_head, start, size, axis=1)
        of_head = jax.lax.dynamic_update_slice_in_dim(of_head, of_tile, start, axis=1)
        return of_rows + shares @ tile, of_head

    number, rest = divmod(len(head), TILE)
    found = jnp.zeros_like(rows), of_head
    if number:  # a loop of none would still be traced, on a head that has no whole tile
        found = jax.lax.fori_loop(0, number, lambda tile, found: step(tile * TILE, found), found)
    if rest:
        found = step(number * TILE, found, rest)
    return found[0].reshape(hidden.shape), found[1]


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
