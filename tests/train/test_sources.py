"""Batches for an objective: what several updates of one batch of rollouts are measured against."""

import dataclasses

import jax
import numpy as np
import pytest

from dvmap_jax.config import RunConfig
from dvmap_jax.data.batches import DataConfig, PromptStream
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import PackedLevel, branch_logprobs
from dvmap_jax.rl.grpo import GRPOConfig
from dvmap_jax.survey.synthetic import synthetic_examples
from dvmap_jax.train.sources import batch_source
from dvmap_jax.train.state import OptimizerConfig

EXAMPLES = synthetic_examples(5, seed=3)
MODEL = Transformer(ModelConfig(vocab_size=600, width=32, mlp_width=48, num_layers=1, head_dim=8))
CONFIG = RunConfig(
    data=DataConfig(
        template="answer",
        system_prompt="none",
        batch_by="archetype",
        batch_size=4,
        questions=3,
    ),
    sampling=SamplingConfig(max_tokens=7, temperature=0.8),
)


def rollouts(tokenizer, params, *, updates, micro=0, reference=None, **optimizer):
    config = dataclasses.replace(
        CONFIG,
        grpo=GRPOConfig(group_size=4, updates_per_rollout=updates),
        optimizer=OptimizerConfig(micro_batch_size=micro, **optimizer),
    )
    prompts = next(PromptStream(EXAMPLES, tokenizer, config.data))
    source = batch_source(config, MODEL, tokenizer)
    return source(params, prompts, step=0, reference=reference).batch


class Ending:
    """A tokenizer by which random completions end at different lengths."""

    def __init__(self, tokenizer):
        self.tokenizer, self.eos_ids = tokenizer, tuple(range(200, 600))

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)


@pytest.mark.parametrize("micro", [0, 1, 2])
def test_several_updates_are_measured_against_the_trainer_before_the_first(tokenizer, micro):
    params = MODEL.init(jax.random.key(0))
    batch = rollouts(tokenizer, params, updates=2, micro=micro)
    known, _ = branch_logprobs(MODEL, params, batch.levels, batch.branches, temperature=0.8)
    np.testing.assert_allclose(batch.old_logprobs * batch.mask, known * batch.mask, rtol=1e-5)


def test_one_update_needs_no_second_look(tokenizer):
    batch = rollouts(tokenizer, MODEL.init(jax.random.key(0)), updates=1)
    assert batch.old_logprobs is None and batch.reference_logprobs is None


def test_packed_batches_are_the_same_batches_in_fewer_rows(tokenizer):
    """Also where the reference's log-probabilities come from, and in micro-batches of tokens."""
    params, reference = (MODEL.init(jax.random.key(seed)) for seed in (0, 1))
    how = {"updates": 2, "reference": reference}
    padded = rollouts(Ending(tokenizer), params, packing=False, **how)
    packed = rollouts(Ending(tokenizer), params, micro_batch_tokens=100, **how)
    assert isinstance(packed.branches, PackedLevel)
    assert packed.branches.tokens.size < padded.branches.tokens.size
    size = padded.mask.shape[-1]
    np.testing.assert_array_equal(packed.mask[..., :size], padded.mask)
    np.testing.assert_array_equal(packed.advantages, padded.advantages)
    for name in ("sampler_logprobs", "old_logprobs", "reference_logprobs"):
        ours, theirs = getattr(packed, name)[..., :size], getattr(padded, name)
        np.testing.assert_allclose(ours * padded.mask, theirs * padded.mask, atol=1e-5)
    assert np.abs((packed.reference_logprobs - packed.old_logprobs) * packed.mask).max() > 0.01


def test_batches_that_do_not_divide_are_refused_with_the_config():
    with pytest.raises(ValueError, match=r"data.batch_size is 8; it must divide into .* = 3"):
        RunConfig(grpo=GRPOConfig(updates_per_rollout=3))
    with pytest.raises(ValueError, match=r"micro_batch_size = 3"):
        RunConfig(optimizer=OptimizerConfig(micro_batch_size=3))
    with pytest.raises(ValueError, match=r"warm_start_batch_size is 6; .* = 4"):
        RunConfig(
            warm_start_steps=1,
            warm_start_batch_size=6,
            optimizer=OptimizerConfig(micro_batch_size=4),
        )
