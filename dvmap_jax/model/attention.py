"""Attention of branches over ancestors that are stored once, and causally over themselves."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dvmap_jax.model.flash import flash_attend, pick_kernel

MASKED = -1e30  # finite, so that a row with nothing to see stays a number


class LayerBlock(NamedTuple):
    """Keys and values of one layer for one level of the tree, and how many are valid."""

    keys: Float[Array, "B Ni K S H"]
    values: Float[Array, "B Ni K S H"]
    lengths: Int[Array, "B Ni"]


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
    segments: Int[Array, "B N T"] | None = None,
    query_chunk: int = 0,
    attention: str = "xla",
    layout: str = "update",
) -> Float[Array, "B N T M H"]:
    """Each branch attends to all of its ancestors and causally to its own tokens.

    M is the number of query heads, a multiple of the K key/value heads. A block of
    `context` has Ni rows, Ni dividing N: branch n reads row n // (N / Ni) of it. Scores,
    softmax and sums are at least float32. Where rows hold several branches one after the other,
    `segments` numbers them, and a token sees only its own. At most `query_chunk` of the T queries
    (0: all) are scored at a time, and scored again for the gradient, so that scores of T x T
    never exist. Where `attention` and the devices give a fused kernel (flash.py), it does the same.
    """
    kernel = pick_kernel(attention, query, segments)
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

    def one(start, rows):
        parts = [_over_ancestor(rows, block) for block in context]
        parts.append(_over_self(rows, keys, values, segments, start))
        return _merge(parts).astype(query.dtype)

    if size == T:
        merged = one(0, grouped)
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


def _over_ancestor(query: Float[Array, "B N K G T H"], block: LayerBlock) -> Partial:
    """One product of all branches of an ancestor with its keys, which are never copied."""
    B, N, K, G, T, H = query.shape
    Ni, S = block.keys.shape[1], block.keys.shape[3]
    fold = N // Ni
    rows = query.reshape(B, Ni, fold, K, G, T, H).swapaxes(2, 3).reshape(B, Ni, K, fold * G * T, H)
    valid = jnp.arange(S) < block.lengths[:, :, None, None, None]
    part = _softmax_part(rows, block.keys, block.values, valid)

    def unfold(x):
        x = x.reshape(B, Ni, K, fold, G, T, x.shape[-1]).swapaxes(2, 3)
        return x.reshape(B, N, K, G, T, x.shape[-1])

    return Partial(*(unfold(x) for x in part))


def _over_self(
    query: Float[Array, "B N K G T H"], keys: Array, values: Array, segments, start
) -> Partial:
    """Queries from position `start` on over the branch's own keys up to their own position."""
    B, N, K, G, T, H = query.shape
    S = keys.shape[3]
    seen = start + jnp.arange(T)[:, None] >= jnp.arange(S)
    if segments is not None:
        own = jax.lax.dynamic_slice_in_dim(segments, start, T, axis=2)
        seen = (seen & (own[..., None] == segments[:, :, None]))[:, :, None, None]
    seen = jnp.broadcast_to(
        seen, (*seen.shape[:-3], G, T, S) if segments is not None else (G, T, S)
    )
    seen = seen.reshape(*seen.shape[:-3], G * T, S)
    part = _softmax_part(query.reshape(B, N, K, G * T, H), keys, values, seen)
    return Partial(*(x.reshape(B, N, K, G, T, x.shape[-1]) for x in part))


def _softmax_part(rows, keys, values, valid) -> tuple[Array, Array, Array]:
    """Peak score, sum of exponentials and weighted values of each row over valid keys."""
    wide = jnp.promote_types(rows.dtype, jnp.float32)
    scores = jnp.einsum("bnkqh,bnksh->bnkqs", rows, keys, preferred_element_type=wide)
    scores = jnp.where(valid, scores, MASKED)
    # The peak cancels in the merged result, so no gradient needs to flow through it.
    peak = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
    weights = jnp.exp(scores - peak)
    mixed = jnp.einsum(
        "bnkqs,bnksh->bnkqh", weights.astype(values.dtype), values, preferred_element_type=wide
    )
    return peak, weights.sum(axis=-1, keepdims=True), mixed


def _merge(parts: list[Partial]) -> Float[Array, "B N K G T H"]:
    peak = parts[0].peak
    for part in parts[1:]:
        peak = jnp.maximum(peak, part.peak)
    shares = [jnp.exp(part.peak - peak) for part in parts]
    total = sum(share * part.total for share, part in zip(shares, parts, strict=True))
    mixed = sum(share * part.mixed for share, part in zip(shares, parts, strict=True))
    return mixed / total
