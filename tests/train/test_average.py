"""The average of parameters against numpy, update by update, and where it is used."""

import dataclasses

import jax
import numpy as np
import pytest

from dvmap_jax.config import RunConfig
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level
from dvmap_jax.rl.grpo import GRPOConfig
from dvmap_jax.rl.rollouts import BranchBatch
from dvmap_jax.sharding import make_mesh
from dvmap_jax.train.objectives import sft_objective
from dvmap_jax.train.placement import first_state, placed_state
from dvmap_jax.train.state import OptimizerConfig, TrainState, init_state, make_optimizer
from dvmap_jax.train.update import make_update

MODEL = Transformer(ModelConfig(vocab_size=23, width=8, mlp_width=12, num_layers=1, head_dim=4))
OPTIMIZER = OptimizerConfig(learning_rate=0.05, average_decay=0.2)
BROKEN = 2  # the update whose gradient is not finite
ROUNDING = {"rtol": 1e-6, "atol": 1e-7}  # of float32


def labelled(seed, roots=2):
    rng = np.random.default_rng(seed)
    lengths = np.full((roots, 1), 4)
    rows = (rng.integers(0, 23, (roots, 1, 4)) for _ in range(2))
    trunk, branches = (Level(tokens, lengths) for tokens in rows)
    return BranchBatch((trunk,), branches, np.ones((roots, 1, 4), np.float32))


def started(optimizer=OPTIMIZER) -> TrainState:
    average = optimizer.average_decay > 0
    return init_state(MODEL.init(jax.random.key(0)), make_optimizer(optimizer), average=average)


def leaves(tree):
    """Copies on the host: an update takes its state."""
    return [np.array(leaf, np.float64) for leaf in jax.tree.leaves(tree)]


@pytest.fixture(scope="module")
def update():
    return make_update(sft_objective(MODEL), MODEL, OPTIMIZER, GRPOConfig())


@pytest.fixture(scope="module")
def states(update):
    """Parameters and averages, of the start and after each of six updates, one of them broken."""
    state, found = started(), []
    for number in range(6):
        found.append((leaves(state.params), leaves(state.average)))
        batch = labelled(number)
        bad = batch.replace(mask=np.full_like(batch.mask, np.nan))
        state, _ = update(state, bad if number == BROKEN else batch)
    assert (int(state.updates), int(state.skipped)) == (5, 1)
    return [*found, (leaves(state.params), leaves(state.average))]


def test_the_first_average_is_the_first_parameters(states):
    for params, average in zip(*states[0], strict=True):
        np.testing.assert_array_equal(params, average)


def test_an_update_leaves_what_the_decay_says_and_less_in_the_first(states):
    """Decays 1/10, 2/11, then 0.2 where the counts alone would say 3/12, 4/13, 5/14."""
    decays = iter((1 / 10, 2 / 11, 0.2, 0.2, 0.2))
    due = states[0][0]
    for number, (params, average) in enumerate(states[1:]):
        if number != BROKEN:
            decay = next(decays)
            due = [decay * old + (1 - decay) * new for old, new in zip(due, params, strict=True)]
        for ours, theirs in zip(average, due, strict=True):
            np.testing.assert_allclose(ours, theirs, **ROUNDING)
    gaps = [np.abs(a - p).max() for p, a in zip(*states[-1], strict=True)]
    assert max(gaps) > 1e-3


def test_an_update_that_is_left_out_leaves_the_average(states):
    for before, after in zip(*states[BROKEN : BROKEN + 2], strict=True):
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)


def test_each_of_several_updates_of_a_batch_counts(update):
    one, two = labelled(0), labelled(1)
    both = jax.tree.map(lambda *rows: np.concatenate(rows), one, two)
    twice = make_update(sft_objective(MODEL), MODEL, OPTIMIZER, GRPOConfig(updates_per_rollout=2))
    together, _ = twice(started(), both)
    apart, _ = update(update(started(), one)[0], two)
    for ours, theirs in zip(leaves(together.average), leaves(apart.average), strict=True):
        np.testing.assert_allclose(ours, theirs, **ROUNDING)


def test_the_average_changes_no_parameter(states):
    off = dataclasses.replace(OPTIMIZER, average_decay=0.0)
    update = make_update(sft_objective(MODEL), MODEL, off, GRPOConfig())
    state = started(off)
    for number in range(BROKEN):
        state, _ = update(state, labelled(number))
    for ours, theirs in zip(leaves(state.params), states[BROKEN][0], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_is_evaluated_is_the_average_where_there_is_one():
    with_average, without = started(), started(OptimizerConfig())
    assert with_average.result is with_average.average
    assert without.average is None and without.result is without.params


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_a_run_keeps_an_average_where_its_config_says_so(decay):
    config = RunConfig(optimizer=OptimizerConfig(average_decay=decay))
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    with jax.set_mesh(mesh):
        placed = placed_state(config, MODEL, mesh)
        state = first_state(config, MODEL.init(jax.random.key(0)), placed)
    assert (state.average is not None) == (decay > 0) == (placed.average is not None)
    if decay:
        assert placed.average == placed.params  # shapes, and where they are kept
    assert RunConfig().optimizer.average_decay == 0


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(ValueError, match=f"average_decay is {decay}; it must be at least 0 and"):
        OptimizerConfig(average_decay=decay)
