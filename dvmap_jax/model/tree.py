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


def extend_level(model: Transformer, params: dict, level: Level, context: tuple[Block, ...]):
    """`Transformer.extend` with the positions that follow from the ancestors' lengths."""
    tokens, lengths = level
    starts = jnp.broadcast_to(start_positions(context, tokens.shape[1]), lengths.shape)
    positions = starts[..., None] + jnp.arange(tokens.shape[2])
    return model.extend(params, tokens, positions, lengths, context)


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
    branches: Level,
    *,
    temperature: float = 1.0,
) -> tuple[Float[Array, "B M R"], Float[Array, "B M R"]]:
    """Log-probability and entropy of every token of the branches, M of them per root.

    The trunk is computed once; gradients flow into it from all of its branches. Values at
    positions beyond `branches.lengths` mean nothing: mask them.
    """
    prefix = prefill(model, params, levels)
    hidden, _ = extend_level(model, params, branches, prefix.context)
    fold = branches.tokens.shape[1] // prefix.last_hidden.shape[1]
    first = jnp.repeat(prefix.last_hidden, fold, axis=1)[:, :, None]
    predictors = jnp.concatenate([first, hidden[:, :, :-1]], axis=2)
    return token_logprobs(
        predictors,
        model.head(params),
        branches.tokens,
        temperature=temperature,
        chunk=model.compute.logprob_chunk,
        layout=model.layout,
    )
