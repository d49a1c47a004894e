"""Fused attention, interpreted on a CPU, against XLA's products: results and every slope."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dvmap_jax.model.attention import LayerBlock, attend
from dvmap_jax.model.flash import flash_attend
from dvmap_jax.model.kernels import splash_kernel

CLOSE = 1e-5  # of float32 sums of at most some hundred terms, in another order
INTERPRETED = splash_kernel(interpret=True)
HEAD = 64


def arrays(rng, *shapes):
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def tree(*, levels, size, heads=4, kv_heads=2, branches=4, segmented=False):
    """Queries, own keys and values, contexts and segments: two roots, ragged, one part empty."""
    rng = np.random.default_rng(levels)
    own = (2, branches, kv_heads, size, HEAD)
    query, keys, values = arrays(rng, (2, branches, size, heads, HEAD), own, own)
    context = []
    for rows, length in ((1, 200), (2, 128))[:levels]:
        shape = (2, rows, kv_heads, length, HEAD)
        lengths = rng.integers(1, length + 1, (2, rows))
        lengths[1, 0] = 0 if rows == 2 or levels == 1 else length
        context.append(LayerBlock(*arrays(rng, shape, shape), jnp.asarray(lengths)))
    segments = jnp.sort(jnp.asarray(rng.integers(0, 3, (2, branches, size))), axis=-1)
    return query, keys, values, tuple(context), segments if segmented else None


def outcome(function, inputs, segments):
    """What comes out and the slopes of a weighted sum of it in all that went in."""
    query, keys, values, context = inputs
    stacks = [(block.keys, block.values) for block in context]
    weights = jnp.asarray(np.random.default_rng(5).normal(size=query.shape), jnp.float32)

    def weighted(query, keys, values, stacks):
        blocks = tuple(
            LayerBlock(*stack, block.lengths) for stack, block in zip(stacks, context, strict=True)
        )
        own = {"keys": keys, "values": values, "segments": segments}
        out = function(query, context=blocks, **own)
        return (out * weights).sum(), out

    slopes = jax.grad(weighted, argnums=(0, 1, 2, 3), has_aux=True)
    return jax.tree.leaves(jax.jit(slopes)(query, keys, values, stacks))


def interpreted(query, **inputs):
    return flash_attend(INTERPRETED, query, **inputs)


@pytest.mark.parametrize(
    "case",
    [
        {"levels": 0, "size": 128},
        {"levels": 1, "size": 128, "heads": 2},
        {"levels": 1, "size": 192, "branches": 3, "segmented": True},
        {"levels": 2, "size": 128, "kv_heads": 1},
        {"levels": 2, "size": 32, "segmented": True},
    ],
    ids=str,
)
def test_fused_attention_is_attention_in_value_and_slope(case):
    *inputs, segments = tree(**case)
    ours = outcome(interpreted, inputs, segments)
    theirs = outcome(attend, inputs, segments)
    assert len(ours) == 4 + 2 * case["levels"]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=CLOSE * max(1, jnp.abs(other).max()))
