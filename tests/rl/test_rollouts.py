"""Rollouts: rewards belong to their texts, masks to their tokens, draws to their global rows."""

import jax
import numpy as np
import pytest

from dvmap_jax.data.batches import DataConfig, PromptStream
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.rl.group_rewards import rewards_of
from dvmap_jax.rl.grpo import GRPOConfig, group_advantages
from dvmap_jax.rl.rewards import RewardConfig, reward_terms
from dvmap_jax.rl.rollouts import RolloutSampler, Sweeps, labelled_rollouts
from dvmap_jax.survey.prompts import gold_completion
from dvmap_jax.survey.synthetic import synthetic_examples

EXAMPLES = synthetic_examples(5, seed=3)[:70]
DATA = DataConfig(
    template="answer",
    system_prompt="none",
    max_prompt_length=512,
    batch_by="archetype",
    batch_size=2,
    questions=4,
)
MODEL = Transformer(ModelConfig(vocab_size=600, width=32, mlp_width=48, num_layers=1, head_dim=8))
PARAMS = MODEL.init(jax.random.key(0))
GROUP = 4


class Scripted:
    """A tokenizer whose completions are read as answers, so that random ones earn something."""

    def __init__(self, tokenizer):
        self.eos_ids = tuple(range(500, 600))  # so that draws end at different lengths

    def decode_rows(self, tokens, lengths):
        options = [e.answer for e in EXAMPLES[:3]]
        return [f"<answer>{options[int(row[0]) % 3]}</answer>" for row in tokens]


def sampler(tokenizer, **options):
    return RolloutSampler(
        MODEL,
        Scripted(tokenizer),
        sampling=SamplingConfig(max_tokens=9),
        grpo=GRPOConfig(group_size=GROUP, **options),
        rewards=RewardConfig(),
        seed=1,
        packing=False,
    )


@pytest.fixture(scope="module")
def prompts(tokenizer):
    return next(PromptStream(EXAMPLES, tokenizer, DATA))


@pytest.fixture(scope="module")
def rollouts(tokenizer, prompts):
    return sampler(tokenizer)(PARAMS, prompts, step=3)


def test_rewards_and_advantages_are_those_of_the_texts(rollouts):
    expected = np.zeros((8, GROUP), np.float32)
    for p, example in enumerate(rollouts.examples):
        for g, text in enumerate(rollouts.completions[p]):
            expected[p, g] = sum(reward_terms(text, example, RewardConfig()).values())
    assert len(np.unique(expected)) > 1
    np.testing.assert_allclose(rollouts.rewards, expected)
    advantages = np.asarray(group_advantages(expected)).reshape(2, 4 * GROUP)
    np.testing.assert_allclose(rollouts.batch.advantages, advantages, rtol=1e-6)


def test_metrics_are_those_of_the_rows(rollouts):
    metrics, rewards = rollouts.metrics, rollouts.rewards
    assert metrics["critic/rewards/mean"] == pytest.approx(rewards.mean())
    same = np.mean([len(set(row)) == 1 for row in rewards.tolist()])
    assert metrics["frac_reward_zero_std"] == pytest.approx(same)
    terms = metrics["reward/format"] + metrics["reward/match"] + metrics["reward/closeness"]
    assert terms == pytest.approx(rewards.mean(), rel=1e-5)
    lengths = rollouts.batch.branches.lengths
    assert metrics["response_length/mean"] == pytest.approx(lengths.mean())


def test_mask_counts_every_drawn_token_and_truncated_ones_only_when_asked(
    tokenizer, prompts, rollouts
):
    branches, mask = rollouts.batch.branches, rollouts.batch.mask
    np.testing.assert_array_equal(mask.sum(axis=-1), branches.lengths)
    last = np.take_along_axis(branches.tokens, branches.lengths[..., None] - 1, axis=-1)[..., 0]
    ended = last >= 500
    assert ended.any() and not ended.all()
    dropping = sampler(tokenizer, mask_truncated=True)(PARAMS, prompts, step=3)
    counted = dropping.batch.mask.sum(axis=-1)
    np.testing.assert_array_equal(counted, np.where(ended, branches.lengths, 0))
    assert rollouts.metrics["response_length/clip_ratio"] == pytest.approx(1 - ended.mean())


