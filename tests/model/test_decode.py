"""Decoding against the dense forward, and the draw against the distribution it draws from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.decode import decode
from dvmap_jax.model.sampling import SamplingConfig, inverse_cdf, row_keys, sample
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level, branch_logprobs

CONFIG = ModelConfig(vocab_size=37, width=32, mlp_width=48, num_layers=2, head_dim=8)
MODEL = Transformer(CONFIG)


@functools.cache
def params():
    weights = MODEL.init(jax.random.key(5))
    return {**weights, "embed": {"table": 12 * weights["embed"]["table"]}}  # peaked distributions


def trunk(rng, roots=3):
    level = Level(jnp.asarray(rng.integers(0, 37, (roots, 1, 7))), jnp.full((roots, 1), 7))
    below = Level(
        jnp.asarray(rng.integers(0, 37, (roots, 2, 4))), jnp.asarray(rng.integers(1, 5, (roots, 2)))
    )
    return level, below


@functools.partial(jax.jit, static_argnames=("eos_ids", "temperature"))
def decode_with(weights, levels, rows, eos_ids, temperature):
    config = SamplingConfig(temperature=temperature, max_tokens=12)
    key = jax.random.key(9)
    return decode(MODEL, weights, levels, rows=rows, key=key, eos_ids=eos_ids, sampling=config)


def draw(levels, rows, *, eos_ids=(), temperature=1.0):
    return decode_with(params(), levels, rows, eos_ids, temperature)


def test_greedy_tokens_are_the_argmax_of_the_dense_forward():
    levels = trunk(np.random.default_rng(0))
    drawn = draw(levels, jnp.zeros((3, 2), jnp.int32), temperature=0.0)
    for root, n in np.ndindex(3, 2):
        row = levels[0].tokens[root, 0].tolist()
        row += levels[1].tokens[root, n, : levels[1].lengths[root, n]].tolist()
        whole = jnp.asarray(row + drawn.tokens[root, n].tolist())
        size = jnp.asarray([[len(whole)]])
        hidden, _ = MODEL.extend(
            params(), whole[None, None], jnp.arange(len(whole))[None, None], size
        )
        best = jnp.argmax(MODEL.logits(params(), hidden[0, 0, len(row) - 1 : -1]), axis=-1)
        np.testing.assert_array_equal(best, drawn.tokens[root, n])


def test_sampler_and_trainer_agree_on_every_logprob():
    levels = trunk(np.random.default_rng(1))
    rows = jnp.arange(3 * 8).reshape(3, 8)
    drawn = draw(levels, rows, eos_ids=(3, 5), temperature=0.7)
    branches = Level(drawn.tokens, drawn.lengths)
    score = jax.jit(functools.partial(branch_logprobs, MODEL, temperature=0.7))
    known, _ = score(params(), levels, branches)
    mask = jnp.arange(12) < drawn.lengths[..., None]
    assert float((jnp.abs(known - drawn.logprobs) * mask).max()) < 1e-4


def test_completion_ends_with_its_first_end_token_and_counts_it():
    drawn = draw(trunk(np.random.default_rng(2)), jnp.arange(48).reshape(3, 16), eos_ids=(3, 5))
    assert drawn.ended.any() and not drawn.ended.all()
    for tokens, length, ended in zip(
        drawn.tokens.reshape(-1, 12), drawn.lengths.ravel(), drawn.ended.ravel(), strict=True
    ):
        ends = np.isin(tokens, (3, 5)) & (np.arange(12) < length)
        assert ends.sum() == int(ended)
        assert length == (np.argmax(ends) + 1 if ended else 12)


def test_draws_do_not_depend_on_how_rows_are_packed():
    levels = trunk(np.random.default_rng(3))
    rows = jnp.arange(3 * 4).reshape(3, 4)
    together = draw(levels, rows)
    for root in range(3):
        part = tuple(
            Level(level.tokens[root : root + 1], level.lengths[root : root + 1]) for level in levels
        )
        alone = draw(part, rows[root : root + 1])
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[root])


def test_padding_prompt_has_empty_completions():
    level, below = trunk(np.random.default_rng(4))
    drawn = draw(
        (level, Level(below.tokens, below.lengths.at[1, 1].set(0))), jnp.arange(6).reshape(3, 2)
    )
    assert drawn.lengths[1, 1] == 0 and not drawn.ended[1, 1]
    assert (np.delete(drawn.lengths, 3) == 12).all()


@pytest.mark.parametrize("vocab", [5, 1000, 1537])
def test_inverse_cdf_gives_each_token_its_probability(vocab):
    logits = np.random.default_rng(vocab).normal(size=vocab) * 2
    logits[:: max(vocab // 5, 2)] = -np.inf
    draws = 20_000
    uniforms = (jnp.arange(draws) + 0.5) / draws
    rows = jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (draws, vocab))
    tokens = jax.jit(inverse_cdf)(rows, uniforms)
    shares = np.bincount(tokens, minlength=vocab) / draws
    weights = np.exp(logits - logits.max())
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=2 / draws + 1e-6)


def test_extreme_uniforms_pick_possible_tokens():
    logits = jnp.full((2, 1200), -jnp.inf).at[:, jnp.asarray([3, 700])].set(0.0)
    picked = inverse_cdf(logits, jnp.asarray([0.0, np.nextafter(np.float32(1), np.float32(0))]))
    assert picked.tolist() == [3, 700]


@pytest.mark.parametrize(
    ("narrow", "kept"), [({"top_k": 2}, {4, 2}), ({"top_p": 0.6}, {4}), ({"top_p": 0.7}, {4, 2})]
)
def test_top_k_and_top_p_keep_the_most_likely(narrow, kept):
    # softmax of these: .032, .087, .237, 0, .644
    logits = jnp.broadcast_to(jnp.asarray([0.0, 1, 2, -jnp.inf, 3]), (4000, 5))
    keys = row_keys(jax.random.key(0), jnp.arange(4000))
    tokens, logprobs = sample(
        logits, keys, jnp.zeros(len(keys), jnp.int32), SamplingConfig(**narrow)
    )
    assert set(np.unique(tokens)) == kept
    np.testing.assert_allclose(logprobs, jax.nn.log_softmax(logits[0])[tokens], rtol=1e-6)
