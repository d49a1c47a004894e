"""Fused attention, interpreted on a CPU, against XLA's products: results and every slope."""

import functools
import importlib.util
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import run_alone

from dvmap_jax.model.attention import LayerBlock, Reach, attend
from dvmap_jax.model.config import ComputeConfig, ModelConfig
from dvmap_jax.model.flash import flash_attend, pick_kernel
from dvmap_jax.model.kernels import SPLASH, splash_kernel
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level, branch_logprobs

TASKS = pathlib.Path(__file__).with_name("flash_tasks.py")
CLOSE = 1e-5  # of float32 sums of at most some hundred terms, in another order
INTERPRETED = splash_kernel(interpret=True)
HEAD = 64


def arrays(rng, *shapes):
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def tree(*, levels, size, heads=4, kv_heads=2, branches=4, packed=False):
    """Queries, own keys and values, contexts and reach: two roots, ragged, one part empty."""
    rng = np.random.default_rng(levels)
    own = (2, branches, kv_heads, size, HEAD)
    query, keys, values = arrays(rng, (2, branches, size, heads, HEAD), own, own)
    context = []
    for rows, length in ((1, 200), (2, 128))[:levels]:
        shape = (2, rows, kv_heads, length, HEAD)
        lengths = rng.integers(1, length + 1, (2, rows))
        lengths[1, 0] = 0 if rows == 2 or levels == 1 else length
        context.append(LayerBlock(*arrays(rng, shape, shape), jnp.asarray(lengths)))
    numbers = np.sort(rng.integers(0, 3, (2, branches, size)), axis=-1)
    ends = jnp.asarray((numbers[..., None, :] <= numbers[..., None]).sum(axis=-1))
    return query, keys, values, tuple(context), Reach(ends, paths=True) if packed else None


def outcome(function, inputs, reach):
    """What comes out and the slopes of a weighted sum of it in all that went in."""
    query, keys, values, context = inputs
    stacks = [(block.keys, block.values) for block in context]
    weights = jnp.asarray(np.random.default_rng(5).normal(size=query.shape), jnp.float32)

    def weighted(query, keys, values, stacks):
        blocks = tuple(
            LayerBlock(*stack, block.lengths) for stack, block in zip(stacks, context, strict=True)
        )
        own = {"keys": keys, "values": values, "reach": reach}
        out = function(query, context=blocks, **own)
        return (out * weights).sum(), out

    slopes = jax.grad(weighted, argnums=(0, 1, 2, 3), has_aux=True)
    return jax.tree.leaves(jax.jit(slopes)(query, keys, values, stacks))


def interpreted(query, *, reach, **inputs):
    return flash_attend(INTERPRETED, query, segments=reach and reach.ends, **inputs)


@pytest.mark.parametrize(
    "case",
    [
        {"levels": 0, "size": 128},
        {"levels": 1, "size": 128, "heads": 2},
        {"levels": 1, "size": 192, "branches": 3, "packed": True},
        {"levels": 2, "size": 128, "kv_heads": 1},
        {"levels": 2, "size": 32, "packed": True},
    ],
    ids=str,
)
def test_fused_attention_is_attention_in_value_and_slope(case):
    *inputs, reach = tree(**case)
    ours = outcome(interpreted, inputs, reach)
    theirs = outcome(attend, inputs, reach)
    assert len(ours) == 4 + 2 * case["levels"]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=CLOSE * max(1, jnp.abs(other).max()))


def test_trees_that_branch_are_left_to_products(monkeypatch):
    on(monkeypatch, "tpu")
    monkeypatch.setattr("dvmap_jax.model.flash.SPLASH", INTERPRETED)
    query, keys, values, context, reach = tree(levels=1, size=128, packed=True)
    own = {"keys": keys, "values": values, "context": context, "attention": "splash"}
    for paths in (True, False):
        given = functools.partial(attend, **own, reach=reach._replace(paths=paths))
        assert ("splash" in str(jax.make_jaxpr(given)(query))) == paths


