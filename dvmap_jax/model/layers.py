"""Projections, norms, rotary positions and one decoder layer, as Flax NNX modules."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from dvmap_jax.model.attention import LayerBlock, Reach, attend
from dvmap_jax.model.config import ModelConfig, RopeScaling
from dvmap_jax.sharding import constrain

# Parameters carry logical axis names; they meet a mesh in sharding.py, not when they are created.
nnx.use_eager_sharding(False)


class How(NamedTuple):
    """What a layer's result does not depend on: where its arrays lie, and in what pieces."""

    layout: str
    query_chunk: int
    attention: str


def full_precision(x: Array) -> Array:
    """At least float32: where norms, softmax and log-probabilities are computed."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class Projection(nnx.Module):
    """A matrix product without bias, kernel [in, out]."""

    def __init__(
        self,
        size_in: int,
        size_out: int,
        *,
        axes: tuple[str, str],
        config: ModelConfig,
        rngs: nnx.Rngs,
    ):
        normal = nnx.initializers.normal(config.initializer_range)
        init = nnx.with_partitioning(normal, axes)
        self.kernel = nnx.Param(init(rngs.params(), (size_in, size_out), jnp.float32))

    def __call__(self, x: Float[Array, "*B I"]) -> Float[Array, "*B O"]:
        return product(x, self.kernel[...])


@jax.custom_vjp
def product(x: Float[Array, "*B I"], kernel: Float[Array, "I O"]) -> Float[Array, "*B O"]:
    """x @ kernel; for the slope of the kernel the narrower of two factors is turned."""
    return x @ kernel


def _product_forward(x, kernel):
    return x @ kernel, (x, kernel)


def _product_backward(saved, slope):
    x, kernel = saved
    (size_in, size_out), wide = kernel.shape, slope.reshape(-1, slope.shape[-1])
    rows = x.reshape(-1, size_in)
    if size_in <= size_out:
        of_kernel = jnp.einsum("ti,to->io", rows, wide)
    else:
        of_kernel = jnp.einsum("to,ti->oi", wide, rows).T
    return jnp.einsum("...o,io->...i", slope, kernel), of_kernel


product.defvjp(_product_forward, _product_backward)


class Table(nnx.Module):
    """One row of width D for each token of the vocabulary: embedding or output head."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        normal = nnx.initializers.normal(config.initializer_range)
        init = nnx.with_partitioning(normal, ("vocab", "embed"))
        self.table = nnx.Param(init(rngs.params(), (config.vocab_size, config.width), jnp.float32))


class RMSNorm(nnx.Module):
    """Root-mean-square normalisation over the last axis, in float32."""

    def __init__(self, size: int, *, epsilon: float, rngs: nnx.Rngs):
        init = nnx.with_partitioning(nnx.initializers.ones, (None,))
        self.scale = nnx.Param(init(rngs.params(), (size,), jnp.float32))
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        wide = full_precision(x)
        wide = wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + self.epsilon)
        return wide.astype(x.dtype) * self.scale[...].astype(x.dtype)


def rope_frequencies(config: ModelConfig) -> Float[Array, " h"]:
    """Angle per position of each pair of head dimensions, scaled as Llama 3 does where asked."""
    exponents = jnp.arange(0, config.head_dim, 2) / config.head_dim
    frequencies = 1.0 / config.rope_theta**exponents
    return _stretch(frequencies, config.rope_scaling) if config.rope_scaling else frequencies


def _stretch(frequencies: Float[Array, " h"], scaling: RopeScaling) -> Float[Array, " h"]:
    """Slow rotations are divided by `factor`, fast ones kept, the rest blended between."""
    turns = scaling.original_max_position * frequencies / (2 * jnp.pi)
    blend = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    blend = jnp.clip(blend, 0.0, 1.0)
    return blend * frequencies + (1 - blend) * frequencies / scaling.factor


def rope_angles(
    positions: Int[Array, "B N T"], frequencies: Float[Array, " h"]
) -> tuple[Float[Array, "B N T 1 H"], Float[Array, "B N T 1 H"]]:
    """Cosine and sine of each position's rotation, the two halves of a head side by side."""
    angles = positions[..., None, None] * frequencies
    angles = jnp.concatenate([angles, angles], axis=-1)
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: Float[Array, "B N T K H"], rope: tuple[Array, Array]) -> Float[Array, "B N T K H"]:
    """Rotates each head by its position's angles, in float32."""
    cos, sin = rope
    wide = full_precision(x)
    first, second = jnp.split(wide, 2, axis=-1)
    return (wide * cos + jnp.concatenate([-second, first], axis=-1) * sin).astype(x.dtype)


