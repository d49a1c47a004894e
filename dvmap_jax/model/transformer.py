"""The transformer as functions of (params, arrays): `extend` a tree of tokens by one level."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx, struct
from jaxtyping import Array, Float, Int

from dvmap_jax.model.attention import LayerBlock
from dvmap_jax.model.config import ComputeConfig, ModelConfig
from dvmap_jax.model.layers import Layer, RMSNorm, Table, full_precision, rope_angles
from dvmap_jax.model.layers import rope_frequencies as frequencies_of


@struct.dataclass
class Block:
    """Keys and values of one level of a tree in every layer; `lengths` tokens are valid."""

    keys: Float[Array, "L B N K S H"]
    values: Float[Array, "L B N K S H"]
    lengths: Int[Array, "B N"]


class Decoder(nnx.Module):
    """The parameters of the whole model, layers stacked on a leading axis."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.embed = Table(config, rngs=rngs)
        self.layers = _stacked_layers(config, rngs)
        self.norm = RMSNorm(config.width, epsilon=config.norm_epsilon, rngs=rngs)
        if not config.tie_embeddings:
            self.head = Table(config, rngs=rngs)


def _stacked_layers(config: ModelConfig, rngs: nnx.Rngs) -> Layer:
    @nnx.split_rngs(splits=config.num_layers)
    @nnx.vmap(transform_metadata={nnx.PARTITION_NAME: "layers"})
    def stack(rngs):
        return Layer(config, rngs=rngs)

    return stack(rngs)


class Transformer:
    """Qwen3 or Llama; holds no parameters, they are the first argument of every method."""

    def __init__(self, config: ModelConfig, compute: ComputeConfig | None = None):
        self.config = config
        self.compute = compute or ComputeConfig()
        self.dtype = jnp.dtype(self.compute.dtype)
        whole = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
        self._state = nnx.split(whole)[1]
        layer = nnx.eval_shape(lambda: Layer(config, rngs=nnx.Rngs(0)))
        self._layer = nnx.split(layer)[0]
        self._norm = nnx.split(nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)).norm))[0]

    def init(self, key: Array, dtype: str = "float32") -> dict:
        """Fresh parameters: normal(0, initializer_range) matrices and unit norms."""

        def make(key):
            decoder = Decoder(self.config, rngs=nnx.Rngs(params=key))
            pure = nnx.to_pure_dict(nnx.split(decoder)[1])
            return jax.tree.map(lambda x: x.astype(dtype), pure)

        return jax.jit(make)(key)

    def abstract_params(self, dtype: str = "float32") -> dict:
        """Shapes of the parameters, in the tree `init` makes."""
        shapes = nnx.to_pure_dict(self._state)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.dtype(dtype)), shapes)

    def logical_axes(self) -> dict:
        """The logical axis names of every parameter, in the tree `init` makes."""
        specs = nnx.to_pure_dict(nnx.get_partition_spec(self._state))
        return jax.tree.map(tuple, specs, is_leaf=lambda x: isinstance(x, tuple))

    def extend(
        self,
        params: dict,
        tokens: Int[Array, "B N T"],
        positions: Int[Array, "B N T"],
        lengths: Int[Array, "B N"],
        context: tuple[Block, ...] = (),
    ) -> tuple[Float[Array, "B N T D"], Block]:
        """Hidden states (after the last norm) of new tokens and their own block.

        `context` holds the ancestors' blocks, [B, Ni] rows each with Ni dividing N; a
        branch sees their valid tokens and, causally, its own. Tokens beyond `lengths`
        give numbers that mean nothing.
        """
        rope = rope_angles(positions, frequencies_of(self.config))
        lengths_of = [block.lengths for block in context]
        stacks = [(block.keys, block.values) for block in context]

        def body(x, layer_inputs):
            layer_params, layer_stacks = layer_inputs
            blocks = tuple(
                LayerBlock(*stack, length)
                for stack, length in zip(layer_stacks, lengths_of, strict=True)
            )
            layer = nnx.merge(self._layer, nnx.State(self._cast(layer_params)))
            x, keys, values = layer(x, rope, blocks)
            return x, (keys, values)

        x = params["embed"]["table"][tokens].astype(self.dtype)
        x, (keys, values) = jax.lax.scan(self._remat(body), x, (params["layers"], stacks))
        norm = nnx.merge(self._norm, nnx.State(params["norm"]))
        return norm(x), Block(keys, values, lengths)

    def head(self, params: dict) -> Float[Array, "V D"]:
        """The table that turns hidden states into logits."""
        return params["embed" if self.config.tie_embeddings else "head"]["table"]

    def logits(self, params: dict, hidden: Float[Array, "*B D"]) -> Float[Array, "*B V"]:
        """Scores of every next token, at least float32; for whole sequences see logprobs.py."""
        head = self.head(params).astype(self.dtype)
        wide = jnp.promote_types(self.dtype, jnp.float32)
        return full_precision(
            jnp.einsum("...d,vd->...v", hidden, head, preferred_element_type=wide)
        )

    def _cast(self, params):
        return jax.tree.map(lambda x: x.astype(self.dtype), params)

    def _remat(self, body):
        if self.compute.remat == "none":
            return body
        policy = None
        if self.compute.remat == "dots":
            policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
        return functools.partial(jax.checkpoint, prevent_cse=False, policy=policy)(body)
