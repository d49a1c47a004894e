"""Attention of branches over ancestors that are stored once, and causally over themselves."""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dvmap_jax.model.flash import flash_attend, pick_kernel

MOST_PIECES, SMALLEST_PIECE = 4, 128  # of queries scored in one product
MASKED = -1e30  # finite, so that a row with nothing to see stays a number


class LayerBlock(NamedTuple):
    """Keys and values of one layer for one level of the tree, and how many are valid.

    The first `lengths` are; of a ring, the `lengths` up to `newest` and on from the end. `columns`
    are keys stored [B, Ni, K, H, S], as a decode step reads them. What is stored in int8 has its
    `scales`, of keys and of values.
    """

    keys: Float[Array, "B Ni K S H"] | Int[Array, "B Ni K S H"]
    values: Float[Array, "B Ni K S H"] | Int[Array, "B Ni K S H"]
    lengths: Int[Array, "B Ni"]
    newest: Int[Array, ""] | None = None
    columns: bool = False
    scales: tuple[Float[Array, "B Ni K S"], Float[Array, "B Ni K S"]] | None = None


class Reach(NamedTuple):
    """Where rows hold several branches: the place in its row up to which a token is seen.

    Rows hold trees depth first, so that `ends` are where a token's descendants end; with `paths`
    no tree branches, so that `ends` also number them.
    """

    ends: Int[Array, "B N T"]
    paths: bool = False


class Partial(NamedTuple):
    """Attention over a part of the keys, before the parts are merged by log-sum-exp."""

    peak: Float[Array, "B N K G T 1"]
    total: Float[Array, "B N K G T 1"]
    mixed: Float[Array, "B N K G T H"]