class Attention(nnx.Module):
    """Grouped-query attention of new tokens over their ancestors and themselves."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        queries = config.num_heads * config.head_dim
        keys = config.num_kv_heads * config.head_dim
        how = {"config": config, "rngs": rngs}
        self.q = Projection(config.width, queries, axes=("embed", "heads"), **how)
        self.k = Projection(config.width, keys, axes=("embed", "kv_heads"), **how)
        self.v = Projection(config.width, keys, axes=("embed", "kv_heads"), **how)
        self.o = Projection(queries, config.width, axes=("heads", "embed"), **how)
        if config.qk_norm:
            epsilon = config.norm_epsilon
            self.q_norm = RMSNorm(config.head_dim, epsilon=epsilon, rngs=rngs)
            self.k_norm = RMSNorm(config.head_dim, epsilon=epsilon, rngs=rngs)
        self.config = config

    def __call__(
        self,
        x: Float[Array, "B N T D"],
        rope: tuple[Array, Array],
        context: tuple[LayerBlock, ...],
        how: How,
        reach: Reach | None = None,
    ) -> tuple[Float[Array, "B N T D"], Float[Array, "B N K T H"], Float[Array, "B N K T H"]]:
        q = self._heads(self.q(x), self.config.num_heads, "heads", how)
        k = self._heads(self.k(x), self.config.num_kv_heads, "kv_heads", how)
        v = self._heads(self.v(x), self.config.num_kv_heads, "kv_heads", how)
        if self.config.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = rotate(q, rope), rotate(k, rope)
        k, v = k.swapaxes(2, 3), v.swapaxes(2, 3)  # [B, N, K, T, H]
        mixed = attend(
            q,
            keys=k,
            values=v,
            context=context,
            reach=reach,
            query_chunk=how.query_chunk,
            attention=how.attention,
            layout=how.layout,
        )
        mixed = constrain(mixed, ("batch", None, None, "heads", None), how.layout)
        return self.o(mixed.reshape(*x.shape[:3], -1)), k, v

    def _heads(self, x: Float[Array, "B N T M"], heads: int, axis: str, how: How):
        """Splits what a projection gives into its heads: [B, N, T, heads, H]."""
        x = x.reshape(*x.shape[:3], heads, self.config.head_dim)
        return constrain(x, ("batch", None, None, axis, None), how.layout)


class GatedMLP(nnx.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        width, mlp_width = config.width, config.mlp_width
        how = {"config": config, "rngs": rngs}
        self.gate = Projection(width, mlp_width, axes=("embed", "mlp"), **how)
        self.up = Projection(width, mlp_width, axes=("embed", "mlp"), **how)
        self.down = Projection(mlp_width, width, axes=("mlp", "embed"), **how)

    def __call__(self, x: Float[Array, "B N T D"], layout: str) -> Float[Array, "B N T D"]:
        gated = jax.nn.silu(self.gate(x)) * self.up(x)
        return self.down(constrain(gated, ("batch", None, None, "mlp"), layout))


class Layer(nnx.Module):
    """Attention and MLP, each behind a norm and added to the stream."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.attention_norm = RMSNorm(config.width, epsilon=config.norm_epsilon, rngs=rngs)
        self.attention = Attention(config, rngs=rngs)
        self.mlp_norm = RMSNorm(config.width, epsilon=config.norm_epsilon, rngs=rngs)
        self.mlp = GatedMLP(config, rngs=rngs)

    def __call__(self, x, rope, context, how: How, reach=None):
        inner, stream = (("batch", None, None, last) for last in (None, "residual"))
        normed = constrain(self.attention_norm(x), inner, how.layout)
        mixed, keys, values = self.attention(normed, rope, context, how, reach)
        x = x + constrain(mixed, stream, how.layout)
        normed = constrain(self.mlp_norm(x), inner, how.layout)
        return x + constrain(self.mlp(normed, how.layout), stream, how.layout), keys, values
