"""cuDNN's attention lowers for GPUs and is what XLA computes, on a GPU or as documented."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dvmap_jax.model.attention import LayerBlock, attend
from dvmap_jax.model.flash import flash_attend
from dvmap_jax.model.kernels import CUDNN, NOTHING, fused

LENGTHS = jnp.asarray([[3, 0], [40, 17]])  # of two ancestors of each of two roots


def inputs(dtype):
    """Queries, own keys and values, an ancestor's keys and values."""
    shapes = (2, 4, 96, 4, 64), (2, 2, 4, 2, 96, 64), (2, 2, 2, 2, 40, 64)
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def slopes(function, arrays):
    def weighted(query, own, block):
        context = (LayerBlock(block[0], block[1], LENGTHS),)
        out = function(query, keys=own[0], values=own[1], context=context)
        return (out * jnp.sin(jnp.arange(out.size)).reshape(out.shape)).sum()

    return jax.grad(weighted, argnums=(0, 1, 2))(*arrays)


def by_cudnn(query, **given):
    return flash_attend(CUDNN, query, **given)


def as_described(query, keys, lengths, causal):
    """Scores of valid keys, heads of queries beside their key's; the rest is far below."""
    B, M, T, H = query.shape
    grouped = query.reshape(B, keys.shape[1], -1, T, H)
    scores = jnp.einsum("bkgth,bksh->bkgts", grouped, keys)
    places = jnp.arange(keys.shape[2])
    seen = places <= jnp.arange(T)[:, None] if causal else places < lengths[:, None, None]
    return jnp.where(seen if causal else seen[:, None, None], scores, -jnp.inf)


def stand_in(query, keys, values, *, kv_seqlen, mask_type, **_):
    scores = as_described(query, keys, kv_seqlen, mask_type == fused.MaskType.CAUSAL)
    out = jnp.einsum("bkgts,bksh->bkgth", jax.nn.softmax(scores), values)
    return out.reshape(query.shape), jax.nn.logsumexp(scores, axis=-1).reshape(query.shape[:3])


class StandIn:
    """The gradient as cuDNN documents it: from the statistics and the result it is handed."""

    @staticmethod
    def bind(*given, mask_type, **_):
        query, keys, values, _, _, lengths, *_, total, out, given_slopes = given
        scores = as_described(query, keys, lengths, mask_type == fused.MaskType.CAUSAL)
        grouped = (*scores.shape[:4], query.shape[-1])
        rows, out, slope = (x.reshape(grouped) for x in (query, out, given_slopes))
        weights = jnp.exp(scores - total.reshape(*grouped[:4], 1))
        inner = (out * slope).sum(axis=-1, keepdims=True)
        of_scores = weights * (jnp.einsum("bkgth,bksh->bkgts", slope, values) - inner)
        return (
            jnp.einsum("bkgts,bksh->bkgth", of_scores, keys).reshape(query.shape),
            jnp.einsum("bkgts,bkgth->bksh", of_scores, rows),
            jnp.einsum("bkgts,bkgth->bksh", weights, slope),
        )


def test_parts_and_slopes_fit_what_cudnn_documents(monkeypatch):
    """A part without a valid key has no share in anything."""
    monkeypatch.setattr(fused, "dot_product_attention", stand_in)
    monkeypatch.setattr(fused, "_dot_product_attention_bwd_p_wrapper", StandIn)
    arrays = inputs("float32")
    ours, theirs = slopes(by_cudnn, arrays), slopes(attend, arrays)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * jnp.abs(other).max())
    assert float(jnp.exp(-jnp.float32(NOTHING))) == 0.0
    assert not ours[2][:, 0, 1].any()


def test_it_lowers_for_gpus(monkeypatch):
    monkeypatch.setattr(fused, "check_cudnn_version", lambda: 91_000)
    traced = jax.jit(lambda *arrays: slopes(by_cudnn, arrays)).trace(*inputs("bfloat16"))
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    for name in ("fmhaSoftmax", "fmhaSoftmaxBackward"):
        assert text.count(f"@__cudnn${name}(") == 2, name  # the branches' own part, the ancestors'


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="no GPU")
def test_on_a_gpu_it_is_what_xla_computes():
    """Differences are those of bfloat16's eight bits, a few times rounded."""
    ours = slopes(by_cudnn, inputs("bfloat16"))
    theirs = slopes(attend, [x.astype("float32") for x in inputs("bfloat16")])
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-2 * jnp.abs(other).max())