def test_a_process_draws_what_the_whole_batch_would(tokenizer, rollouts):
    parts = [PromptStream(EXAMPLES, tokenizer, DATA, own=[i]) for i in range(2)]
    found = [sampler(tokenizer)(PARAMS, next(part), step=3) for part in parts]
    size = min(f.batch.branches.tokens.shape[-1] for f in found)
    tokens = np.concatenate([f.batch.branches.tokens[..., :size] for f in found])
    np.testing.assert_array_equal(tokens, rollouts.batch.branches.tokens[..., :size])
    assert found[0].completions + found[1].completions == rollouts.completions


def test_another_step_draws_other_completions(tokenizer, prompts, rollouts):
    other = sampler(tokenizer)(PARAMS, prompts, step=4)
    shape = min(other.batch.branches.tokens.shape[-1], rollouts.batch.branches.tokens.shape[-1])
    tokens = [r.batch.branches.tokens[..., :shape] for r in (other, rollouts)]
    assert (tokens[0] != tokens[1]).any()


class Recorded:
    """A decoder that keeps what it was asked and what it gave."""

    def __init__(self, decode):
        self.decode, self.calls, self.drawn = decode, [], []

    def __call__(self, params, levels, rows, key):
        self.calls.append((params, levels, rows, key))
        self.drawn.append(self.decode(params, levels, rows, key))
        return self.drawn[-1]


@pytest.fixture(scope="module")
def redrawn(tokenizer):
    """Draws rollouts and gives them with the decoder that drew them, compiled once for all."""
    decode = sampler(tokenizer).decode

    def draw(prompts, *, step=3, **options):
        sample = sampler(tokenizer, **options)
        sample.decode = Recorded(decode)
        return sample(PARAMS, prompts, step=step), sample.decode

    return draw


def says(monkeypatch, *texts):
    """Lets completions say one of these texts, whichever their first token gives them."""

    def decode_rows(self, tokens, lengths):
        return [texts[int(row[0]) % len(texts)] for row in tokens]

    monkeypatch.setattr(Scripted, "decode_rows", decode_rows)


def test_without_redraws_there_is_one_draw_of_seed_and_step(redrawn, prompts):
    found, decode = redrawn(prompts, step=2)
    ((_, _, _, key),) = decode.calls
    expected = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), 1), 2)
    np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(expected))
    np.testing.assert_array_equal(found.batch.branches.tokens, decode.drawn[0].tokens)
    assert not [name for name in found.metrics if name.startswith("redrawn")]


def test_only_groups_of_equal_rewards_are_drawn_again(redrawn, prompts, rollouts):
    equal = np.ptp(rollouts.rewards, axis=-1) == 0
    assert equal.any() and not equal.all()
    found, decode = redrawn(prompts, redraws=1)
    params, (*trunk, last), rows, key = decode.calls[1]
    whole = decode.decode(params, (*trunk, prompts.levels[-1]), rows, key)
    again = equal.repeat(GROUP).reshape(2, -1)
    for name, first in vars(decode.drawn[0]).items():
        kept = np.where(again.reshape(2, -1, *[1] * (first.ndim - 2)), getattr(whole, name), first)
        if name in ("tokens", "lengths"):
            np.testing.assert_array_equal(getattr(found.batch.branches, name), kept)
        if name == "logprobs":
            np.testing.assert_allclose(found.batch.sampler_logprobs, kept, rtol=1e-5)
    assert (np.asarray(decode.drawn[1].lengths) > 0).tolist() == again.tolist()
    assert found.metrics["redrawn/groups"] == equal.mean() and found.metrics["redrawn/times"] == 1
    left = np.ptp(found.rewards, axis=-1) == 0
    assert found.metrics["frac_reward_zero_std"] == left.mean() and not left[~equal].any()


