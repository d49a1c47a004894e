"""Branches that wait for others: drawn in any number of slots they are the same."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.decode import GROWTH, make_decoder
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.model.slots import Sizes, first_slots, fullest, kept, remaining
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level, branch_logprobs

CONFIG = ModelConfig(vocab_size=37, width=32, mlp_width=48, num_layers=2, head_dim=8)
MODEL = Transformer(CONFIG)
EOS = (3, 5, 11)  # of 37 about evenly likely tokens: lengths vary
ROOTS, PARENTS, GROUP = 6, 2, 4


@functools.cache
def params():
    return MODEL.init(jax.random.key(5))


def levels():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 5, (ROOTS, PARENTS))
    lengths[1, 1] = lengths[4] = 0  # padding
    trunk = Level(jnp.asarray(rng.integers(0, 37, (ROOTS, 1, 7))), jnp.full((ROOTS, 1), 7))
    tokens = rng.integers(0, 37, (ROOTS, PARENTS, 4))
    return trunk, Level(jnp.asarray(tokens), jnp.asarray(lengths))


def draw(eos_ids=EOS, **sampling):
    rows = jnp.arange(ROOTS * PARENTS * GROUP).reshape(ROOTS, -1)
    config = SamplingConfig(**{"max_tokens": 24} | sampling)
    decoder = make_decoder(MODEL, eos_ids=eos_ids, sampling=config)
    return jax.tree.map(np.asarray, decoder(params(), levels(), rows, jax.random.key(9)))


@functools.cache
def all_at_once():
    return draw()


@pytest.mark.parametrize(("batch_size", "branches"), [(0, 1), (1, 0), (2, 3), (3, 1)])
def test_completions_do_not_depend_on_how_many_are_drawn_at_a_time(batch_size, branches):
    known, found = all_at_once(), draw(batch_size=batch_size, branches=branches)
    assert len(np.unique(known.lengths)) > 5
    for name in ("tokens", "lengths", "ended"):
        np.testing.assert_array_equal(getattr(found, name), getattr(known, name), err_msg=name)
    np.testing.assert_allclose(found.logprobs, known.logprobs, atol=1e-5)


def test_padding_draws_nothing_in_any_slot():
    found = draw(batch_size=1, branches=1)
    lengths = found.lengths.reshape(ROOTS, PARENTS, GROUP)
    empty = np.asarray(levels()[1].lengths) == 0
    assert not lengths[empty].any() and (lengths[~empty] > 0).all()


def test_blocks_that_grow_keep_every_token_in_sight():
    long = GROWTH + 40
    drawn = draw(eos_ids=(), max_tokens=long, temperature=0.7)
    branches = Level(jnp.asarray(drawn.tokens), jnp.asarray(drawn.lengths))
    known, _ = branch_logprobs(MODEL, params(), levels(), branches, temperature=0.7)
    mask = np.arange(long) < drawn.lengths[..., None]
    assert drawn.lengths.max() == long
    np.testing.assert_allclose(np.where(mask, known, 0), drawn.logprobs, atol=1e-4)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_byte_an_entry_changes_log_probabilities_little(temperature):
    exact = draw(temperature=temperature, max_tokens=12)
    found = draw(temperature=temperature, max_tokens=12, cache_dtype="int8")
    first = found.tokens[..., 0] == exact.tokens[..., 0]
    assert first.mean() > 0.9
    branches = Level(jnp.asarray(found.tokens), jnp.asarray(found.lengths))
    how = {"temperature": temperature or 1.0}
    known, _ = branch_logprobs(MODEL, params(), levels(), branches, **how)
    mask = np.arange(12) < found.lengths[..., None]
    gap = np.abs(np.where(mask, known, 0) - found.logprobs)
    assert 0 < gap.max() < 0.01


def test_halved_slots_keep_every_branch_in_its_queue():
    sizes = Sizes(queues=2, roots=8, slots=8, parents=1, branches=3, drawn=1)
    branches = jnp.asarray([3, 1, 3, 0, 2, 3, 3, 3])[:, None, None]  # 3: none is there
    slots = first_slots(sizes).replace(branches=branches, ages=10 * branches)
    assert int(remaining(sizes, slots)) == 2
    index = fullest(sizes, slots, 4)
    found = kept(slots, index)
    assert found.branches[:, 0, 0].tolist() == [1, 0, 2, 3]
    assert found.ages[:, 0, 0].tolist() == [10, 0, 20, 30]
    assert found.roots.tolist() == [[1, 3], [0, 1]]
    half, quarter = sizes.halved()[1:]
    assert (half.slots, quarter.slots) == (4, 2)
    assert int(remaining(half, found)) == 2
