"""Decoding: every row of a trunk grows branches, one token at a time, until all have ended."""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from dvmap_jax.model.cache import append, cached, empty_cache
from dvmap_jax.model.sampling import SamplingConfig, row_keys, sample
from dvmap_jax.model.slots import (
    Sizes,
    Slots,
    alive,
    begin,
    first_slots,
    follow,
    fullest,
    in_slots,
    kept,
    of_block,
    over_roots,
    pick,
    places,
    ready,
    remaining,
    replace_roots,
)
from dvmap_jax.model.transformer import Block, Transformer
from dvmap_jax.model.tree import Level, Prefix, prefill, start_positions
from dvmap_jax.sharding import constrain, constrain_rows, divided_into

GROWTH = 256  # tokens by which the blocks of branches grow where all branches go in step


@struct.dataclass
class Completions:
    """Decoded branches: `lengths` tokens each, the end token included where there is one."""

    tokens: Int[Array, "B M R"]
    logprobs: Float[Array, "B M R"]
    lengths: Int[Array, "B M"]
    ended: Bool[Array, "B M"]


@struct.dataclass
class _Written:
    """What has been drawn, of all branches: a row for each branch of a queue."""

    tokens: Int[Array, "D b R"]
    logprobs: Float[Array, "D b R"]
    lengths: Int[Array, "D b"]


