"""Rollouts: prompts in; completions, rewards, advantages and what the update needs out."""

import dataclasses
import json

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
from dvmap_jax.processes import exchange
from dvmap_jax.rl.grpo import GRPOConfig, group_advantages
from dvmap_jax.rl.rewards import RewardConfig, reward_terms
from dvmap_jax.sharding import put_own_rows, read_own_rows, read_rows
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

    `batch`, `metrics` and `num_tokens` are of all processes. `completions` and `rewards` [P, G]
    have a row for each of this process's `examples`, whose numbers in the batch are `rows`;
    labelled completions have no rewards. `num_tokens` counts every level's tokens once, which is
    what the tree costs.
    """

    batch: BranchBatch
    examples: tuple[Example | None, ...]
    rows: np.ndarray
    completions: tuple[tuple[str, ...], ...]
    rewards: np.ndarray | None
    metrics: dict[str, float]
    num_tokens: int

    def samples(self, count: int) -> list[dict]:
        """The first completion of the first prompts, as rows of plain values, in all processes."""
        rows = {}
        for p, example in enumerate(self.examples):
            if example is None or len(rows) == count:
                continue
            row = {"question_id": example.question_id, "archetype": example.archetype}
            row |= {"answer": example.answer, "completion": self.completions[p][0]}
            reward = None if self.rewards is None else float(self.rewards[p, 0])
            rows[int(self.rows[p])] = row | {"reward": reward}
        found = [dict(json.loads(text)) for text in exchange(json.dumps(list(rows.items())))]
        whole = {number: row for rows in found for number, row in rows.items()}
        return [whole[number] for number in sorted(whole)[:count]]

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
        self.decode = make_decoder(model, eos_ids=tokenizer.eos_ids, sampling=sampling)

    def __call__(self, params: dict, prompts: PromptBatch, *, step: int) -> Rollouts:
        """Rollouts of every prompt; draws depend on seed, step and global row alone.

        Each process turns its own rows into text and rewards them.
        """
        group, roots = self.grpo.group_size, prompts.num_roots
        rows = prompts.rows[..., None] * group + np.arange(group, dtype=np.int32)
        levels = put_own_rows(tuple(Level(*level) for level in prompts.levels), roots)
        key = jax.random.fold_in(self._key, step)
        rows = put_own_rows(rows.reshape(rows.shape[0], -1), roots)
        drawn = read_own_rows(self.decode(params, levels, rows, key))
        texts = completion_texts(drawn, self.tokenizer, group)
        rewards, terms = self._reward(prompts.examples, texts)
        told = read_rows(put_own_rows(_told(prompts, drawn, rewards, terms), roots))
        return Rollouts(
            batch=self._batch(levels, drawn, rewards, told, roots),
            examples=prompts.examples,
            rows=prompts.rows.reshape(-1),
            completions=texts,
            rewards=rewards,
            metrics=rollout_metrics(told, group) | prompt_metrics(told["prompts"]),
            num_tokens=int(told["lengths"].sum()) + num_prompt_tokens(told["prompts"]),
        )

    def _reward(self, examples, texts):
        """Rewards [P, G] and every term of them; those of padding are no numbers."""
        shape = len(examples), self.grpo.group_size
        rewards, terms = np.zeros(shape, np.float32), {}
        for p, example in enumerate(examples):
            for g, text in enumerate(texts[p] if example else ()):
                named = reward_terms(text, example, self.rewards)
                rewards[p, g] = sum(named.values())
                for name, value in named.items():
                    terms.setdefault(name, np.full(shape, np.nan))[p, g] = value
        return rewards, terms

    def _batch(self, levels, drawn: Completions, rewards, told, roots) -> RolloutBatch:
        longest = int(told["lengths"].max(initial=1))
        size = min(bucket(longest), drawn.tokens.shape[-1])
        dropped = ~drawn.ended & self.grpo.mask_truncated
        counted = np.where(dropped, 0, drawn.lengths)
        advantages = group_advantages(rewards, self.grpo.normalize_by_std)
        batch = RolloutBatch(
            levels=(),
            branches=Level(drawn.tokens[..., :size], drawn.lengths),
            mask=(np.arange(size) < counted[..., None]).astype(np.float32),
            advantages=np.asarray(advantages).reshape(drawn.lengths.shape),
            sampler_logprobs=drawn.logprobs[..., :size],
        )
        return put_own_rows(batch, roots).replace(levels=levels)


def _told(prompts: PromptBatch, drawn: Completions, rewards, terms) -> dict:
    """What processes tell one another of their rows: numbers [B, ...] by name, no texts."""
    roots = len(drawn.lengths)
    return {
        "rewards": rewards.reshape(roots, -1),
        "terms": {name: values.reshape(roots, -1) for name, values in terms.items()},
        "lengths": drawn.lengths,
        "ended": drawn.ended,
        "present": np.asarray([e is not None for e in prompts.examples]).reshape(roots, -1),
        "prompts": tuple(level.lengths for level in prompts.levels),
    }


def completion_texts(
    drawn: Completions, tokenizer: Tokenizer, group: int
) -> tuple[tuple[str, ...], ...]:
    """Texts of the completions of each prompt, special tokens left out."""
    tokens = drawn.tokens.reshape(-1, group, drawn.tokens.shape[-1])
    lengths = drawn.lengths.reshape(-1, group)
    return tuple(tuple(tokenizer.decode_rows(*rows)) for rows in zip(tokens, lengths, strict=True))


def rollout_metrics(told: dict, group: int) -> dict[str, float]:
    """Reward, its terms and lengths over all processes, under the names verl and TRL use."""
    rewards = told["rewards"].reshape(-1, group)[told["present"].reshape(-1)]
    real = told["lengths"] > 0
    lengths = told["lengths"][real]
    metrics = {
        "critic/rewards/mean": rewards.mean(),
        "critic/rewards/max": rewards.max(),
        "critic/rewards/min": rewards.min(),
        "reward_std": rewards.std(axis=-1).mean(),
        "frac_reward_zero_std": (np.ptp(rewards, axis=-1) == 0).mean(),
        "response_length/mean": lengths.mean(),
        "response_length/max": lengths.max(),
        "response_length/min": lengths.min(),
        "response_length/clip_ratio": 1 - told["ended"][real].mean(),
    }
    terms = sorted(told["terms"].items())
    metrics |= {f"reward/{name}": np.nanmean(values) for name, values in terms}
    return {name: float(value) for name, value in metrics.items()}


def prompt_metrics(lengths: tuple[np.ndarray, ...]) -> dict[str, float]:
    """Token counts of prompts with levels of these lengths; a shared part counts for each."""
    totals = sum(lengths)[lengths[-1] > 0]
    return {
        "prompt_length/mean": float(totals.mean()),
        "prompt_length/max": float(totals.max()),
        "prompt_length/min": float(totals.min()),
    }


def num_prompt_tokens(lengths: tuple[np.ndarray, ...]) -> int:
    """Tokens of prompts with levels of these lengths; a shared part counts once."""
    return int(sum(level.sum() for level in lengths))


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
    shape, roots = prompts.levels[-1].lengths.shape, prompts.num_roots
    lengths = np.asarray([len(row) for row in rows], np.int32).reshape(shape)
    own = {"lengths": lengths, "prompts": tuple(level.lengths for level in prompts.levels)}
    told = read_rows(put_own_rows(own, roots))
    size = bucket(int(told["lengths"].max()))
    batch = BranchBatch(
        levels=tuple(Level(*level) for level in prompts.levels),
        branches=Level(*pad_rows(rows, (*shape, size))),
        mask=(np.arange(size) < lengths[..., None]).astype(np.float32),
    )
    return Rollouts(
        batch=put_own_rows(batch, roots),
        examples=prompts.examples,
        rows=prompts.rows.reshape(-1),
        completions=tuple(completions),
        rewards=None,
        metrics=prompt_metrics(told["prompts"]),
        num_tokens=int(told["lengths"].sum()) + num_prompt_tokens(told["prompts"]),
    )
