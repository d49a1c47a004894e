"""Where an objective's batches come from: sampled completions, or the examples' own answers."""

from collections.abc import Callable

import jax

from dvmap_jax.config import RunConfig
from dvmap_jax.data.batches import PromptBatch
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import branch_logprobs
from dvmap_jax.rl.rollouts import Rollouts, RolloutSampler, labelled_rollouts
from dvmap_jax.sharding import constrain_rows
from dvmap_jax.train.update import split_rows

BatchSource = Callable[..., Rollouts]


def batch_source(config: RunConfig, model: Transformer, tokenizer: Tokenizer) -> BatchSource:
    """`source(params, prompts, step=...) -> Rollouts` for the run's objective."""
    make = {"grpo": grpo_source, "sft": sft_source}[config.objective]
    return make(config, model, tokenizer)


def sft_source(config: RunConfig, model: Transformer, tokenizer: Tokenizer) -> BatchSource:
    """Every prompt with its consensus as the completion."""

    def source(params: dict, prompts: PromptBatch, *, step: int) -> Rollouts:
        return labelled_rollouts(prompts, tokenizer, template=config.data.template)

    return source


def grpo_source(config: RunConfig, model: Transformer, tokenizer: Tokenizer) -> BatchSource:
    """A group of sampled completions for every prompt.

    Where a batch serves several updates the old log-probabilities are those of the trainer
    before the first of them; where it serves one they are the policy's own.
    """
    sample = RolloutSampler(
        Transformer(model.config, config.compute, layout=config.mesh.decode),
        tokenizer,
        sampling=config.sampling,
        grpo=config.grpo,
        rewards=config.rewards,
        seed=config.seed,
    )
    if config.grpo.updates_per_rollout == 1:
        return sample
    score = old_scorer(config, model)

    def source(params: dict, prompts: PromptBatch, *, step: int) -> Rollouts:
        rollouts = sample(params, prompts, step=step)
        old = score(params, rollouts.batch.levels, rollouts.batch.branches)
        return rollouts.with_old_logprobs(old)

    return source


def old_scorer(config: RunConfig, model: Transformer):
    """`score(params, levels, branches) -> [B, M, R]`: the trainer's own log-probabilities."""

    @jax.jit
    def score(params, levels, branches):
        def one(rows):
            rows = jax.tree.map(constrain_rows, rows)
            return branch_logprobs(model, params, *rows, temperature=config.sampling.temperature)[0]

        logprobs = jax.lax.map(
            one, split_rows((levels, branches), config.optimizer.micro_batch_size)
        )
        return constrain_rows(logprobs.reshape(branches.tokens.shape))

    return score
