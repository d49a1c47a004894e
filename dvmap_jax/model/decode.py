"""Decoding: every row of a trunk grows branches, one token at a time, until all have ended."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from dvmap_jax.model.sampling import SamplingConfig, row_keys, sample
from dvmap_jax.model.transformer import KEPT, Block, Transformer
from dvmap_jax.model.tree import Level, Prefix, prefill, start_positions
from dvmap_jax.sharding import constrain, constrain_rows


@struct.dataclass
class Completions:
    """Decoded branches: `lengths` tokens each, the end token included where there is one."""

    tokens: Int[Array, "B M R"]
    logprobs: Float[Array, "B M R"]
    lengths: Int[Array, "B M"]
    ended: Bool[Array, "B M"]


@struct.dataclass
class _Decoding:
    index: Int[Array, ""]
    hidden: Float[Array, "B M D"]
    own: Block
    tokens: Int[Array, "B M R"]
    logprobs: Float[Array, "B M R"]
    lengths: Int[Array, "B M"]
    ended: Bool[Array, "B M"]


def decode(
    model: Transformer,
    params: dict,
    levels: tuple[Level, ...],
    *,
    rows: Int[Array, "B M"],
    key: Array,
    eos_ids: tuple[int, ...],
    sampling: SamplingConfig,
) -> Completions:
    """Draws M completions for the N rows of the last level, M / N of them each.

    `rows` are global numbers: together with `key` they alone decide what is drawn. A trunk
    row of length 0 is padding and its branches end at once. The prompt's keys and values
    are computed and stored once; each branch grows a block of its own. `params` may be
    those of `Transformer.in_use`.
    """
    prefix = prefill(model, params, levels)
    branches = rows.shape[1]
    parents = levels[-1].lengths
    fold = branches // parents.shape[1]
    state = _initial(model, prefix, sampling.max_tokens, fold)
    state = state.replace(ended=jnp.repeat(parents == 0, fold, axis=1))
    starts = jnp.broadcast_to(start_positions(prefix.context, branches), rows.shape)
    keys = row_keys(key, rows)

    def running(state):
        return (state.index < sampling.max_tokens) & ~state.ended.all()

    one = functools.partial(
        _decode_one, model, params, prefix.context, starts, keys, eos_ids, sampling
    )
    state = jax.lax.while_loop(running, one, state)
    return Completions(
        state.tokens, state.logprobs, state.lengths, state.ended & (state.lengths > 0)
    )


def make_decoder(
    model: Transformer, *, eos_ids: tuple[int, ...], sampling: SamplingConfig
) -> Callable[[dict, tuple[Level, ...], Int[Array, "B M"], Array], Completions]:
    """`decoder(params, levels, rows, key) -> Completions`: `decode` compiled for one sampling.

    On a mesh weights move once into the model's layout, and completions come divided by rows as
    an update takes them. Raises ValueError where `sampling.batch_size` does not divide the rows.
    """

    def run(params, levels, rows, key):
        params = model.in_use(params)

        def part(inputs):
            levels, rows = jax.tree.map(lambda x: constrain(x, ("batch",), model.layout), inputs)
            how = {"key": key, "eos_ids": eos_ids, "sampling": sampling}
            return decode(model, params, levels, rows=rows, **how)

        parts = _parts((levels, rows), sampling.batch_size)
        drawn = jax.lax.map(part, parts) if parts else part((levels, rows))
        if parts:
            drawn = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), drawn)
        return jax.tree.map(constrain_rows, drawn)

    return jax.jit(run)


def _parts(tree, size: int):
    """The rows of every array in parts of `size`; None where there is one part."""
    count = jax.tree.leaves(tree)[0].shape[0]
    if not size or size >= count:
        return None
    if count % size:
        raise ValueError(
            f"sampling.batch_size is {size}, which does not divide a batch of {count}; choose "
            "another, or 0 for all at once"
        )
    return jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), tree)


def _initial(model: Transformer, prefix: Prefix, size: int, fold: int) -> _Decoding:
    config = model.config
    hidden = jnp.repeat(prefix.last_hidden, fold, axis=1)
    B, M, _ = hidden.shape
    shape = (config.num_layers, B, M, config.num_kv_heads, size, config.head_dim)
    counts = jnp.zeros((B, M), jnp.int32)
    empty = constrain(jnp.zeros(shape, model.dtype), KEPT, model.layout)
    return _Decoding(
        index=jnp.zeros((), jnp.int32),
        hidden=hidden,
        own=Block(empty, empty, counts),
        tokens=jnp.zeros((B, M, size), jnp.int32),
        logprobs=jnp.zeros((B, M, size), jnp.promote_types(model.dtype, jnp.float32)),
        lengths=counts,
        ended=jnp.zeros((B, M), bool),
    )


def _decode_one(model, params, context, starts, keys, eos_ids, sampling, state: _Decoding):
    """Draws one token for every branch, then extends the branches by it."""
    shape = state.lengths.shape
    logits = model.logits(params, state.hidden).reshape(-1, model.config.vocab_size)
    logits = constrain(logits, ("sampled_batch", None), model.layout)  # rows, for whole ones
    drawn, logprobs = sample(logits, keys, state.index, sampling)
    alive = ~state.ended
    token = jnp.where(alive, drawn.reshape(shape).astype(jnp.int32), 0)
    logprob = jnp.where(alive, logprobs.reshape(shape), 0.0)
    hidden, block = model.extend(
        params,
        token[..., None],
        (starts + state.index)[..., None],
        jnp.ones(shape, jnp.int32),
        (*context, state.own),
    )
    return _Decoding(
        index=state.index + 1,
        hidden=hidden[:, :, 0],
        own=_grow(state.own, block, state.index),
        tokens=state.tokens.at[:, :, state.index].set(token),
        logprobs=state.logprobs.at[:, :, state.index].set(logprob),
        lengths=state.lengths + alive,
        ended=state.ended | jnp.isin(token, jnp.asarray(eos_ids, jnp.int32)),
    )


def _grow(own: Block, block: Block, index: Int[Array, ""]) -> Block:
    """Writes the new token's keys and values at `index` of every branch's block."""
    at = (0, 0, 0, 0, index, 0)
    return Block(
        jax.lax.dynamic_update_slice(own.keys, block.keys, at),
        jax.lax.dynamic_update_slice(own.values, block.values, at),
        own.lengths + 1,
    )
