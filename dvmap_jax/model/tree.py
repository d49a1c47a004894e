"""Trees of tokens through the transformer: prefill the trunk, then score its branches."""

from typing import NamedTuple

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from dvmap_jax.model.attention import Reach
from dvmap_jax.model.logprobs import token_logprobs
from dvmap_jax.model.transformer import Block, Transformer


class Level(NamedTuple):
    """Tokens of one level: N rows below each of B roots, the first `lengths` of each valid."""

    tokens: Int[Array, "B N T"]
    lengths: Int[Array, "B N"]


class PackedLevel(NamedTuple):
    """Branches several to a row: a forest of paths below each of B roots, its rows as `Forest`'s.

    `index` says where the tokens of each of a root's M branches are in its N x S.
    """

    tokens: Int[Array, "B N S"]
    depths: Int[Array, "B N S"]
    ends: Int[Array, "B N S"]
    index: Int[Array, "B M R"]


class Forest(NamedTuple):
    """Trees of tokens below each of B roots, depth first in N rows of S tokens.

    What branches share stands once: token t is seen by those from t up to `ends` of its row.
    `depths` counts the tokens above one up to its root. Of a root's N x S tokens the first `counts`
    of `places` have states that predict; `targets` are the tokens predicted, each by the state
    that `sources` names among `places`.
    """

    tokens: Int[Array, "B N S"]
    depths: Int[Array, "B N S"]
    ends: Int[Array, "B N S"]
    places: Int[Array, "B P"]
    counts: Int[Array, " B"]
    targets: Int[Array, "B K"]
    sources: Int[Array, "B K"]


AnyLevel = Level | PackedLevel | Forest


@struct.dataclass
class Prefix:
    """What branches need of their trunk: its blocks and the state that predicts what follows."""

    context: tuple[Block, ...]
    last_hidden: Float[Array, "B N D"]


def start_positions(context: tuple[Block, ...], branches: int) -> Int[Array, "B N"]:
    """Position of each branch's first token: the number of tokens its ancestors have."""
    starts = jnp.zeros((), jnp.int32)
    for block in context:
        starts = starts + jnp.repeat(block.lengths, branches // block.lengths.shape[1], axis=1)
    return starts


def extend_level(model: Transformer, params: dict, level: AnyLevel, context: tuple[Block, ...]):
    """`Transformer.extend` with the positions that follow from the ancestors' lengths."""
    B, N, S = level.tokens.shape
    if isinstance(level, PackedLevel | Forest):
        reach = Reach(level.ends, paths=isinstance(level, PackedLevel))
        depths, lengths = level.depths, jnp.full((B, N), S)
    else:
        depths, lengths, reach = jnp.arange(S), level.lengths, None
    starts = jnp.broadcast_to(start_positions(context, N), (B, N))
    positions = starts[..., None] + depths
    return model.extend(params, level.tokens, positions, lengths, context, reach)


def prefill(model: Transformer, params: dict, levels: tuple[Level, ...]) -> Prefix:
    """Runs the trunk level by level; every row of the last level becomes a parent."""
    context: tuple[Block, ...] = ()
    hidden = None
    for level in levels:
        hidden, block = extend_level(model, params, level, context)
        context = (*context, block)
    last = jnp.maximum(levels[-1].lengths - 1, 0)[..., None, None]
    return Prefix(context, jnp.take_along_axis(hidden, last, axis=2)[:, :, 0])


def branch_logprobs(
    model: Transformer,
    params: dict,
    levels: tuple[Level, ...],
    branches: Level | PackedLevel,
    *,
    temperature: float = 1.0,
) -> tuple[Float[Array, "B M R"], Float[Array, "B M R"]]:
    """Log-probability and entropy of every token of the branches, M of them per root.

    The trunk is computed once; gradients flow into it from all of its branches. Packed branches
    are computed where they lie and come back one to a row. Values at positions beyond a branch's
    length mean nothing: mask them.
    """
    prefix = prefill(model, params, levels)
    hidden, _ = extend_level(model, params, branches, prefix.context)
    fold = branches.tokens.shape[1] // prefix.last_hidden.shape[1]
    first = jnp.repeat(prefix.last_hidden, fold, axis=1)[:, :, None]
    predictors = jnp.concatenate([first, hidden[:, :, :-1]], axis=2)
    packed = isinstance(branches, PackedLevel)
    if packed:
        predictors = jnp.where(branches.depths[..., None] == 0, first, predictors)
    found = token_logprobs(
        predictors,
        model.head(params),
        branches.tokens,
        temperature=temperature,
        chunk=model.compute.logprob_chunk,
        layout=model.layout,
    )
    return tuple(unpacked(x, branches.index) for x in found) if packed else found


def unpacked(values: Float[Array, "B N S"], index: Int[Array, "B M R"]) -> Float[Array, "B M R"]:
    """Values of packed tokens with one branch a row."""
    B, M, R = index.shape
    laid = values.reshape(B, -1)
    return jnp.take_along_axis(laid, index.reshape(B, M * R), axis=1).reshape(B, M, R)
