"""The tree's attention with fused kernels: no score of a query and a key is ever in memory.

A branch's keys come in parts, its own and its ancestors'. Each part is computed by itself, and the
results are merged by log-sum-exp. The gradient of a part needs of the others only the merged result
and the merged log-sum-exp, so that these are all that is kept, besides what went in.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from dvmap_jax.model.kernels import CUDNN, LANES, SPLASH, Kernel, Part, Rows
from dvmap_jax.sharding import current_platform, on_each_device

KEPT_NAME = "attention"  # of what a policy of rematerialisation may keep
SHORT = LANES  # fewer queries than these are left to XLA, unless a kernel is named
QUERY, KEYS = ("batch", None, "heads", None, None), ("batch", None, "kv_heads", None, None)
SUMS, ROWS, SEGMENTS = QUERY[:-1], ("batch", None), ("batch", None, None)


class Level(NamedTuple):
    """Keys and values of a level of the tree; `lengths` is None for the branches' own."""

    keys: Float[Array, "B Ni K S H"]
    values: Float[Array, "B Ni K S H"]
    lengths: Int[Array, "B Ni"] | None


def pick_kernel(asked: str, query: Array, segments: Array | None) -> Kernel | None:
    """The kernel that `compute.attention` asks for, None for XLA's own products.

    "auto" takes splash where its conditions hold, which follow from the devices of the current
    mesh, and never cuDNN, which no device has run yet. Single tokens and, unless a kernel is
    named, few of them are left to XLA. Raises ValueError where a kernel named cannot be had.
    """
    number = query.shape[2]
    if asked == "xla" or number == 1:
        return None
    if asked == "auto":
        fits = number >= SHORT and not _splash_lacks(query)
        return SPLASH if fits else None
    lacks = {"splash": _splash_lacks(query), "cudnn": _cudnn_lacks(query, segments)}[asked]
    if lacks:
        raise ValueError(
            f"compute.attention is {asked!r}, which {lacks}; set it to 'auto' or 'xla'"
        )
    return {"splash": SPLASH, "cudnn": CUDNN}[asked]


def _splash_lacks(query: Array) -> str:
    """What splash wants and does not get, as words after its name; empty where it gets all."""
    if current_platform() != "tpu":
        return f"runs on platform 'tpu' alone, not on {current_platform()!r}"
    if query.dtype not in (jnp.bfloat16, jnp.float32):
        return f"computes in bfloat16 or float32, not in compute.dtype = {query.dtype}"
    if query.shape[-1] != LANES // 2 and query.shape[-1] % LANES:
        return f"takes model.head_dim of 64 or a multiple of 128, not {query.shape[-1]}"
    return ""


def _cudnn_lacks(query: Array, segments: Array | None) -> str:
    if current_platform() not in ("gpu", "cuda"):
        return f"runs on platform 'gpu' alone, not on {current_platform()!r}"
    if query.dtype not in (jnp.bfloat16, jnp.float16):
        return f"computes in bfloat16, not in compute.dtype = {query.dtype}"
    if query.shape[-1] % 8 or query.shape[-1] > 128:
        return f"takes model.head_dim up to 128, a multiple of 8, not {query.shape[-1]}"
    return "takes no rows of several branches" if segments is not None else ""


def flash_attend(
    kernel: Kernel,
    query: Float[Array, "B N T M H"],
    *,
    keys: Float[Array, "B N K T H"],
    values: Float[Array, "B N K T H"],
    context: tuple,
    segments: Int[Array, "B N T"] | None = None,
    layout: str = "update",
) -> Float[Array, "B N T M H"]:
    """`attend` by a fused kernel, on a mesh as the layout divides rows and heads.

    Results of parts are rounded to the precision of the queries before they are merged.
    """
    size, fill = query.shape[2], functools.partial(_filled, multiple=kernel.multiple)
    scaled = query * jnp.asarray(query.shape[-1] ** -0.5, query.dtype)
    heads_first = fill(scaled.swapaxes(2, 3))  # [B, N, M, T, H]
    levels = [Level(fill(keys), fill(values), None)]
    levels += [Level(fill(block.keys), fill(block.values), block.lengths) for block in context]
    if segments is not None:
        segments = fill(segments[..., None])[..., 0]
    out = _attended(kernel, layout, heads_first, tuple(levels), segments)
    return out[:, :, :, :size].swapaxes(2, 3)


