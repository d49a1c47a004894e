"""What an update minimises: the GRPO loss of rollouts, or the cross-entropy of labels."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dvmap_jax.config import RunConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import branch_logprobs
from dvmap_jax.rl.grpo import GRPOConfig, aggregate, grpo_loss
from dvmap_jax.rl.rollouts import BranchBatch, RolloutBatch

# (params, micro-batch, denominators) -> (its share of the loss, its share of metrics)
Objective = Callable[..., tuple[jax.Array, dict[str, jax.Array]]]


def objective_of(config: RunConfig, model: Transformer) -> Objective:
    """The objective a run's config names."""
    if config.objective == "sft":
        return sft_objective(model)
    return grpo_objective(model, config.grpo, config.sampling.temperature)


def grpo_objective(model: Transformer, config: GRPOConfig, temperature: float) -> Objective:
    """The GRPO loss of a micro-batch, as its share of the whole update's loss."""

    def objective(params, batch: RolloutBatch, totals):
        scored = (batch.levels, batch.branches)
        logprobs, entropy = branch_logprobs(model, params, *scored, temperature=temperature)
        known = batch.reference_logprobs
        if known is None and config.kl_coef:
            raise ValueError("grpo.kl_coef is not 0, and the batch has no reference_logprobs")
        old = batch.old_logprobs
        if old is None:  # the first update after sampling: the policy is the old policy
            old = jax.lax.stop_gradient(logprobs)
        mask = rows(batch.mask)
        loss, terms = grpo_loss(
            rows(logprobs),
            rows(old),
            None if known is None else rows(known),
            jnp.broadcast_to(batch.advantages.reshape(-1, 1), mask.shape),
            mask,
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            dual_clip=config.dual_clip,
            kl_coef=config.kl_coef,
            aggregation=config.aggregation,
            total=totals["loss"],
            token_total=totals["tokens"],
        )
        bonus = aggregate(rows(entropy), mask, aggregation=config.aggregation, total=totals["loss"])
        metrics = loss_metrics(terms) | sampler_gap(logprobs, batch, totals["tokens"])
        metrics["actor/entropy"] = (rows(entropy) * mask).sum() / totals["tokens"]
        return loss - config.entropy_coef * bonus, metrics

    return objective


def sft_objective(model: Transformer) -> Objective:
    """Cross-entropy of the labelled completions, in nats a token."""

    def objective(params, batch: BranchBatch, totals):
        logprobs, entropy = branch_logprobs(model, params, batch.levels, batch.branches)
        loss = -(logprobs * batch.mask).sum() / totals["tokens"]
        entropies = (entropy * batch.mask).sum() / totals["tokens"]
        return loss, {"sft/loss": loss, "actor/entropy": entropies}

    return objective


def loss_metrics(terms: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The loss's parts under the names verl logs them by."""
    return {
        "actor/pg_loss": terms["pg_loss"],
        "actor/kl_loss": terms["kl_loss"],
        "actor/ppo_kl": terms["ppo_kl"],
        "actor/pg_clipfrac": terms["clipfrac"],
        "actor/pg_clipfrac_lower": terms["clipfrac_lower"],
    }


def sampler_gap(logprobs: jax.Array, batch: RolloutBatch, tokens: jax.Array):
    """How far the sampler's log-probabilities are from the trainer's: mean and largest."""
    gap = jnp.abs(jax.lax.stop_gradient(logprobs) - batch.sampler_logprobs) * batch.mask
    return {"sampler_gap/mean": gap.sum() / tokens, "sampler_gap/max": gap.max()}


def rows(x: jax.Array) -> jax.Array:
    """Roots and branches as one axis: [B, M, R] -> [B * M, R]."""
    return x.reshape(-1, x.shape[-1])
