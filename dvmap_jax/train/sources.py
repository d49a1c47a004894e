"""Where an objective's batches come from: sampled completions, or the examples' own answers."""

from collections.abc import Callable

import jax

from dvmap_jax.config import RunConfig
from dvmap_jax.data.batches import PromptBatch
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import branch_logprobs
from dvmap_jax.rl.rollouts import Rollouts, RolloutSampler, Sweeps, labelled_rollouts
from dvmap_jax.sharding import constrain_rows, divided_into
from dvmap_jax.train.micro import roots_at_a_time, split_rows

BatchSource = Callable[..., Rollouts]


def batch_source(config: RunConfig, model: Transformer, tokenizer: Tokenizer) -> BatchSource:
    """`source(params, prompts, step=..., reference=...) -> Rollouts` for the run's objective."""
    make = {"grpo": grpo_source, "sft": sft_source}[config.objective]
    return make(config, model, tokenizer)


def sft_source(config: RunConfig, model: Transformer, tokenizer: Tokenizer) -> BatchSource:
    """Every prompt with its consensus as the completion."""

    def source(params: dict, prompts: PromptBatch, *, step: int, reference=None) -> Rollouts:
        return labelled_rollouts(prompts, tokenizer, template=config.data.template)

    return source


def grpo_source(config: RunConfig, model: Transformer, tokenizer: Tokenizer) -> BatchSource:
    """A group of sampled completions for every prompt, scored while the host rewards them.

    Where a batch serves several updates the old log-probabilities are those of the trainer
    before the first of them; where it serves one they are the policy's own. The reference's are
    there where there is one.
    """
    sample = RolloutSampler(
        Transformer(model.config, config.compute, layout=config.mesh.decode),
        tokenizer,
        sampling=config.sampling,
        grpo=config.grpo,
        rewards=config.rewards,
        seed=config.seed,
        packing=config.optimizer.packing,
    )
    score = branch_scorer(config, model)
    several = config.grpo.updates_per_rollout > 1

    def source(params: dict, prompts: PromptBatch, *, step: int, reference=None) -> Rollouts:
        def sweeps(levels, branches) -> Sweeps:
            return Sweeps(
                old_logprobs=score(params, levels, branches) if several else None,
                reference_logprobs=score(reference, levels, branches)
                if reference is not None
                else None,
            )

        return sample(params, prompts, step=step, sweeps=sweeps)

    return source


def branch_scorer(config: RunConfig, model: Transformer):
    """`score(params, levels, branches) -> [B, M, R]`: log-probabilities as the update has them.

    The old ones with the policy's parameters before an update, the reference's with its own.
    """
    optimizer, updates = config.optimizer, config.grpo.updates_per_rollout

    @jax.jit
    def score(params, levels, branches):
        def one(rows):
            rows = jax.tree.map(constrain_rows, rows)
            return branch_logprobs(model, params, *rows, temperature=config.sampling.temperature)[0]

        tree = (*levels, branches)
        share = branches.tokens.shape[0] // updates
        parts = divided_into("batch", "update")
        size = roots_at_a_time(optimizer, share, tree=tree, parts=parts)
        logprobs = jax.lax.map(one, split_rows((levels, branches), size))
        return constrain_rows(logprobs.reshape(-1, *logprobs.shape[2:]))

    return score
