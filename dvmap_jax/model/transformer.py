"""The transformer as functions of (params, arrays): `extend` a tree of tokens by one level."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx, struct
from jaxtyping import Array, Float, Int

from dvmap_jax.model.attention import LayerBlock, Reach
from dvmap_jax.model.config import ComputeConfig, ModelConfig
from dvmap_jax.model.flash import KEPT_NAME
from dvmap_jax.model.layers import How, Layer, RMSNorm, Table, full_precision, rope_angles
from dvmap_jax.model.layers import rope_frequencies as frequencies_of
from dvmap_jax.sharding import constrain, constrain_tree, without_mesh


@struct.dataclass
class Block:
    """Keys and values of one level of a tree in every layer, as `LayerBlock` has those of one."""

    keys: Float[Array, "L B N K S H"] | Int[Array, "L B N K S H"]
    values: Float[Array, "L B N K S H"] | Int[Array, "L B N K S H"]
    lengths: Int[Array, "B N"]
    newest: Int[Array, ""] | None = None
    scales: tuple[Float[Array, "L B N K S"], Float[Array, "L B N K S"]] | None = None
    columns: bool = struct.field(pytree_node=False, default=False)


FEW_LAYERS = 2  # compiled one after another; a loop copies what each of them keeps for its gradient
KEPT = (None, "batch", None, "kv_heads", None, None)  # axes of keys and values of all layers


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
    """Qwen3 or Llama; holds no parameters, they are the first argument of every method.

    `layout` says where arrays lie on a mesh of several devices and changes no number.
    """

    def __init__(
        self,
        config: ModelConfig,
        compute: ComputeConfig | None = None,
        *,
        layout: str = "update",
    ):
        self.config = config
        self.compute = compute or ComputeConfig()
        self.layout = layout
        self.dtype = jnp.dtype(self.compute.dtype)
        with without_mesh():
            whole = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
            layer = nnx.eval_shape(lambda: Layer(config, rngs=nnx.Rngs(0)))
            specs = nnx.get_partition_spec(nnx.split(whole)[1])
        self._axes = jax.tree.map(tuple, nnx.to_pure_dict(specs), is_leaf=_is_axes)
        self._state = nnx.split(whole)[1]
        self._layer = nnx.split(layer)[0]
        self._norm = nnx.split(whole.norm)[0]
        self._layer_axes = jax.tree.map(
            lambda axes: axes[1:], self._axes["layers"], is_leaf=_is_axes
        )

    def init(self, key: Array, dtype: str = "float32", *, shardings=None) -> dict:
        """Fresh parameters: normal(0, initializer_range) matrices and unit norms.

        With `shardings` each is made where it is stored, the same numbers on any devices.
        """

        def make(key):
            with without_mesh():
                decoder = Decoder(self.config, rngs=nnx.Rngs(params=key))
            pure = nnx.to_pure_dict(nnx.split(decoder)[1])
            return jax.tree.map(lambda x: x.astype(dtype), pure)

        return jax.jit(make, out_shardings=shardings)(key)

    def abstract_params(self, dtype: str = "float32") -> dict:
        """Shapes of the parameters, in the tree `init` makes."""
        shapes = nnx.to_pure_dict(self._state)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.dtype(dtype)), shapes)

    def logical_axes(self) -> dict:
        """The logical axis names of every parameter, in the tree `init` makes."""
        return self._axes

    def in_use(self, params: dict) -> dict:
        """The parameters in the precision and the places they are computed with.

        For programs that use them many times, such as a decode loop; `extend` and `logits` take
        either form. A tied head becomes a table of its own.
        """
        params = self.working(params)
        axes = self._axes["layers"]
        return params | {
            "layers": constrain_tree(params["layers"], axes, self.layout),
            "embed": {"table": self._lookup_table(params)},
            "head": {"table": self.head(params)},
        }

    def working(self, params: dict) -> dict:
        """The parameters in the precision they are computed with."""
        return jax.tree.map(lambda x: x.astype(self.dtype), params)

    def extend(
        self,
        params: dict,
        tokens: Int[Array, "B N T"],
        positions: Int[Array, "B N T"],
        lengths: Int[Array, "B N"],
        context: tuple[Block, ...] = (),
        reach: Reach | None = None,
    ) -> tuple[Float[Array, "B N T D"], Block]:
        """Hidden states (after the last norm) of new tokens and their own block.

        `context` holds the ancestors' blocks, [B, Ni] rows each with Ni dividing N; a
        branch sees their valid tokens and, causally, its own. Tokens beyond `lengths`
        give numbers that mean nothing. Rows that hold several branches come with their `reach`.
        """
        rope = rope_angles(positions, frequencies_of(self.config))
        how = How(self.layout, self.compute.attention_chunk, self.compute.attention)

        def body(x, layer_inputs):
            layer_params, stacks = layer_inputs
            blocks = tuple(
                LayerBlock(keys, values, block.lengths, block.newest, block.columns, scales)
                for (keys, values, scales), block in zip(stacks, context, strict=True)
            )
            weights = constrain_tree(self.working(layer_params), self._layer_axes, self.layout)
            layer = nnx.merge(self._layer, nnx.State(weights))
            x, keys, values = layer(x, rope, blocks, how, reach)
            return x, (keys, values)

        x = self._looked_up(params, tokens)
        stacks = tuple((block.keys, block.values, block.scales) for block in context)
        unroll = self.config.num_layers <= FEW_LAYERS
        x, kept = jax.lax.scan(self._remat(body), x, (params["layers"], stacks), unroll=unroll)
        kept = tuple(constrain(stack, KEPT, self.layout) for stack in kept)
        norm = nnx.merge(self._norm, nnx.State(params["norm"]))
        x = constrain(norm(x), ("batch", None, None, None), self.layout)
        return x, Block(*kept, lengths)

    def head(self, params: dict) -> Float[Array, "V D"]:
        """The table that turns hidden states into logits, in the precision of the computation."""
        own = "head" in params or not self.config.tie_embeddings
        table = params["head" if own else "embed"]["table"].astype(self.dtype)
        return constrain(table, ("scored_vocab", None), self.layout)

    def logits(self, params: dict, hidden: Float[Array, "*B D"]) -> Float[Array, "*B V"]:
        """Scores of every next token, at least float32; for whole sequences see logprobs.py."""
        wide = jnp.promote_types(self.dtype, jnp.float32)
        axes = ("table_batch", *(None,) * (hidden.ndim - 1))
        hidden = constrain(hidden, axes, self.layout)
        logits = full_precision(
            jnp.einsum("...d,vd->...v", hidden, self.head(params), preferred_element_type=wide)
        )
        # Said here, or the head would be gathered to where the logits go next.
        return constrain(logits, (*axes[:-1], "scored_vocab"), self.layout)

    def _lookup_table(self, params: dict) -> Float[Array, "V D"]:
        table = params["embed"]["table"].astype(self.dtype)
        return constrain(table, (None, "lookup_embed"), self.layout)

    def _looked_up(self, params: dict, tokens: Int[Array, "B N T"]) -> Float[Array, "B N T D"]:
        """Rows of the embedding: fetched where its columns are, sent to where their tokens are."""
        table = self._lookup_table(params)
        tokens = constrain(tokens, ("table_batch", None, None), self.layout)
        x = lookup(table, tokens)
        x = constrain(x, ("table_batch", None, None, "lookup_embed"), self.layout)
        return constrain(x, ("batch", None, None, "residual"), self.layout)

    def _remat(self, body):
        if self.compute.remat == "none":
            return body
        kept = jax.checkpoint_policies
        named = kept.save_only_these_names(KEPT_NAME)
        policy = {
            "layer": None,
            "attention": named,
            "dots": kept.save_from_both_policies(named, kept.dots_with_no_batch_dims_saveable),
        }[self.compute.remat]
        return functools.partial(jax.checkpoint, prevent_cse=False, policy=policy)(body)


@jax.custom_vjp
def lookup(table: Float[Array, "V D"], tokens: Int[Array, "*B"]) -> Float[Array, "*B D"]:
    """Rows of the table; its gradient is summed in at least float32 whatever the table's dtype."""
    return table[tokens]


def _lookup_forward(table, tokens):
    return table[tokens], (tokens, jnp.zeros((0, *table.shape), table.dtype))


def _lookup_backward(saved, slopes):
    tokens, like = saved
    wide = jnp.zeros(like.shape[1:], jnp.promote_types(like.dtype, jnp.float32))
    return wide.at[tokens].add(slopes.astype(wide.dtype)).astype(like.dtype), None


lookup.defvjp(_lookup_forward, _lookup_backward)


def _is_axes(leaf) -> bool:
    return isinstance(leaf, tuple)