def attend(
    query: Float[Array, "B N T M H"],
    *,
    keys: Float[Array, "B N K T H"],
    values: Float[Array, "B N K T H"],
    context: tuple[LayerBlock, ...],
    reach: Reach | None = None,
    query_chunk: int = 0,
    attention: str = "xla",
    layout: str = "update",
) -> Float[Array, "B N T M H"]:
    """Each branch attends to all of its ancestors and causally to its own tokens.

    M is the number of query heads, a multiple of the K key/value heads. A block of
    `context` has Ni rows, Ni dividing N: branch n reads row n // (N / Ni) of it. Scores,
    softmax and sums are at least float32. Rows that hold several branches come with their
    `reach`. At most `query_chunk` of the T queries (0: all) are scored at a time, and scored again
    for the gradient, so that scores of T x T never exist. Where `attention` and the devices give a
    fused kernel (flash.py), it does the same, but for trees that branch.
    """
    segments = None if reach is None else reach.ends
    kernel = pick_kernel(attention, query, segments) if reach is None or reach.paths else None
    if kernel:
        own = {"keys": keys, "values": values, "segments": segments}
        return flash_attend(kernel, query, context=context, layout=layout, **own)
    B, N, T, M, H = query.shape
    K = keys.shape[2]
    scaled = query * jnp.asarray(H**-0.5, query.dtype)
    grouped = scaled.reshape(B, N, T, K, M // K, H).transpose(
        0, 1, 3, 4, 2, 5
    )  # [B, N, K, G, T, H]
    size = _chunk_size(T, query_chunk)
    own = LayerBlock(keys, values, jnp.full((B, N), T))

    def one(start, rows):
        parts = [_over_ancestor(rows, block) for block in context]
        parts.append(_over_self(rows, own, reach, start))
        return _merge(parts).astype(query.dtype)

    if size == T:
        pieces = (one(start, grouped[:, :, :, :, start:end]) for start, end in _pieces(T))
        merged = jnp.concatenate(list(pieces), axis=4)
    else:
        chunks = jnp.moveaxis(grouped.reshape(B, N, K, M // K, T // size, size, H), 4, 0)
        starts = jnp.arange(0, T, size)
        merged = jax.lax.map(jax.checkpoint(lambda inputs: one(*inputs)), (starts, chunks))
        merged = jnp.moveaxis(merged, 0, 4).reshape(grouped.shape)
    return merged.transpose(0, 1, 4, 2, 3, 5).reshape(B, N, T, M, H)


def _chunk_size(size: int, limit: int) -> int:
    """The largest divisor of `size` that is at most `limit`; all of it where that is 0."""
    limit = min(limit or size, size)
    return next(part for part in range(limit, 0, -1) if size % part == 0)


def _pieces(size: int) -> list[tuple[int, int]]:
    """Where queries are divided so that the first ones are not compared with all later keys."""
    number = min(MOST_PIECES, max(1, size // SMALLEST_PIECE))
    bounds = [size * i // number for i in range(number + 1)]
    return list(itertools.pairwise(bounds))


def _over_ancestor(query: Float[Array, "B N K G T H"], block: LayerBlock) -> Partial:
    """One product of all branches of an ancestor with its keys, which are never copied."""
    B, N, K, G, T, H = query.shape
    Ni, S = block.values.shape[1], block.values.shape[3]
    fold = N // Ni
    rows = query.reshape(B, Ni, fold, K, G, T, H).swapaxes(2, 3).reshape(B, Ni, K, fold * G * T, H)
    ages = jnp.arange(S) if block.newest is None else (block.newest - jnp.arange(S)) % S
    part = _softmax_part(rows, block, ages < block.lengths[:, :, None, None, None])

    def unfold(x):
        x = x.reshape(B, Ni, K, fold, G, T, x.shape[-1]).swapaxes(2, 3)
        return x.reshape(B, N, K, G, T, x.shape[-1])

    return Partial(*(unfold(x) for x in part))


def _over_self(query: Float[Array, "B N K G T H"], own: LayerBlock, reach, start) -> Partial:
    """Queries from position `start` on over the branch's own keys up to their own position."""
    B, N, K, G, T, H = query.shape
    if own.keys.shape[3] == 1:
        return _over_one(query, own)
    if isinstance(start, int):  # later keys are seen by none of the queries
        own = own._replace(
            keys=own.keys[:, :, :, : start + T], values=own.values[:, :, :, : start + T]
        )
    S = own.keys.shape[3]
    places = start + jnp.arange(T)[:, None]
    seen = places >= jnp.arange(S)
    if reach is not None:
        seen = (seen & (places < reach.ends[:, :, None, :S]))[:, :, None, None]
    seen = jnp.broadcast_to(seen, (*seen.shape[:-3], G, T, S) if seen.ndim > 2 else (G, T, S))
    seen = seen.reshape(*seen.shape[:-3], G * T, S)
    part = _softmax_part(query.reshape(B, N, K, G * T, H), own, seen)
    return Partial(*(x.reshape(B, N, K, G, T, x.shape[-1]) for x in part))


def _over_one(query: Float[Array, "B N K G 1 H"], own: LayerBlock) -> Partial:
    """A single new token over itself."""
    wide = jnp.promote_types(query.dtype, jnp.float32)
    keys, values = (x[:, :, :, None].astype(wide) for x in (own.keys, own.values))
    score = (query.astype(wide) * keys).sum(axis=-1, keepdims=True)
    return Partial(score, jnp.ones_like(score), jnp.broadcast_to(values, query.shape))


def _softmax_part(rows, block: LayerBlock, valid) -> tuple[Array, Array, Array]:
    """Peak score, sum of exponentials and weighted values of each row over valid keys."""
    wide = jnp.promote_types(rows.dtype, jnp.float32)
    how = {"preferred_element_type": wide}
    keys, values = block.keys.astype(rows.dtype), block.values.astype(rows.dtype)
    pattern = "bnkqh,bnkhs->bnkqs" if block.columns else "bnkqh,bnksh->bnkqs"
    scores = jnp.einsum(pattern, rows, keys, **how)
    if block.scales is not None:
        scores = scores * block.scales[0][:, :, :, None]
    scores = jnp.where(valid, scores, MASKED)
    # The peak cancels in the merged result, so no gradient needs to flow through it.
    peak = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
    weights = jnp.exp(scores - peak)
    shares = weights if block.scales is None else weights * block.scales[1][:, :, :, None]
    mixed = jnp.einsum("bnkqs,bnksh->bnkqh", shares.astype(values.dtype), values, **how)
    return peak, weights.sum(axis=-1, keepdims=True), mixed


def _merge(parts: list[Partial]) -> Float[Array, "B N K G T H"]:
    peak = parts[0].peak
    for part in parts[1:]:
        peak = jnp.maximum(peak, part.peak)
    shares = [jnp.exp(part.peak - peak) for part in parts]
    total = sum(share * part.total for share, part in zip(shares, parts, strict=True))
    mixed = sum(share * part.mixed for share, part in zip(shares, parts, strict=True))
    return mixed / total
