"""Where an objective's batches come from: sampled completions, or the examples' own answers."""

from collections.abc import Sequence
from typing import Any

import jax

from dvmap_jax.config import RunConfig
from dvmap_jax.data.batches import PromptBatch
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.data.trees import bucket
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import branch_logprobs
from dvmap_jax.rl.rollouts import Rollouts, RolloutSampler, labelled_rollouts
from dvmap_jax.sharding import constrain_rows, row_sharding
from dvmap_jax.survey.corpus import Example
from dvmap_jax.survey.prompts import gold_completion
from dvmap_jax.train.update import split_rows

ROLLOUT, OLD = "rollout", "old log-probabilities"  # names of programs


def batch_source(config: RunConfig, model: Transformer, tokenizer: Tokenizer) -> "BatchSource":
    """`source(params, prompts, step=...) -> Rollouts` for the run's objective.

    Its `functions` are those it compiles, by the names that the run's programs have.
    """
    make = {"grpo": GrpoSource, "sft": SftSource}[config.objective]
    return make(config, model, tokenizer)


class SftSource:
    """Every prompt with its consensus as the completion."""

    def __init__(self, config: RunConfig, model: Transformer, tokenizer: Tokenizer):
        self.tokenizer, self.template = tokenizer, config.data.template
        self.functions: dict[str, Any] = {}

    def __call__(self, params: dict, prompts: PromptBatch, *, step: int) -> Rollouts:
        """The batch of these prompts, whatever the parameters and the step."""
        return labelled_rollouts(prompts, self.tokenizer, template=self.template)

    def longest(self, examples: Sequence[Example]) -> int:
        """Tokens that the longest completion of these examples is padded to."""
        texts = {gold_completion(example, template=self.template) for example in examples}
        rows = self.tokenizer.encode_batch(sorted(texts))
        return bucket(max(len(row) for row in rows) + len(self.tokenizer.eos_ids[:1]))


class GrpoSource:
    """A group of sampled completions for every prompt.

    Where a batch serves several updates the old log-probabilities are those of the trainer
    before the first of them; where it serves one they are the policy's own.
    """

    def __init__(self, config: RunConfig, model: Transformer, tokenizer: Tokenizer):
        self._sample = RolloutSampler(
            Transformer(model.config, config.compute, layout=config.mesh.decode),
            tokenizer,
            sampling=config.sampling,
            grpo=config.grpo,
            rewards=config.rewards,
            seed=config.seed,
        )
        self.functions = {ROLLOUT: self._sample.decode}
        self._score = None
        if config.grpo.updates_per_rollout > 1:
            self.functions[OLD] = self._score = old_scorer(config, model)

    def __call__(self, params: dict, prompts: PromptBatch, *, step: int) -> Rollouts:
        """The batch of these prompts, drawn with these parameters."""
        rollouts = self._sample(params, prompts, step=step)
        if self._score is None:
            return rollouts
        old = self._score(params, rollouts.batch.levels, rollouts.batch.branches)
        return rollouts.with_old_logprobs(old)

    def longest(self, examples: Sequence[Example]) -> int:
        """Tokens that the longest completion is padded to."""
        return completion_size(self._sample.sampling)


def completion_size(sampling: SamplingConfig) -> int:
    """Tokens that the longest sampled completion is padded to."""
    return min(bucket(sampling.max_tokens), sampling.max_tokens)


BatchSource = SftSource | GrpoSource


def old_scorer(config: RunConfig, model: Transformer):
    """`score(params, levels, branches) -> [B, M, R]`: the trainer's own log-probabilities."""

    def score(params, levels, branches):
        def one(rows):
            rows = jax.tree.map(constrain_rows, rows)
            return branch_logprobs(model, params, *rows, temperature=config.sampling.temperature)[0]

        logprobs = jax.lax.map(
            one, split_rows((levels, branches), config.optimizer.micro_batch_size)
        )
        return constrain_rows(logprobs.reshape(branches.tokens.shape))

    # Said outright, since the compiler may call the same division by another name.
    mesh = jax.sharding.get_mesh()
    return jax.jit(score, out_shardings=None if mesh.empty else row_sharding(mesh))
