"""Chunked log-probabilities and entropies, and their slopes, against the plain softmax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dvmap_jax.model.logprobs import token_logprobs

SHAPE, WIDTH, VOCAB = (3, 7), 5, 23


def plain(hidden, head, targets, temperature):
    logs = jax.nn.log_softmax(jnp.einsum("...d,vd->...v", hidden, head) / temperature)
    chosen = jnp.take_along_axis(logs, targets[..., None], axis=-1)[..., 0]
    return chosen, -(jnp.exp(logs) * logs).sum(axis=-1)


@pytest.mark.parametrize("chunk", [1, 4, 21, 1024])  # 21 positions: exact, ragged and too large
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_values_and_slopes_are_those_of_the_plain_softmax(chunk, temperature):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        hidden, head = rng.normal(size=(*SHAPE, WIDTH)), rng.normal(size=(VOCAB, WIDTH))
        targets = jnp.asarray(rng.integers(0, VOCAB, SHAPE))
        weights = rng.normal(size=(2, *SHAPE))

        def chunked(hidden, head, targets, temperature):
            return token_logprobs(hidden, head, targets, temperature=temperature, chunk=chunk)

        def weighted(function, hidden, head):
            logprobs, entropies = function(hidden, head, targets, temperature)
            return (weights[0] * logprobs + weights[1] * entropies).sum(), (logprobs, entropies)

        def everything(function):
            found = jax.value_and_grad(weighted, argnums=(1, 2), has_aux=True)
            return jax.tree.leaves(found(function, jnp.asarray(hidden), jnp.asarray(head)))

        for ours, expected in zip(everything(chunked), everything(plain), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-12)


def test_extreme_logits_stay_finite():
    hidden, head = jnp.full((1, 2), 1e3), jnp.asarray([[1.0, 1.0], [-1.0, -1.0]])

    def total(hidden):
        return sum(x.sum() for x in token_logprobs(hidden, head, jnp.asarray([1])))

    value, slope = jax.value_and_grad(total)(hidden)
    assert float(value) == -4e3 and bool(jnp.isfinite(slope).all())


def test_bfloat16_gives_float32_results_and_slopes_of_its_own_type():
    rng = np.random.default_rng(1)
    hidden = jnp.asarray(rng.normal(size=(*SHAPE, WIDTH)), jnp.bfloat16)
    head = jnp.asarray(rng.normal(size=(VOCAB, WIDTH)), jnp.bfloat16)
    targets = jnp.zeros(SHAPE, jnp.int32)

    def total(hidden, head):
        return token_logprobs(hidden, head, targets, chunk=4)[0].sum()

    assert token_logprobs(hidden, head, targets)[0].dtype == jnp.float32
    slopes = jax.grad(total, argnums=(0, 1))(hidden, head)
    wide = [x.astype(jnp.float32) for x in (hidden, head)]
    for ours, expected in zip(slopes, jax.grad(total, argnums=(0, 1))(*wide), strict=True):
        assert ours.dtype == jnp.bfloat16
        scale = float(jnp.abs(expected).max())
        np.testing.assert_allclose(ours.astype(jnp.float32), expected, atol=0.02 * scale)
