"""The GRPO arithmetic against the original's own inputs and outputs."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dvmap_jax.rl.grpo import GRPOConfig, aggregate, denominator, group_advantages, grpo_loss

GOLDEN = pathlib.Path(__file__).parents[3] / "shared" / "golden"
TOLERANCE = {"float64": 1e-6, "float32": 1e-5}


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.exists():
        pytest.skip("the original's golden arithmetic (../shared/golden) is not here")
    return json.loads((GOLDEN / "grpo.json").read_text()), np.load(GOLDEN / "grpo.npz")


def loss_of(config):
    def loss(policy, case):
        return grpo_loss(
            policy,
            case["old_logprobs"],
            case["reference_logprobs"],
            case["advantages"],
            case["mask"],
            clip_low=config["lo"],
            clip_high=config["hi"],
            dual_clip=3.0,
            kl_coef=0.001,
            aggregation=config["agg"],
        )

    return jax.value_and_grad(loss, has_aux=True)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_loss_and_gradient_are_the_originals(golden, dtype):
    cases, arrays = golden
    assert len(cases) == 24
    with jax.enable_x64(dtype == "float64"):
        for row in cases:
            prefix = f"{row['case']:02d}/"
            names = [name for name in arrays.files if name.startswith(prefix)]
            case = {n.removeprefix(prefix): jnp.asarray(arrays[n], dtype) for n in names}
            (loss, metrics), grad = loss_of(row["config"])(case["policy_logprobs"], case)
            close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
            np.testing.assert_allclose(loss, case["loss"], **close)
            np.testing.assert_allclose(metrics["pg_loss"], case["pg_loss"], **close)
            np.testing.assert_allclose(metrics["kl_loss"], case["kl_loss"], **close)
            np.testing.assert_allclose(grad, case["grad"], **close)
            for ours, theirs in (("clipfrac", "pg_clipfrac"), ("ppo_kl", "ppo_kl")):
                np.testing.assert_allclose(
                    metrics[ours], row["metrics"]["actor/" + theirs], **close
                )
            lower = row["metrics"]["actor/pg_clipfrac_lower"]
            np.testing.assert_allclose(metrics["clipfrac_lower"], lower, **close)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_advantages_are_the_originals(golden, dtype):
    cases, arrays = golden
    with jax.enable_x64(dtype == "float64"):
        for row in cases:
            name = f"{row['case']:02d}/"
            rewards = jnp.asarray(arrays[name + "rewards"], dtype)
            ours = group_advantages(rewards, row["config"]["norm_std"]).reshape(-1, 1)
            mask = arrays[name + "mask"]
            theirs = arrays[name + "advantages"]
            np.testing.assert_allclose(ours * mask, theirs * mask, rtol=0, atol=TOLERANCE[dtype])


def test_group_of_equal_rewards_has_no_advantage():
    assert not group_advantages(jnp.full((3, 4), 1.7)).any()


@pytest.mark.parametrize("aggregation", ["token-mean", "seq-mean-token-sum", "seq-mean-token-mean"])
def test_parts_of_a_batch_add_up_under_one_denominator(aggregation):
    rng = np.random.default_rng(0)
    values = jnp.asarray(rng.normal(size=(6, 5)))
    mask = jnp.asarray(np.arange(5) < rng.integers(1, 6, (6, 1)), values.dtype)
    total = denominator(mask, aggregation)
    whole = aggregate(values, mask, aggregation=aggregation, total=total)
    parts = [
        aggregate(values[i : i + 2], mask[i : i + 2], aggregation=aggregation, total=total)
        for i in (0, 2, 4)
    ]
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-6)


def test_group_of_one_is_refused():
    with pytest.raises(ValueError, match="group_size is 1; a group needs at least 2"):
        GRPOConfig(group_size=1)
