"""Keys and values as a decode step reads them: columns of keys, rings, a byte each where asked."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dvmap_jax.model.transformer import KEPT, Block, Transformer
from dvmap_jax.sharding import constrain


def cached(block: Block, dtype: str) -> Block:
    """The block of a level that decode steps attend to; `dtype` is `SamplingConfig.cache_dtype`."""
    scales = None
    keys, values = block.keys, block.values
    if dtype == "int8":
        (keys, of_keys), (values, of_values) = _quantized(keys), _quantized(values)
        scales = of_keys, of_values
    keys = keys.swapaxes(-1, -2)
    return block.replace(keys=keys, values=values, scales=scales, columns=True)


def empty_cache(model: Transformer, shape: tuple[int, int], size: int, dtype: str) -> Block:
    """A block with room for `size` tokens in each of B x M rows, none of them valid."""
    config = model.config
    whole = (config.num_layers, *shape, config.num_kv_heads, size, config.head_dim)
    zeros = constrain(jnp.zeros(whole, model.dtype), KEPT, model.layout)
    return cached(Block(zeros, zeros, jnp.zeros(shape, jnp.int32)), dtype)


def append(own: Block, token: Block, at: Int[Array, ""], lengths: Int[Array, "B M"]) -> Block:
    """Writes a token, cached like `own`, at place `at` of every row's block."""

    def put(whole, new, axis):
        return jax.lax.dynamic_update_slice_in_dim(whole, new, at, axis=axis)

    pairs = zip(own.scales or (), token.scales or (), strict=True)
    return own.replace(
        keys=put(own.keys, token.keys, -1),
        values=put(own.values, token.values, -2),
        lengths=lengths,
        newest=at,
        scales=tuple(put(*pair, -1) for pair in pairs) or None,
    )


def _quantized(x: Float[Array, "*B H"]) -> tuple[Int[Array, "*B H"], Float[Array, "*B"]]:
    """Vectors of a head as int8 times a scale, which the largest entry sets."""
    largest = jnp.abs(x).max(axis=-1)
    scales = jnp.where(largest == 0, 1, largest / 127).astype(x.dtype)
    return jnp.round(x / scales[..., None]).astype(jnp.int8), scales
