"""Rollouts: prompts in; completions, rewards, advantages and what the update needs out."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from dvmap_jax.data.batches import PromptBatch
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.data.trees import bucket, pad_rows
from dvmap_jax.model.decode import Completions, make_decoder
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level
from dvmap_jax.rl.grpo import GRPOConfig, group_advantages
from dvmap_jax.rl.rewards import RewardConfig, reward_terms
from dvmap_jax.survey.corpus import Example
from dvmap_jax.survey.prompts import gold_completion


@struct.dataclass
class BranchBatch:
    """A trunk and its branches, with the branch tokens that count."""

    levels: tuple[Level, ...]
    branches: Level
    mask: Float[Array, "B M R"]


@struct.dataclass
class RolloutBatch(BranchBatch):
    """Sampled branches with what the sampler thought of them and what they earned."""

    advantages: Float[Array, "B M"]
    sampler_logprobs: Float[Array, "B M R"]
    old_logprobs: Float[Array, "B M R"] | None = None


@dataclasses.dataclass(frozen=True)
class Rollouts:
    """One step's batch: arrays for the update, and texts and numbers for people.

    `completions` and `rewards` [P, G] have a row for each of `examples`; labelled completions
    have no rewards.
    """

    batch: BranchBatch
    examples: tuple[Example | None, ...]
    completions: tuple[tuple[str, ...], ...]
    rewards: np.ndarray | None
    metrics: dict[str, float]

    @property
    def num_tokens(self) -> int:
        """Tokens computed: every level's once, which is what the tree costs."""
        return int(sum(level.lengths.sum() for level in (*self.batch.levels, self.batch.branches)))

    def samples(self, count: int) -> list[dict]:
        """The first completion of the first prompts, as rows of plain values."""
        rows = []
        for p, example in enumerate(self.examples):
            if example is None or len(rows) == count:
                continue
            row = {"question_id": example.question_id, "archetype": example.archetype}
            row |= {"answer": example.answer, "completion": self.completions[p][0]}
            reward = None if self.rewards is None else float(self.rewards[p, 0])
            rows.append(row | {"reward": reward})
        return rows

    def with_old_logprobs(self, logprobs: Float[Array, "B M R"]) -> "Rollouts":
        """The same rollouts with the log-probabilities that ratios are taken against."""
        return dataclasses.replace(self, batch=self.batch.replace(old_logprobs=logprobs))


class RolloutSampler:
    """Draws a group of completions for each prompt and rewards them."""

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        *,
        sampling: SamplingConfig,
        grpo: GRPOConfig,
        rewards: RewardConfig,
        seed: int,
    ):
        self.tokenizer, self.sampling, self.grpo, self.rewards = tokenizer, sampling, grpo, rewards
        self._key = jax.random.fold_in(jax.random.key(seed), 1)  # 1: the purpose "rollout"
        self._decode = make_decoder(model, eos_ids=tokenizer.eos_ids, sampling=sampling)

    def __call__(self, params: dict, prompts: PromptBatch, *, step: int) -> Rollouts:
        """Rollouts of every prompt; draws depend on seed, step and global row alone."""
        group = self.grpo.group_size
        rows = prompts.rows[..., None] * group + np.arange(group, dtype=np.int32)
        levels = tuple(Level(*level) for level in prompts.levels)
        key = jax.random.fold_in(self._key, step)
        drawn = self._decode(params, levels, rows.reshape(rows.shape[0], -1), key)
        drawn = jax.tree.map(np.asarray, drawn)
        texts = completion_texts(drawn, self.tokenizer, group)
        rewards, terms = self._reward(prompts.examples, texts)
        batch = self._batch(levels, drawn, rewards)
        present = np.asarray([example is not None for example in prompts.examples])
        metrics = rollout_metrics(drawn, rewards[present], terms) | prompt_metrics(prompts)
        return Rollouts(batch, prompts.examples, texts, rewards, metrics)

    def _reward(self, examples, texts):
        """Rewards [P, G], and every term's values over the completions that are not padding."""
        rewards = np.zeros((len(examples), self.grpo.group_size), np.float32)
        terms: dict[str, list[float]] = {}
        for p, example in enumerate(examples):
            for g, text in enumerate(texts[p] if example else ()):
                named = reward_terms(text, example, self.rewards)
                rewards[p, g] = sum(named.values())
                for name, value in named.items():
                    terms.setdefault(name, []).append(value)
        return rewards, terms

    def _batch(self, levels, drawn: Completions, rewards) -> RolloutBatch:
        size = min(bucket(int(drawn.lengths.max(initial=1))), drawn.tokens.shape[-1])
        dropped = ~drawn.ended & self.grpo.mask_truncated
        counted = np.where(dropped, 0, drawn.lengths)
        advantages = group_advantages(rewards, self.grpo.normalize_by_std)
        return RolloutBatch(
            levels=levels,
            branches=Level(drawn.tokens[..., :size], drawn.lengths),
            mask=(np.arange(size) < counted[..., None]).astype(np.float32),
            advantages=np.asarray(advantages).reshape(drawn.lengths.shape),
            sampler_logprobs=drawn.logprobs[..., :size],
        )