def test_a_mesh_changes_no_slope():
    """In both layouts rows are divided over four devices and heads over two."""
    found = json.loads(run_alone(TASKS, "mesh"))
    assert set(found) == {"update", "swapped"}
    assert max(found.values()) < CLOSE


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="no extra `tpu`")
def test_compiled_for_tpus_no_program_holds_a_score():
    """Nor does it compute what a policy keeps: a level's kernel runs again without one."""
    found = json.loads(run_alone(TASKS, "compile", "v5e:2x2", devices=1, timeout=900))
    for program in ("rollout", "update"):
        assert found[f"{program}, xla"]["scores"], "the test would not see one"
        assert not found[f"{program}, xla"]["kernels"]
        for remat in ("layer", "attention"):
            assert not found[f"{program}, {remat}"]["scores"]
    runs = {
        remat: sum("_fwd_" in name for name in found[f"update, {remat}"]["kernels"])
        for remat in ("layer", "attention")
    }
    # Three a pass; the reference has a program of its own, and "layer" runs the policy's again.
    assert runs == {"layer": 6, "attention": 3}


@pytest.mark.parametrize("remat", ["layer", "attention"])
def test_a_model_has_the_gradients_of_products(monkeypatch, remat):
    on(monkeypatch, "tpu")
    monkeypatch.setattr("dvmap_jax.model.flash.SPLASH", INTERPRETED)
    sizes = ModelConfig(vocab_size=61, width=32, mlp_width=48, num_layers=2, head_dim=64)
    trunk, branches = (Level(*ragged) for ragged in (tokens(1, 40), tokens(3, 20)))
    gradients = []
    for attention in ("xla", "splash"):
        model = Transformer(sizes, ComputeConfig(remat=remat, attention=attention))

        def loss(params, model=model):
            logprobs, _ = branch_logprobs(model, params, (trunk,), branches)
            valid = jnp.arange(20) < branches.lengths[..., None]
            return jnp.where(valid, logprobs, 0).sum()

        gradients.append(jax.jit(jax.grad(loss))(model.init(jax.random.key(0))))
    for ours, theirs in zip(*map(jax.tree.leaves, gradients), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-4 * jnp.abs(ours).max())


def tokens(rows, size):
    """Tokens of so many rows below each of two roots, and how many are valid."""
    rng = np.random.default_rng(rows)
    drawn = jnp.asarray(rng.integers(0, 61, (2, rows, size)))
    return drawn, jnp.asarray(rng.integers(1, size + 1, (2, rows)))


def on(monkeypatch, platform):
    monkeypatch.setattr("dvmap_jax.model.flash.current_platform", lambda: platform)


def queries(size=128, head=64, dtype=jnp.bfloat16):
    return jax.ShapeDtypeStruct((1, 1, size, 2, head), dtype)


def test_auto_takes_what_the_devices_have_and_leaves_few_tokens_alone(monkeypatch):
    for platform, kernel in (("tpu", SPLASH), ("cpu", None), ("gpu", None)):
        on(monkeypatch, platform)
        assert pick_kernel("auto", queries(), None) is kernel
    on(monkeypatch, "tpu")
    for left in (queries(size=1), queries(size=96), queries(head=80), queries(dtype=jnp.float64)):
        assert pick_kernel("auto", left, None) is None
    assert pick_kernel("xla", queries(), None) is None
    assert pick_kernel("splash", queries(size=96), None) is SPLASH
    assert pick_kernel("splash", queries(size=1), None) is None


@pytest.mark.parametrize(
    ("name", "platform", "query", "segments", "said"),
    [
        ("splash", "cpu", queries(), None, "runs on platform 'tpu' alone, not on 'cpu'"),
        ("splash", "tpu", queries(head=80), None, "takes model.head_dim of 64 or a multiple"),
        ("splash", "tpu", queries(dtype=jnp.float64), None, "not in compute.dtype = float64"),
        ("cudnn", "tpu", queries(), None, "runs on platform 'gpu' alone"),
        ("cudnn", "gpu", queries(dtype=jnp.float32), None, "not in compute.dtype = float32"),
        ("cudnn", "gpu", queries(head=256), None, "takes model.head_dim up to 128"),
        ("cudnn", "gpu", queries(), jnp.zeros((1, 1, 128), int), "no rows of several branches"),
    ],
)
def test_a_kernel_that_cannot_be_had_is_refused_in_words(
    monkeypatch, name, platform, query, segments, said
):
    on(monkeypatch, platform)
    with pytest.raises(ValueError, match=f"compute.attention is '{name}', which .*{said}"):
        pick_kernel(name, query, segments)
