"""The tree forward against plain dense rows: log-probabilities, loss and every gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dvmap_jax.model.config import ComputeConfig, ModelConfig, RopeScaling
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level, branch_logprobs

VOCAB = 61
QWEN = ModelConfig(
    vocab_size=VOCAB, width=32, mlp_width=48, num_layers=3, num_heads=4, num_kv_heads=2, head_dim=8
)
LLAMA = ModelConfig(
    family="llama",
    vocab_size=VOCAB,
    width=24,
    mlp_width=40,
    num_layers=2,
    num_heads=6,
    num_kv_heads=2,
    head_dim=4,
    rope_theta=10_000.0,
    rope_scaling=RopeScaling(8.0, 1.0, 4.0, 64),
    tie_embeddings=False,
)
# float64 leaves only rounding of the last digits; float32 sums of different order differ more.
TOLERANCE = {"float64": 1e-9, "float32": 1e-4}


def ragged(rng, rows, branches, size, shortest=1):
    tokens = rng.integers(0, VOCAB, (rows, branches, size))
    return Level(
        jnp.asarray(tokens), jnp.asarray(rng.integers(shortest, size + 1, (rows, branches)))
    )


def ragged_tree(levels):
    """Two roots; with three levels the trunk has 3 rows in its second level."""
    rng = np.random.default_rng(7)
    trunk = [ragged(rng, 2, 1, 9)]
    if levels == 3:
        trunk.append(ragged(rng, 2, 3, 5))
    return tuple(trunk), ragged(rng, 2, 6, 4)


def dense_rows(trunk, branches):
    """Every branch with its ancestors written out, right-padded: (tokens, starts, lengths)."""
    rows, starts = [], []
    for root, n in np.ndindex(branches.lengths.shape):
        row = []
        for level in trunk:
            parent = n // (branches.lengths.shape[1] // level.lengths.shape[1])
            row += level.tokens[root, parent, : level.lengths[root, parent]].tolist()
        starts.append(len(row))
        rows.append(row + branches.tokens[root, n, : branches.lengths[root, n]].tolist())
    size = max(map(len, rows))
    tokens = jnp.asarray([row + [0] * (size - len(row)) for row in rows])
    return tokens, jnp.asarray(starts), jnp.asarray([len(row) for row in rows])


def weighted_losses(model, trunk, branches, weights):
    """The same weighted sum of log-probabilities, once over the tree and once over dense rows."""
    mask = jnp.arange(branches.tokens.shape[2]) < branches.lengths[..., None]
    tokens, starts, lengths = dense_rows(trunk, branches)

    def over_tree(params):
        return (branch_logprobs(model, params, trunk, branches)[0] * weights * mask).sum()

    def over_rows(params):
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        hidden, _ = model.extend(params, tokens[:, None], positions[:, None], lengths[:, None])
        logprobs = jax.nn.log_softmax(model.logits(params, hidden[:, 0, :-1]))
        chosen = jnp.take_along_axis(logprobs, tokens[:, 1:, None], axis=2)[..., 0]
        at = jnp.minimum(starts[:, None] - 1 + jnp.arange(weights.shape[2]), chosen.shape[1] - 1)
        chosen = jnp.take_along_axis(chosen, at, axis=1)
        return (chosen.reshape(weights.shape) * weights * mask).sum()

    return over_tree, over_rows


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("config", [QWEN, LLAMA], ids=["qwen3", "llama"])
def test_tree_is_dense_in_value_and_gradient(config, levels, dtype):
    with jax.enable_x64(dtype == "float64"):
        model = Transformer(config, ComputeConfig(dtype=dtype, logprob_chunk=5))
        params = model.init(jax.random.key(3), dtype)
        trunk, branches = ragged_tree(levels)
        weights = jnp.asarray(np.random.default_rng(1).normal(size=branches.tokens.shape), dtype)
        over_tree, over_rows = weighted_losses(model, trunk, branches, weights)
        tree, tree_grads = jax.jit(jax.value_and_grad(over_tree))(params)
        dense, dense_grads = jax.jit(jax.value_and_grad(over_rows))(params)
        close = TOLERANCE[dtype]
        np.testing.assert_allclose(tree, dense, rtol=close)
        for ours, theirs in zip(*map(jax.tree.leaves, (tree_grads, dense_grads)), strict=True):
            scale = jnp.abs(theirs).max()
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=close * scale)


@functools.cache
def gradients_of(remat):
    trunk, branches = ragged_tree(3)
    model = Transformer(QWEN, ComputeConfig(remat=remat))
    params = model.init(jax.random.key(0))
    loss = weighted_losses(model, trunk, branches, jnp.ones(branches.tokens.shape))[0]
    return jax.tree.leaves(jax.jit(jax.grad(loss))(params))


@pytest.mark.parametrize("remat", ["layer", "attention", "dots"])
def test_rematerialisation_changes_no_gradient(remat):
    for ours, theirs in zip(gradients_of(remat), gradients_of("none"), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * jnp.abs(theirs).max())


def test_padding_rows_leave_other_rows_and_gradients_finite():
    model = Transformer(QWEN)
    params = model.init(jax.random.key(0))
    trunk, branches = ragged_tree(3)
    empty = [Level(level.tokens, level.lengths.at[1].set(0)) for level in (*trunk, branches)]
    score = jax.jit(lambda *tree: branch_logprobs(model, params, *tree)[0])
    whole, part = score(trunk, branches), score(tuple(empty[:-1]), empty[-1])
    np.testing.assert_allclose(part[0], whole[0], atol=1e-6)
    loss = weighted_losses(model, tuple(empty[:-1]), empty[-1], jnp.ones(part.shape))[0]
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(jax.jit(jax.grad(loss))(params)))
