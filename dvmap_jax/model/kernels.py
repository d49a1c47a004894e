"""Fused attention of two backends: rows over keys in, results with log-sum-exps and slopes out.

Splash is JAX's flash attention for TPUs, written in Pallas; cuDNN has the one for NVIDIA's GPUs.
Both are entered below JAX's own gradient, which knows of one set of keys alone: where a row's keys
come in several parts, the slopes of a part follow from the log-sum-exp over all of them.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax._src.cudnn import fused_attention_stablehlo as fused
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as infos
from jaxtyping import Array, Float, Int

LANES = 128  # splash takes numbers of queries and keys that are multiples of it
BLOCK = 512  # queries, and keys, that splash holds in a core at a time, at most


class Part(NamedTuple):
    """Keys and values, and which of them a row sees: the first `lengths`.

    Where that is None it sees those up to its own position, and of its own segment where there
    are `segments`.
    """

    keys: Float[Array, "A K S H"]
    values: Float[Array, "A K S H"]
    lengths: Int[Array, " A"] | None = None
    segments: Int[Array, "A S"] | None = None


class Rows(NamedTuple):
    """Queries with what came of all of their parts, and the slopes of that."""

    query: Float[Array, "A M T H"]
    out: Float[Array, "A M T H"]
    total: Float[Array, "A M T"]
    slopes: Float[Array, "A M T H"]


class Kernel(NamedTuple):
    """Attention over a part, with the logarithm of its sum of exponentials, and its gradient.

    `backward` is given results and log-sum-exps over all parts, and returns the slopes of the
    queries, as far as this part has a share in them, of the keys and of the values.
    """

    forward: Callable[[Array, Part], tuple[Array, Array]]
    backward: Callable[[Rows, Part], tuple[Array, Array, Array]]
    multiple: int = 1


def _block(size: int) -> int:
    return next(part for part in range(BLOCK, 0, -LANES) if size % part == 0)


def _seen(query: Array, part: Part, process) -> tuple[infos.MaskInfo, Callable | None, int, int]:
    """What splash wants to know of a part's mask, and how many rows and keys are a block."""
    shape = (query.shape[2], part.keys.shape[2])
    mask = masks.FullMask(shape) if part.lengths is not None else masks.CausalMask(shape)
    sizes = tuple(_block(size) for size in shape)
    info, function = process(masks.MultiHeadMask([mask] * query.shape[1]), sizes)
    return info, function, *sizes


def _segment_ids(query: Array, part: Part) -> splash.SegmentIds | None:
    """Rows are in segment 0, as are valid keys; keys beyond the length are in segment 1."""
    if part.lengths is None:
        own = part.segments
        return None if own is None else splash.SegmentIds(own, own)
    A, _, T, _ = query.shape
    beyond = jnp.arange(part.keys.shape[2]) >= part.lengths[:, None]
    return splash.SegmentIds(jnp.zeros((A, T), jnp.int32), beyond.astype(jnp.int32))


def splash_kernel(interpret: bool = False) -> Kernel:
    """Splash attention; interpreted it runs anywhere, slowly."""
    how = {"is_mqa": False, "attn_logits_soft_cap": None, "interpret": interpret}
    how["mask_value"] = splash.DEFAULT_MASK_VALUE
    minor = splash.QKVLayout.HEAD_DIM_MINOR
    layouts = {"q_layout": minor, "k_layout": minor, "v_layout": minor}

    def forward(query, part):
        info, function, rows, keys = _seen(query, part, infos.process_mask)

        def one(query, keys_, values, ids):
            return splash._splash_attention_forward(
                *(info, query, keys_, values, ids, None),
                block_sizes=splash.BlockSizes(block_q=rows, block_kv=keys),
                residual_checkpoint_name=None,
                save_residuals=True,
                mask_function=function,
                **how,
            )

        ids = _segment_ids(query, part)
        out, (total,) = jax.vmap(one)(query, part.keys, part.values, ids)
        return out, total

    def backward(rows, part):
        query, out, total, slopes = rows
        inner = jnp.einsum("amth,amth->amt", out, slopes, preferred_element_type=jnp.float32)
        info, function, bq, bkv = _seen(query, part, infos.process_mask)
        turned, _, *_ = _seen(query, part, infos.process_mask_dkv)
        shared = how | layouts | {"mask_function": function, "bq": bq, "bkv": bkv}

        def one(*inputs):
            inputs = (*inputs[:4], None, *inputs[4:])  # no sinks
            dq = splash._splash_attention_bwd_dq(*inputs, mask_info=info, **shared)
            _, dk, dv = splash._splash_attention_bwd_dkv(
                *inputs, mask_info=turned, bkv_compute=bkv, use_fused_bwd_kernel=False, **shared
            )
            return dq, dk, dv

        ids = _segment_ids(query, part)
        return jax.vmap(one)(query, part.keys, part.values, ids, total, slopes, inner)

    return Kernel(forward, backward, LANES)


def _cudnn_lengths(query: Array, part: Part) -> tuple[Array | None, Array | None]:
    """Valid rows and keys of each; a part without valid keys is given one."""
    if part.lengths is None:
        return None, None
    A, _, T, _ = query.shape
    return jnp.full(A, T, jnp.int32), jnp.maximum(part.lengths, 1).astype(jnp.int32)


def _cudnn_mask(part: Part) -> fused.MaskType:
    return fused.MaskType.CAUSAL if part.lengths is None else fused.MaskType.PADDING


NOTHING = 1e30  # of a row that sees no key: minus this is its log-sum-exp, minus infinity in effect


def _cudnn_forward(query: Array, part: Part) -> tuple[Array, Array]:
    rows, keys = _cudnn_lengths(query, part)
    out, total = fused.dot_product_attention(
        *(query, part.keys, part.values),
        q_seqlen=rows,
        kv_seqlen=keys,
        mask_type=_cudnn_mask(part),
        qkv_layout="BNTH",
        return_residual=True,
    )
    if part.lengths is not None:
        total = jnp.where(part.lengths[:, None, None] > 0, total, -NOTHING)
    return out, total


def _cudnn_backward(rows: Rows, part: Part) -> tuple[Array, Array, Array]:
    query, out, total, slopes = rows
    if part.lengths is not None:  # the key that a part without any was given has no weight
        total = jnp.where(part.lengths[:, None, None] > 0, total, NOTHING)
    none = jnp.zeros(0, query.dtype)
    lengths = (none if size is None else size for size in _cudnn_lengths(query, part))
    return tuple(
        fused._dot_product_attention_bwd_p_wrapper.bind(
            *(query, part.keys, part.values, none, *lengths, none, none, none, none),
            *(total, out, slopes),
            scale=1.0,
            seed=42,
            dropout_rate=0.0,
            variadic_args=(False, False),
            mask_type=_cudnn_mask(part),
            layout=fused.AttentionLayout.BNTH.value,
            sliding_window_length=None,
        )
    )


SPLASH = splash_kernel()
CUDNN = Kernel(_cudnn_forward, _cudnn_backward)
