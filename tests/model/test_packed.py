"""Packed branches against the same branches one to a row: values, losses and every gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_tree import LLAMA, QWEN, VOCAB, ragged_tree

from dvmap_jax.data.packing import pack_rows
from dvmap_jax.model.config import ComputeConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level, PackedLevel, branch_logprobs
from dvmap_jax.rl.grpo import AGGREGATIONS, grpo_loss

# float64 leaves only rounding of the last digits; float32 sums of different order differ more.
TOLERANCE = {"float64": 1e-9, "float32": 1e-5}


def branches_of(trunk, size=6, group=4):
    """Ragged branches, one of them empty, below every row of the trunk's last level; and packed."""
    rng = np.random.default_rng(2)
    shape = (2, group * trunk[-1].lengths.shape[1])
    lengths = rng.integers(1, size // 2 + 1, shape)
    lengths[:, 0], lengths[1, 1] = size, 0
    branches = Level(rng.integers(0, VOCAB, (*shape, size)), lengths)
    return branches, PackedLevel(*pack_rows(*branches, group=group, rows=3))


def losses_of(model, trunk, branches, lengths):
    """`losses(params) -> (their sum, all of them and their metrics)`, one an aggregation.

    Advantages and old log-probabilities are random and always the same.
    """
    rng = np.random.default_rng(3)
    size = 6
    mask = (np.arange(size) < lengths[..., None]).reshape(-1, size).astype(model.dtype)
    old = rng.normal(-4, 0.3, mask.shape).astype(model.dtype)
    advantages = np.broadcast_to(rng.normal(size=(len(mask), 1)), mask.shape).astype(model.dtype)

    def losses(params):
        found = branch_logprobs(model, params, trunk, branches, temperature=0.7)
        logprobs, entropy = (x.reshape(mask.shape) for x in found)
        how = {"clip_low": 0.2, "clip_high": 0.3, "dual_clip": 3.0, "kl_coef": 0.1}
        arrays = logprobs, old, old - 0.2, advantages, mask
        terms = [grpo_loss(*arrays, aggregation=name, **how) for name in AGGREGATIONS]
        total = sum(loss * weight for (loss, _), weight in zip(terms, (1, 2, 3), strict=True))
        return total + 0.1 * (entropy * mask).sum(), terms

    return losses


@pytest.mark.parametrize(
    ("config", "levels", "dtype"),
    [
        (QWEN, 2, "float64"),
        pytest.param(QWEN, 3, "float64", marks=pytest.mark.slow),
        pytest.param(LLAMA, 2, "float64", marks=pytest.mark.slow),
        pytest.param(LLAMA, 3, "float64", marks=pytest.mark.slow),
        (QWEN, 3, "float32"),
    ],
)
def test_packing_changes_no_loss_metric_or_gradient(config, levels, dtype):
    with jax.enable_x64(dtype == "float64"):
        model = Transformer(config, ComputeConfig(dtype=dtype, logprob_chunk=5, attention_chunk=4))
        params = model.init(jax.random.key(3), dtype)
        trunk, _ = ragged_tree(levels)
        branches, packed = branches_of(trunk)
        assert packed.tokens.shape[1] < branches.tokens.shape[1]
        losses = [losses_of(model, trunk, one, branches.lengths) for one in (packed, branches)]
        found = [jax.jit(jax.value_and_grad(one, has_aux=True))(params) for one in losses]
        close = TOLERANCE[dtype]
        for ours, theirs in zip(*(jax.tree.leaves(value) for value, _ in found), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=close, atol=close)
        for ours, theirs in zip(*(jax.tree.leaves(grads) for _, grads in found), strict=True):
            scale = jnp.abs(theirs).max()
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=close * scale)
