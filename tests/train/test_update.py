"""The compiled update: micro-batches, packing, the guard, and what it leaves alone."""

import dataclasses

import jax
import numpy as np
import pytest

from dvmap_jax.config import RunConfig
from dvmap_jax.data.packing import pack_rows
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level, PackedLevel
from dvmap_jax.rl.grpo import AGGREGATIONS, GRPOConfig
from dvmap_jax.rl.rollouts import RolloutBatch
from dvmap_jax.train.micro import roots_at_a_time, tree_tokens
from dvmap_jax.train.objectives import grpo_objective
from dvmap_jax.train.state import OptimizerConfig, init_state, make_optimizer
from dvmap_jax.train.update import make_update

CONFIG = ModelConfig(vocab_size=41, width=16, mlp_width=24, num_layers=2, head_dim=4)
MODEL = Transformer(CONFIG)


def rollout_batch(seed=0, roots=4, group=3, size=5):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, size + 1, (roots, group))
    lengths[:, 1:] = np.minimum(lengths[:, 1:], size // 2)  # so that a row holds two of them
    trunk = Level(rng.integers(0, 41, (roots, 1, 6)), rng.integers(2, 7, (roots, 1)))
    return RolloutBatch(
        levels=(trunk,),
        branches=Level(rng.integers(0, 41, (roots, group, size)), lengths),
        mask=(np.arange(size) < lengths[..., None]).astype(np.float32),
        advantages=rng.normal(size=(roots, group)).astype(np.float32),
        sampler_logprobs=rng.normal(-3, 1, (roots, group, size)).astype(np.float32),
        old_logprobs=rng.normal(-3.7, 0.2, (roots, group, size)).astype(np.float32),
        reference_logprobs=rng.normal(-3.7, 0.2, (roots, group, size)).astype(np.float32),
    )


def updated(batch, *, micro=0, tokens=0, aggregation="token-mean"):
    how = {"micro_batch_size": micro, "micro_batch_tokens": tokens}
    optimizer = OptimizerConfig(learning_rate=1e-3, **how)
    grpo = GRPOConfig(aggregation=aggregation, kl_coef=0.1)
    update = make_update(grpo_objective(MODEL, grpo, 1.0), MODEL, optimizer, grpo)
    params = MODEL.init(jax.random.key(0))
    return update(init_state(params, make_optimizer(optimizer)), batch)


def packed(batch, rows):
    """The batch with its branches in so many rows a root, none of them counted differently."""
    group = batch.branches.lengths.shape[1]
    branches = PackedLevel(*pack_rows(*batch.branches, group=group, rows=rows))
    assert branches.tokens.shape[1] == rows
    return batch.replace(branches=branches)


def assert_same(ours, theirs):
    """Metrics, and moments of which the first are the gradient, scaled."""
    for name, value in theirs[1].items():
        np.testing.assert_allclose(ours[1][name], value, rtol=1e-5, atol=1e-6)
    for one, other in zip(*(jax.tree.leaves(x[0].optimizer) for x in (ours, theirs)), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize(
    "aggregation",
    [AGGREGATIONS[0], *(pytest.param(one, marks=pytest.mark.slow) for one in AGGREGATIONS[1:])],
)
def test_micro_batches_and_packing_change_no_metric_and_no_moment(aggregation):
    batch = rollout_batch()
    whole = updated(batch, aggregation=aggregation)
    assert_same(updated(batch, micro=1, aggregation=aggregation), whole)
    # A root has 6 tokens of trunk and 3 rows of 5, packed 2.
    ours = updated(packed(batch, 2), tokens=2 * 16, aggregation=aggregation)
    assert_same(ours, whole)


def test_micro_batches_of_tokens_are_larger_where_trees_are_smaller():
    batch = rollout_batch(roots=12)
    config = OptimizerConfig(micro_batch_tokens=100)

    def size(batch, **how):
        return roots_at_a_time(config, 12, tree=batch.tree, **{"parts": 1} | how)

    assert tree_tokens(batch.tree) == 6 + 3 * 5
    assert size(batch) == 4
    assert size(packed(batch, 2)) == 6
    assert size(batch, parts=3) == 3  # a mesh divides roots over three
    assert size(batch, parts=12) == 12  # no fewer can be divided
    few = dataclasses.replace(config, micro_batch_tokens=1)
    assert roots_at_a_time(few, 12, tree=batch.tree, parts=1) == 1


def test_two_sizes_of_a_micro_batch_are_refused():
    with pytest.raises(ValueError, match="micro_batch_size is 2 and micro_batch_tokens 64; one of"):
        OptimizerConfig(micro_batch_size=2, micro_batch_tokens=64)
    with pytest.raises(ValueError, match="token_mean_scope is 'micro'.* use optimizer.micro_batch"):
        RunConfig(
            optimizer=OptimizerConfig(micro_batch_tokens=64),
            grpo=GRPOConfig(token_mean_scope="micro"),
        )


def test_a_loss_with_a_kl_term_needs_the_reference():
    with pytest.raises(ValueError, match="the batch has no reference_logprobs"):
        updated(rollout_batch().replace(reference_logprobs=None))


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