def _filled(x: Array, multiple: int) -> Array:
    """Zeros after the last but one axis, up to a multiple: rows nobody reads, keys nobody sees."""
    lacking = -x.shape[-2] % multiple
    return jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, lacking), (0, 0)]) if lacking else x


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attended(kernel, layout, query, levels, segments) -> Float[Array, "B N M T H"]:
    return _forward(kernel, layout, query, levels, segments)[0]


def _forward(kernel, layout, query, levels, segments):
    axes = QUERY, _axes_of(levels), None if segments is None else SEGMENTS
    merge = functools.partial(_merged, kernel)
    run = on_each_device(merge, axes_in=axes, axes_out=(QUERY, SUMS), layout=layout)
    out, total = (checkpoint_name(x, KEPT_NAME) for x in run(query, levels, segments))
    return out, (query, levels, segments, out, total)


def _backward(kernel, layout, saved, slopes):
    query, levels, segments, out, total = saved
    axes = QUERY, _axes_of(levels), None if segments is None else SEGMENTS
    axes_in = (*axes, QUERY, SUMS, QUERY)
    axes_out = QUERY, tuple((KEYS, KEYS) for _ in levels)
    share = functools.partial(_slopes, kernel)
    run = on_each_device(share, axes_in=axes_in, axes_out=axes_out, layout=layout)
    slope, of_levels = run(query, levels, segments, out, total, slopes)
    return slope, tuple(Level(*pair, None) for pair in of_levels), None


_attended.defvjp(_forward, _backward)


def _axes_of(levels: tuple[Level, ...]) -> tuple[Level, ...]:
    return tuple(Level(KEYS, KEYS, None if level.lengths is None else ROWS) for level in levels)


def _merged(kernel: Kernel, query, levels, segments) -> tuple[Array, Array]:
    """Attention over all levels, and the logarithm of its sum of exponentials."""
    parts = []
    for level in levels:
        rows = _folded(query, level.keys.shape[1])
        out, total = kernel.forward(rows, _part(level, segments))
        parts.append((_unfolded(out, query.shape), _unfolded(total, query.shape[:-1])))
    if len(parts) == 1:
        return parts[0]
    merged = jax.nn.logsumexp(jnp.stack([total for _, total in parts]), axis=0)
    out = sum(jnp.exp(total - merged)[..., None] * out for out, total in parts)
    return out.astype(query.dtype), merged


def _slopes(kernel: Kernel, query, levels, segments, out, total, slopes):
    """Slopes of the queries, summed over the levels, and of each level's keys and values."""
    of_query, of_levels = [], []
    for level in levels:
        rows = Rows(*(_folded(x, level.keys.shape[1]) for x in (query, out, total, slopes)))
        part = _part(level, segments)
        dq, dk, dv = kernel.backward(rows, part)
        of_query.append(_unfolded(dq, query.shape).astype(jnp.float32))
        of_levels.append((dk.reshape(level.keys.shape), dv.reshape(level.values.shape)))
    return sum(of_query).astype(query.dtype), tuple(of_levels)


def _part(level: Level, segments) -> Part:
    """A level as the kernels take it: one axis for all of its rows."""
    keys, values = (x.reshape(-1, *x.shape[2:]) for x in (level.keys, level.values))
    if level.lengths is not None:
        return Part(keys, values, lengths=level.lengths.reshape(-1))
    own = None if segments is None else segments.reshape(-1, segments.shape[-1])
    return Part(keys, values, segments=own)


def _folded(x: Float[Array, "B N M T *H"], ancestors: int) -> Float[Array, "A M R *H"]:
    """Rows of all branches of an ancestor one after the other, so that its keys are read once."""
    B, N, M, T, *last = x.shape
    x = x.reshape(B, ancestors, N // ancestors, M, T, *last).swapaxes(2, 3)
    return x.reshape(B * ancestors, M, N // ancestors * T, *last)


def _unfolded(x: Float[Array, "A M R *H"], shape: tuple[int, ...]) -> Float[Array, "B N M T *H"]:
    B, N, M, T, *last = shape
    fold = math.prod((B, N)) // x.shape[0]
    x = x.reshape(B, N // fold, M, fold, T, *last).swapaxes(2, 3)
    return x.reshape(shape)
