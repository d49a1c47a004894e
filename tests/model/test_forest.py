"""Log-probabilities over trees in rows against one plain row at a time."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from dvmap_jax.data.forests import fitting_shape, make_root, stack_forest
from dvmap_jax.model import totals
from dvmap_jax.model.config import ComputeConfig, ModelConfig
from dvmap_jax.model.forest import forest_logprobs
from dvmap_jax.model.totals import TILE, log_totals
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Forest, Level

CONFIG = ModelConfig(
    vocab_size=1100, width=32, mlp_width=48, num_layers=2, head_dim=8, initializer_range=0.2
)


@pytest.fixture(scope="module")
def params():
    return Transformer(CONFIG).init(jax.random.key(1))


def drawn_groups():
    rng = np.random.default_rng(3)

    def row(size, of=CONFIG.vocab_size):
        return tuple(rng.integers(0, of, size).tolist())

    found = []
    for number in (3, 2):
        trunk = row(9)
        prompts = [trunk + (i,) + row(4 + 3 * i) for i in range(number)]
        options = [tuple((7, 8) + row(1 + i, of=4) for i in range(4)) for _ in prompts]
        found.append((prompts, options))
    return found


@functools.partial(jax.jit, static_argnums=0)
def all_logprobs(model, params, row):
    positions, lengths = jnp.arange(len(row))[None, None], jnp.asarray([[len(row)]])
    hidden, _ = model.extend(params, row[None, None], positions, lengths)
    return jax.nn.log_softmax(model.logits(params, hidden[0, 0]))


def plain_logprobs(model, params, prompt, option):
    """Of each token of an option; the row is padded, so that it compiles once."""
    row = np.zeros(40, np.int32)
    size = len(prompt) + len(option)
    row[:size] = [*prompt, *option]
    table = np.asarray(all_logprobs(model, params, row))
    return table[np.arange(len(prompt) - 1, size - 1), list(option)]


@pytest.mark.parametrize(
    ("chunk", "queries", "tied"), [(1024, 0, True), (3, 0, False), (64, 8, True)]
)
def test_options_are_those_of_plain_rows(params, chunk, queries, tied):
    model = Transformer(
        dataclasses.replace(CONFIG, tie_embeddings=tied),
        ComputeConfig(logprob_chunk=chunk, attention_chunk=queries),
    )
    if not tied:
        params = params | {"head": {"table": params["embed"]["table"][::-1]}}
    groups = drawn_groups()
    roots = [make_root(*group) for group in groups]
    levels, forest, firsts = stack_forest(roots, fitting_shape(roots), batch=3)
    score = jax.jit(functools.partial(forest_logprobs, model))
    found = np.asarray(score(params, (Level(*levels[0]),), Forest(*forest)))
    assert np.isfinite(found).all()
    for b, (prompts, options) in enumerate(groups):
        for i, own in enumerate(options):
            for option, path in zip(own, roots[b].trees[i].paths, strict=True):
                due = plain_logprobs(model, params, prompts[i], option)
                np.testing.assert_allclose(found[b, firsts[b][i] + path], due, atol=2e-5)


@pytest.mark.parametrize("size", [100, TILE, 3 * TILE + 1])
@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_totals_are_scipys(size, scale):
    """With the large scale logits differ by thousands, more than an exponential holds."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(3, 7, 16)).astype(np.float32) * scale
    head = rng.normal(size=(size, 16)).astype(np.float32)
    found = log_totals(hidden, head, jnp.array([7, 2, 5]), chunk=6)
    due = scipy.special.logsumexp(hidden.astype(float) @ head.T, axis=-1)
    np.testing.assert_allclose(found, due, rtol=1e-5)


def test_totals_of_all_logits_at_once_are_the_same(monkeypatch):
    hidden = jax.random.normal(jax.random.key(0), (2, 5, 16))
    head = jax.random.normal(jax.random.key(1), (700, 16))
    tiled = log_totals(hidden, head, jnp.array([5, 5]))
    monkeypatch.setattr(totals, "_fits_tiles", lambda layout: False)
    np.testing.assert_allclose(log_totals(hidden, head, jnp.array([5, 5])), tiled, rtol=1e-6)


@pytest.mark.parametrize("tiled", [True, False])
@pytest.mark.parametrize("size", [100, TILE, 3 * TILE + 1])
def test_slopes_of_totals_are_those_of_all_logits_at_once(monkeypatch, size, tiled):
    monkeypatch.setattr(totals, "_fits_tiles", lambda layout: tiled)
    hidden = jax.random.normal(jax.random.key(0), (2, 7, 16))
    head = jax.random.normal(jax.random.key(1), (size, 16))
    weights = jax.random.normal(jax.random.key(2), (2, 7))

    def ours(hidden, head):
        return (log_totals(hidden, head, jnp.array([7, 7]), chunk=6) * weights).sum()

    def plain(hidden, head):
        return (jax.nn.logsumexp(hidden @ head.T, axis=-1) * weights).sum()

    found, due = (jax.grad(f, argnums=(0, 1))(hidden, head) for f in (ours, plain))
    for one, other in zip(found, due, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_positions_beyond_the_counts_are_not_computed():
    hidden = jnp.ones((2, 12, 16))
    found = log_totals(hidden, jnp.ones((700, 16)), jnp.array([1, 3]), chunk=8)
    assert (np.asarray(found)[:, :4] > 0).all() and not np.asarray(found)[:, 4:].any()