def completion_texts(
    drawn: Completions, tokenizer: Tokenizer, group: int
) -> tuple[tuple[str, ...], ...]:
    """Texts of the completions of each prompt, special tokens left out."""
    tokens = drawn.tokens.reshape(-1, group, drawn.tokens.shape[-1])
    lengths = drawn.lengths.reshape(-1, group)
    return tuple(tuple(tokenizer.decode_rows(*rows)) for rows in zip(tokens, lengths, strict=True))


def rollout_metrics(
    drawn: Completions, rewards: np.ndarray, terms: dict[str, Sequence[float]]
) -> dict[str, float]:
    """Reward, its terms and lengths, under the names verl and TRL use."""
    real = drawn.lengths > 0
    lengths = drawn.lengths[real]
    metrics = {
        "critic/rewards/mean": rewards.mean(),
        "critic/rewards/max": rewards.max(),
        "critic/rewards/min": rewards.min(),
        "reward_std": rewards.std(axis=-1).mean(),
        "frac_reward_zero_std": (np.ptp(rewards, axis=-1) == 0).mean(),
        "response_length/mean": lengths.mean(),
        "response_length/max": lengths.max(),
        "response_length/min": lengths.min(),
        "response_length/clip_ratio": 1 - drawn.ended[real].mean(),
    }
    metrics |= {f"reward/{name}": np.mean(values) for name, values in sorted(terms.items())}
    return {name: float(value) for name, value in metrics.items()}


def prompt_metrics(prompts: PromptBatch) -> dict[str, float]:
    """Token counts of the prompts; what an archetype's questions share counts for each."""
    last = prompts.levels[-1].lengths
    totals = sum(level.lengths for level in prompts.levels)[last > 0]
    return {
        "prompt_length/mean": float(totals.mean()),
        "prompt_length/max": float(totals.max()),
        "prompt_length/min": float(totals.min()),
    }


def labelled_rollouts(prompts: PromptBatch, tokenizer: Tokenizer, *, template: str) -> Rollouts:
    """Each prompt with its consensus as the one completion, for supervised warm starts."""
    present = [example for example in prompts.examples if example is not None]
    texts = [gold_completion(example, template=template) for example in present]
    labelled = iter(zip(texts, tokenizer.encode_batch(texts), strict=True))
    rows, completions = [], []
    for example in prompts.examples:
        text, tokens = next(labelled) if example is not None else ("", [])
        rows.append([*tokens, *tokenizer.eos_ids[:1]] if tokens else [])
        completions.append((text,))
    size = bucket(max(len(row) for row in rows))
    branches = Level(*pad_rows(rows, (*prompts.levels[-1].lengths.shape, size)))
    batch = BranchBatch(
        levels=tuple(Level(*level) for level in prompts.levels),
        branches=branches,
        mask=(np.arange(size) < branches.lengths[..., None]).astype(np.float32),
    )
    return Rollouts(batch, prompts.examples, tuple(completions), None, prompt_metrics(prompts))
