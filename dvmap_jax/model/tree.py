"""Trees of tokens through the transformer: prefill the trunk, then score its branches."""

from typing import NamedTuple

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from dvmap_jax.model.logprobs import token_logprobs
from dvmap_jax.model.transformer import Block, Transformer


class Level(NamedTuple):
    """Tokens of one level: N rows below each of B roots, the first `lengths` of each valid."""

    tokens: Int[Array, "B N T"]
    lengths: Int[Array, "B N"]


class PackedLevel(NamedTuple):
    """Branches several to a row: N rows of S tokens hold the M branches of each of B roots.

    `segments` numbers the branches of a row, 0 is padding; `offsets` is the place of a token in
    its branch; `index` says where the tokens of a branch are in the root's N x S.
    """

    tokens: Int[Array, "B N S"]
    segments: Int[Array, "B N S"]
    offsets: Int[Array, "B N S"]
    index: Int[Array, "B M R"]


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


def extend_level(
    model: Transformer, params: dict, level: Level | PackedLevel, context: tuple[Block, ...]
):
    """`Transformer.extend` with the positions that follow from the ancestors' lengths."""
    tokens, packed = level.tokens, isinstance(level, PackedLevel)
    B, N, S = tokens.shape
    lengths = jnp.full((B, N), S) if packed else level.lengths
    segments, offsets = (level.segments, level.offsets) if packed else (None, jnp.arange(S))
    starts = jnp.broadcast_to(start_positions(context, N), (B, N))
    return model.extend(params, tokens, starts[..., None] + offsets, lengths, context, segments)


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
        predictors = jnp.where(branches.offsets[..., None] == 0, first, predictors)
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
