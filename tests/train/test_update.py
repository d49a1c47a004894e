"""The compiled update: the split into micro-batches, the guard, and what it leaves alone."""

import jax
import numpy as np
import pytest

from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level
from dvmap_jax.rl.grpo import AGGREGATIONS, GRPOConfig
from dvmap_jax.rl.rollouts import RolloutBatch
from dvmap_jax.train.objectives import grpo_objective
from dvmap_jax.train.state import OptimizerConfig, init_state, make_optimizer
from dvmap_jax.train.update import make_update

CONFIG = ModelConfig(vocab_size=41, width=16, mlp_width=24, num_layers=2, head_dim=4)
MODEL = Transformer(CONFIG)


def rollout_batch(seed=0, roots=4, group=3, size=5):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, size + 1, (roots, group))
    trunk = Level(rng.integers(0, 41, (roots, 1, 6)), rng.integers(2, 7, (roots, 1)))
    return RolloutBatch(
        levels=(trunk,),
        branches=Level(rng.integers(0, 41, (roots, group, size)), lengths),
        mask=(np.arange(size) < lengths[..., None]).astype(np.float32),
        advantages=rng.normal(size=(roots, group)).astype(np.float32),
        sampler_logprobs=rng.normal(-3, 1, (roots, group, size)).astype(np.float32),
        old_logprobs=rng.normal(-3.7, 0.2, (roots, group, size)).astype(np.float32),
    )


def updated(batch, *, micro, aggregation="token-mean"):
    optimizer = OptimizerConfig(learning_rate=1e-3, micro_batch_size=micro)
    grpo = GRPOConfig(aggregation=aggregation, kl_coef=0.1)
    update = make_update(grpo_objective(MODEL, grpo, 1.0), MODEL, optimizer, grpo)
    params, reference = MODEL.init(jax.random.key(0)), MODEL.init(jax.random.key(1))
    return update(init_state(params, make_optimizer(optimizer)), reference, batch)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_micro_batches_change_no_metric_and_no_moment(aggregation):
    whole, metrics = updated(rollout_batch(), micro=0, aggregation=aggregation)
    for micro in (1, 2):
        parts, part_metrics = updated(rollout_batch(), micro=micro, aggregation=aggregation)
        for name, value in metrics.items():
            np.testing.assert_allclose(part_metrics[name], value, rtol=1e-5, atol=1e-7)
        pairs = zip(*map(jax.tree.leaves, (parts.optimizer, whole.optimizer)), strict=True)
        for ours, theirs in pairs:  # the first moments are the gradient, scaled
            scale = np.abs(theirs).max()
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * scale)


def test_gradient_that_is_not_finite_changes_nothing_and_is_counted():
    batch = rollout_batch()
    broken = batch.replace(advantages=np.full_like(batch.advantages, np.nan))
    state, metrics = updated(broken, micro=0)
    for ours, before in zip(
        *map(jax.tree.leaves, (state.params, MODEL.init(jax.random.key(0)))), strict=True
    ):
        np.testing.assert_array_equal(ours, before)
    assert (int(state.step), int(state.updates), int(state.skipped)) == (1, 0, 1)
    assert int(metrics["skipped"]) == 1


def test_micro_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="micro_batch_size is 3, which does not divide the 4"):
        updated(rollout_batch(), micro=3)
