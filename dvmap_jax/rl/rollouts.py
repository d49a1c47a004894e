"""Rollouts: prompts in; completions, rewards, advantages and what the update needs out."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from dvmap_jax.data.batches import PromptBatch
from dvmap_jax.data.packing import pack_rows, rows_needed
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.data.trees import bucket, pad_rows
from dvmap_jax.model.decode import Completions, make_decoder
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level, PackedLevel
from dvmap_jax.processes import exchange
from dvmap_jax.rl.group_rewards import rewards_of
from dvmap_jax.rl.grpo import GRPOConfig, group_advantages
from dvmap_jax.rl.rewards import RewardConfig
from dvmap_jax.sharding import put_own_rows, read_own_rows, read_rows
from dvmap_jax.survey.corpus import Example
from dvmap_jax.survey.prompts import gold_completion


@struct.dataclass
class BranchBatch:
    """A trunk and its branches, packed or not, with the branch tokens that count, one to a row."""

    levels: tuple[Level, ...]
    branches: Level | PackedLevel
    mask: Float[Array, "B M R"]

    @property
    def tree(self) -> tuple[Level | PackedLevel, ...]:
        """All levels, as they are computed."""
        return (*self.levels, self.branches)


@struct.dataclass
class RolloutBatch(BranchBatch):
    """Sampled branches with what the sampler thought of them and what they earned."""

    advantages: Float[Array, "B M"]
    sampler_logprobs: Float[Array, "B M R"]
    old_logprobs: Float[Array, "B M R"] | None = None
    reference_logprobs: Float[Array, "B M R"] | None = None


class Sweeps(NamedTuple):
    """Log-probabilities of sampled branches under parameters that the update does not change."""

    old_logprobs: Float[Array, "B M R"] | None = None
    reference_logprobs: Float[Array, "B M R"] | None = None


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
        packing: bool = True,
    ):
        self.tokenizer, self.grpo, self.rewards, self.packing = tokenizer, grpo, rewards, packing
        self.max_tokens = sampling.max_tokens
        self._key = jax.random.fold_in(jax.random.key(seed), 1)  # 1: the purpose "rollout"
        self._redraw_key = jax.random.fold_in(jax.random.key(seed), 3)  # 3: the purpose "redraw"
        self.decode = make_decoder(model, eos_ids=tokenizer.eos_ids, sampling=sampling)

    def __call__(
        self,
        params: dict,
        prompts: PromptBatch,
        *,
        step: int,
        sweeps: Callable[..., Sweeps] = lambda levels, branches: Sweeps(),
    ) -> Rollouts:
        """Rollouts of every prompt; draws depend on seed, step and global row alone.

        Each process turns its own rows into text and rewards them, while the devices compute what
        `sweeps` asks of the branches.
        """
        group, roots = self.grpo.group_size, prompts.num_roots
        rows = prompts.rows[..., None] * group + np.arange(group, dtype=np.int32)
        levels = put_own_rows(tuple(Level(*level) for level in prompts.levels), roots)
        key = jax.random.fold_in(self._key, step)
        rows = put_own_rows(rows.reshape(rows.shape[0], -1), roots)
        drawn = read_own_rows(self.decode(params, levels, rows, key))
        drawn, again = self._redrawn(params, prompts, drawn, step=step, placed=(levels, rows))
        told = read_rows(put_own_rows(_sizes(prompts, drawn), roots))
        branches, mask = self._branches(drawn, told)
        branches = put_own_rows(branches, roots)
        known = sweeps(levels, branches)
        texts = completion_texts(drawn, self.tokenizer, group)
        rewards, terms = self._reward(prompts.examples, texts)
        told |= read_rows(put_own_rows(_earned(len(drawn.lengths), rewards, terms), roots))
        advantages = group_advantages(rewards, self.grpo.normalize_by_std)
        own = {"mask": mask, "sampler_logprobs": drawn.logprobs}
        own |= {"advantages": np.asarray(advantages).reshape(drawn.lengths.shape)}
        return Rollouts(
            batch=RolloutBatch(levels, branches, **put_own_rows(own, roots), **known._asdict()),
            examples=prompts.examples,
            rows=prompts.rows.reshape(-1),
            completions=texts,
            rewards=rewards,
            metrics=rollout_metrics(told, group, again) | prompt_metrics(told["prompts"]),
            num_tokens=int(told["lengths"].sum()) + num_prompt_tokens(told["prompts"]),
        )

    def _redrawn(
        self, params: dict, prompts: PromptBatch, drawn: Completions, *, step: int, placed: tuple
    ) -> tuple[Completions, list[int]]:
        """This process's draws with groups of equal rewards drawn again, and how many at a time.

        `placed` are the levels and rows that were drawn from. A prompt that is not drawn for again
        has no tokens meanwhile, so that its branches end at once. Processes go on together, as
        long as any of them has such a group.
        """
        (*trunk, last), rows = placed
        key = jax.random.fold_in(self._redraw_key, step)
        examples, latest, numbers = prompts.examples, drawn, []
        for attempt in range(self.grpo.redraws):
            again = self._equal(examples, latest).reshape(prompts.rows.shape)
            numbers.append(int(read_rows(put_own_rows(again, prompts.num_roots)).sum()))
            if not numbers[-1]:
                break
            lengths = np.where(again, prompts.levels[-1].lengths, 0)
            last = last._replace(lengths=put_own_rows(lengths, prompts.num_roots))
            attempt_key = jax.random.fold_in(key, attempt)
            latest = read_own_rows(self.decode(params, (*trunk, last), rows, attempt_key))
            drawn = _replaced(drawn, latest, np.repeat(again, self.grpo.group_size, axis=-1))
            examples = [e if a else None for e, a in zip(examples, again.flat, strict=True)]
        return drawn, numbers

    def _equal(self, examples, drawn: Completions) -> np.ndarray:
        """Which groups of this process earn the same throughout, [P]; those of padding do not."""
        texts = completion_texts(drawn, self.tokenizer, self.grpo.group_size)
        rewards, _ = self._reward(examples, texts)
        real = np.asarray([example is not None for example in examples])
        return (np.ptp(rewards, axis=-1) == 0) & real

    def _reward(self, examples, texts):
        """Rewards [P, G] and named numbers behind them; those of padding are no numbers."""
        shape = len(examples), self.grpo.group_size
        rewards, terms = np.zeros(shape, np.float32), {}
        for p, example in enumerate(examples):
            if example is None:
                continue
            rewards[p], named = rewards_of(texts[p], example, self.rewards)
            for name, values in named.items():
                terms.setdefault(name, np.full(shape, np.nan))[p] = values
        return rewards, terms

    def _branches(self, drawn: Completions, told: dict) -> tuple[Level | PackedLevel, np.ndarray]:
        """This process's branches, of a shape that all processes come to, and their mask."""
        group, size = self.grpo.group_size, drawn.tokens.shape[-1]
        counted = self._counted(told["lengths"], told["ended"]).reshape(-1, group)
        rows = rows_needed(counted, size) if self.packing else 0
        own = self._counted(drawn.lengths, drawn.ended)
        mask = (np.arange(size) < own[..., None]).astype(np.float32)
        if rows:
            return PackedLevel(*pack_rows(drawn.tokens, own, group=group, rows=rows)), mask
        return Level(drawn.tokens, drawn.lengths), mask

    def _counted(self, lengths: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """Tokens of each branch that the loss counts."""
        return np.where(~ended & self.grpo.mask_truncated, 0, lengths)


def _sizes(prompts: PromptBatch, drawn: Completions) -> dict:
    """What processes tell one another of the tokens of their rows: numbers [B, ...] by name."""
    return {
        "lengths": drawn.lengths,
        "ended": drawn.ended,
        "present": np.asarray([example is not None for example in prompts.examples]).reshape(
            len(drawn.lengths), -1
        ),
        "prompts": tuple(level.lengths for level in prompts.levels),
    }


def _earned(roots: int, rewards: np.ndarray, terms: dict[str, np.ndarray]) -> dict:
    """What processes tell one another of what their rows earned: numbers [B, ...] by name."""
    terms = {name: values.reshape(roots, -1) for name, values in terms.items()}
    return {"rewards": rewards.reshape(roots, -1), "terms": terms}


def _replaced(drawn: Completions, latest: Completions, again: np.ndarray) -> Completions:
    """The draws, with the latest in place of the branches `again` [B, M]."""

    def replaced(old, new):
        return np.where(again.reshape(*again.shape, *(1,) * (new.ndim - 2)), new, old)

    return jax.tree.map(replaced, drawn, latest)


def completion_texts(
    drawn: Completions, tokenizer: Tokenizer, group: int
) -> tuple[tuple[str, ...], ...]:
    """Texts of the completions of each prompt, special tokens left out."""
    tokens = drawn.tokens.reshape(-1, group, drawn.tokens.shape[-1])
    lengths = drawn.lengths.reshape(-1, group)
    return tuple(tuple(tokenizer.decode_rows(*rows)) for rows in zip(tokens, lengths, strict=True))


def rollout_metrics(told: dict, group: int, again: Sequence[int] = ()) -> dict[str, float]:
    """Reward, its terms and lengths over all processes, under the names verl and TRL use.

    `again` counts the groups drawn again, time after time; `redrawn/groups` is their share and
    `redrawn/times` how often there were any. `frac_reward_zero_std` is what is left of them.
    """
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
    if again:
        times = np.count_nonzero(again)
        metrics |= {"redrawn/groups": again[0] / len(rewards), "redrawn/times": times}
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