def test_groups_are_drawn_again_until_none_is_equal(redrawn, prompts, monkeypatch):
    says(monkeypatch, "", "<answer></answer>")
    found, decode = redrawn(prompts, redraws=60)
    assert found.metrics["frac_reward_zero_std"] == 0
    assert 1 < len(decode.calls) < 60
    assert found.metrics["redrawn/times"] == len(decode.calls) - 1
    keys = {tuple(jax.random.key_data(key).tolist()) for *_, key in decode.calls}
    assert len(keys) == len(decode.calls)
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), call) for call in decode.calls]
    assert all(shape == shapes[0] for shape in shapes)  # so that nothing is compiled anew
    again, _ = redrawn(prompts, redraws=60)
    assert again.completions == found.completions


def test_redraws_end_at_their_limit(redrawn, prompts, monkeypatch):
    says(monkeypatch, "")
    found, decode = redrawn(prompts, redraws=2)
    assert found.metrics["redrawn/groups"] == found.metrics["frac_reward_zero_std"] == 1
    assert found.metrics["redrawn/times"] == len(decode.calls) - 1 == 2
    np.testing.assert_array_equal(found.batch.branches.tokens, decode.drawn[-1].tokens)


def test_log_probabilities_are_swept_of_the_last_draw(tokenizer, prompts):
    swept = []

    def sweeps(levels, branches):
        swept.append(branches)
        return Sweeps(old_logprobs=branches.tokens * 0.5)

    found = sampler(tokenizer, redraws=2)(PARAMS, prompts, step=3, sweeps=sweeps)
    assert len(swept) == 1 and found.metrics["redrawn/times"] == 2
    np.testing.assert_array_equal(found.batch.old_logprobs, found.batch.branches.tokens * 0.5)


def test_a_process_draws_again_what_the_whole_batch_would(redrawn, tokenizer, prompts):
    whole, _ = redrawn(prompts, redraws=3)
    parts = [next(PromptStream(EXAMPLES, tokenizer, DATA, own=[i])) for i in range(2)]
    found = [redrawn(part, redraws=3)[0] for part in parts]
    assert found[0].completions + found[1].completions == whole.completions


def test_padding_is_never_drawn_again(redrawn, tokenizer, monkeypatch):
    says(monkeypatch, "")
    stream = PromptStream(EXAMPLES[:18], tokenizer, DATA)
    prompts = next(b for b in (next(stream) for _ in range(5)) if None in b.examples)
    found, decode = redrawn(prompts, redraws=1)
    present = [example is not None for example in prompts.examples]
    drawn = np.asarray(decode.drawn[1].lengths).reshape(8, GROUP) > 0
    assert drawn.all(axis=-1).tolist() == drawn.any(axis=-1).tolist() == present
    assert found.metrics["redrawn/groups"] == 1


def test_rewards_of_a_group_are_its_advantages(tokenizer, prompts):
    sample = sampler(tokenizer, normalize_by_std=False)
    sample.rewards = RewardConfig(kind="energy")
    found = sample(PARAMS, prompts, step=3)
    for p, example in enumerate(found.examples):
        expected, named = rewards_of(found.completions[p], example, sample.rewards)
        np.testing.assert_allclose(found.rewards[p], expected, rtol=1e-6)
        assert set(named) == {"score", "readable"}
        advantages = found.batch.advantages.reshape(8, GROUP)[p]
        np.testing.assert_allclose(advantages, expected - expected.mean(), atol=1e-6)
    assert 0 < found.metrics["reward/readable"] < 1


def test_labels_are_the_consensus_and_a_stop(tokenizer):
    stream = PromptStream(EXAMPLES[:18], tokenizer, DATA)  # units of 4, 4, 4, 4 and 2
    batches = [next(stream) for _ in range(5)]
    prompts = next(batch for batch in batches if None in batch.examples)
    found = labelled_rollouts(prompts, tokenizer, template="answer")
    assert found.rewards is None
    branches = found.batch.branches
    tokens = branches.tokens.reshape(-1, branches.tokens.shape[-1])
    for p, example in enumerate(found.examples):
        length = branches.lengths.reshape(-1)[p]
        assert found.batch.mask.reshape(tokens.shape)[p].sum() == length
        if example is None:
            assert length == 0
            continue
        assert tokens[p, length - 1] == tokenizer.eos_ids[0]
        text = tokenizer.decode_rows(tokens[[p]], [length])
        assert text == [gold_completion(example, template="answer")]