@struct.dataclass
class _Decoding:
    """A decode between two tokens; `own` are the blocks that are full, then the one that grows."""

    clock: Int[Array, ""]
    slots: Slots
    prefix: Prefix
    own: tuple[Block, ...]
    hidden: Float[Array, "S C D"]
    written: _Written


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
    those of `Transformer.in_use`. Where branches wait for others, the last of them are drawn in
    half and then in a quarter of the slots. Raises ValueError where the mesh does not divide the
    rows drawn at a time.
    """
    queues = divided_into("batch", model.layout)
    sizes = Sizes.of(rows.shape, levels[-1].lengths.shape[1], queues, sampling)
    keys = row_keys(key, rows).reshape(queues, -1)
    whole = _prefilled(model, params, levels, sizes.slots, sampling.cache_dtype)
    engine = _Engine(model, params, sizes, keys, eos_ids, sampling, whole)
    state = engine.start()
    limit = sampling.max_tokens
    stages = 1 if sizes.waiting else -(-limit // GROWTH)
    size = -(-limit // stages)
    for stage in range(1, stages + 1):
        state = engine.grown(state, size)
        for narrow, fewer in itertools.pairwise((*sizes.halved(), None)):
            engine, state = engine.narrowed(state, narrow)
            enough = fewer.slots // queues if fewer else 0
            state = engine.run(state, until=stage * size, enough=enough)
    return engine.completions(state.written, rows.shape)


def make_decoder(
    model: Transformer, *, eos_ids: tuple[int, ...], sampling: SamplingConfig
) -> Callable[[dict, tuple[Level, ...], Int[Array, "B M"], Array], Completions]:
    """`decoder(params, levels, rows, key) -> Completions`: `decode` compiled for one sampling.

    On a mesh weights move once into the model's layout, and completions come divided by rows as
    an update takes them.
    """

    def run(params, levels, rows, key):
        params = model.in_use(params)
        levels, rows = jax.tree.map(
            lambda x: constrain(x, ("batch",), model.layout), (levels, rows)
        )
        how = {"key": key, "eos_ids": eos_ids, "sampling": sampling}
        drawn = decode(model, params, levels, rows=rows, **how)
        return jax.tree.map(constrain_rows, drawn)

    return jax.jit(run)


def _prefilled(model, params, levels: tuple[Level, ...], size: int, dtype: str) -> Prefix:
    """Prefixes of all roots, `size` of them computed at a time."""

    def part(levels):
        levels = jax.tree.map(lambda x: constrain(x, ("batch",), model.layout), levels)
        prefix = prefill(model, params, levels)
        return Prefix(tuple(cached(block, dtype) for block in prefix.context), prefix.last_hidden)

    roots = levels[0].lengths.shape[0]
    if size >= roots:
        return part(levels)
    if roots % size:
        raise ValueError(
            f"sampling.batch_size is {size}, which does not divide a batch of {roots}; choose "
            "another, or 0 for all at once"
        )
    parts = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), levels)
    return _joined(jax.lax.map(part, parts))


def _joined(prefix: Prefix) -> Prefix:
    """Parts [parts, ..., B, ...] of a prefix as one."""

    def join(x, axis):
        x = jnp.moveaxis(x, 0, axis)
        return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])

    return over_roots(join, prefix)


@dataclasses.dataclass(frozen=True)
class _Engine:
    """What stays the same from token to token."""

    model: Transformer
    params: dict
    sizes: Sizes
    keys: Array  # [D, b]
    eos_ids: tuple[int, ...]
    sampling: SamplingConfig
    whole: Prefix

    def start(self) -> _Decoding:
        """The first roots in their slots, nothing drawn."""
        sizes, limit = self.sizes, self.sampling.max_tokens
        each = sizes.roots // sizes.queues * sizes.parents * sizes.branches
        wide = jnp.promote_types(self.model.dtype, jnp.float32)
        shape = (sizes.queues, each)
        written = _Written(
            tokens=jnp.zeros((*shape, limit), jnp.int32),
            logprobs=jnp.zeros((*shape, limit), wide),
            lengths=jnp.zeros(shape, jnp.int32),
        )
        slots = first_slots(sizes)
        prefix = in_slots(sizes, self.whole, slots.roots)
        slots = begin(sizes, slots, jnp.ones(sizes.slots, bool), prefix.context[-1].lengths)
        hidden = jnp.repeat(prefix.last_hidden, sizes.drawn, axis=1)
        return _Decoding(jnp.zeros((), jnp.int32), slots, prefix, (), hidden, written)

    def grown(self, state: _Decoding, size: int) -> _Decoding:
        """Room for `size` more tokens of every branch."""
        shape = (self.sizes.slots, self.sizes.parents * self.sizes.drawn)
        room = empty_cache(self.model, shape, size, self.sampling.cache_dtype)
        room = room.replace(newest=jnp.zeros((), jnp.int32))
        return state.replace(own=(*state.own, room))

    def narrowed(self, state: _Decoding, sizes: Sizes) -> tuple["_Engine", _Decoding]:
        """The same with fewer slots: those that have a branch, and some that have none."""
        if sizes == self.sizes:
            return self, state
        index = fullest(self.sizes, state.slots, sizes.slots)
        take = functools.partial(pick, index=index)
        return dataclasses.replace(self, sizes=sizes), state.replace(
            slots=kept(state.slots, index),
            prefix=over_roots(lambda x, axis: take(x, axis=axis), state.prefix),
            own=tuple(of_block(lambda x, axis: take(x, axis=axis), own) for own in state.own),
            hidden=take(state.hidden, axis=0),
        )

    def run(self, state: _Decoding, *, until: int, enough: int) -> _Decoding:
        """Draws until no queue has more than `enough` roots left, or `until` tokens.

        The latter only where all branches go in step.
        """
        sizes = self.sizes

        def drawing(state: _Decoding):
            going = remaining(sizes, state.slots) > enough
            return going if sizes.waiting else going & (state.clock < until)

        if sizes.slots == sizes.roots:
            return jax.lax.while_loop(drawing, self.draw, state)

        def waiting(state: _Decoding):
            return ready(sizes, state.slots).any()

        def rest(state: _Decoding):
            state = jax.lax.while_loop(lambda s: drawing(s) & ~waiting(s), self.draw, state)
            return self.replaced(state)

        return jax.lax.while_loop(lambda s: drawing(s) | waiting(s), rest, state)

    def draw(self, state: _Decoding) -> _Decoding:
        """Draws one token for every branch, then extends the branches by it."""
        sizes, model, slots = self.sizes, self.model, state.slots
        shape = slots.branches.shape
        flat = (shape[0], -1)
        place = places(sizes, slots)
        token, logprob = self.sampled(state.hidden, place, slots.ages)
        ages = slots.ages + alive(sizes, slots)
        written = _write(state.written, place, slots.ages, token, logprob, ages)
        *full, own = state.own
        starts = start_positions(state.prefix.context, sizes.parents * sizes.drawn)
        hidden, block = model.extend(
            self.params,
            token.reshape(flat)[..., None],
            (starts + slots.ages.reshape(flat))[..., None],
            jnp.ones_like(token.reshape(flat)),
            (*state.prefix.context, *full, own),
        )
        over = alive(sizes, slots) & (
            jnp.isin(token, jnp.asarray(self.eos_ids, jnp.int32))
            | (ages == self.sampling.max_tokens)
        )
        slots = follow(sizes, slots.replace(ages=ages), over)
        again = (over & alive(sizes, slots)).reshape(flat)[..., None]
        last = jnp.repeat(state.prefix.last_hidden, sizes.drawn, axis=1)
        at = state.clock % own.values.shape[-2]
        block = cached(block, self.sampling.cache_dtype)
        lengths = slots.ages.reshape(flat) if sizes.waiting else jnp.full(own.lengths.shape, at + 1)
        return state.replace(
            clock=state.clock + 1,
            slots=slots,
            own=(*full, append(own, block, at, lengths)),
            hidden=jnp.where(again, last, hidden[:, :, 0]),
            written=written,
        )

    def sampled(self, hidden, place: Int[Array, "D c"], ages: Int[Array, "S N W"]):
        """The next token of every branch and its log-probability; 0 where there is no branch."""
        model = self.model
        logits = model.logits(self.params, hidden).reshape(-1, model.config.vocab_size)
        logits = constrain(logits, ("sampled_batch", None), model.layout)  # rows, for whole ones
        keys = jax.vmap(lambda keys, at: jnp.take(keys, at, mode="clip"))(self.keys, place)
        drawn, logprobs = sample(logits, keys.reshape(-1), ages.reshape(-1), self.sampling)
        there = (place < self.keys.shape[1]).reshape(ages.shape)
        token = jnp.where(there, drawn.reshape(ages.shape).astype(jnp.int32), 0)
        return token, jnp.where(there, logprobs.reshape(ages.shape), 0.0)

    def replaced(self, state: _Decoding) -> _Decoding:
        """New roots in the slots that are done."""
        slots, fresh = replace_roots(self.sizes, state.slots)
        prefix = in_slots(self.sizes, self.whole, slots.roots)
        slots = begin(self.sizes, slots, fresh, prefix.context[-1].lengths)
        last = jnp.repeat(prefix.last_hidden, self.sizes.drawn, axis=1)
        *full, own = state.own
        ages = slots.ages.reshape(own.lengths.shape)
        return state.replace(
            slots=slots,
            prefix=prefix,
            own=(*full, own.replace(lengths=jnp.minimum(own.lengths, ages))),
            hidden=jnp.where(fresh[:, None, None], last, state.hidden),
        )

    def completions(self, written: _Written, shape: tuple[int, int]) -> Completions:
        """What was drawn, branch by branch as `rows` numbers them."""
        lengths = written.lengths
        last = jnp.maximum(lengths - 1, 0)[..., None]
        last = jnp.take_along_axis(written.tokens, last, axis=-1)[..., 0]
        ended = jnp.isin(last, jnp.asarray(self.eos_ids, jnp.int32)) & (lengths > 0)
        found = (written.tokens, written.logprobs, lengths, ended)
        return Completions(*(x.reshape(*shape, *x.shape[2:]) for x in found))


def _write(written: _Written, place, ages, token, logprob, lengths) -> _Written:
    """Puts a token of every branch where its branch and age say; those of no branch nowhere."""
    queues = place.shape[0]

    def put(whole, *index_and_value):
        *index, value = (x.reshape(queues, -1) for x in index_and_value)

        def one(part, index, value):
            return part.at[tuple(index)].set(value, mode="drop", unique_indices=True)

        return jax.vmap(one)(whole, index, value)

    return _Written(
        tokens=put(written.tokens, place, ages, token),
        logprobs=put(written.logprobs, place, ages, logprob),
        lengths=put(written.lengths, place, lengths),
    )
