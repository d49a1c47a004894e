"""What an update minimises: the GRPO loss of rollouts, or how far answers are from people's."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dvmap_jax.config import RunConfig
from dvmap_jax.model.forest import forest_logprobs
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import branch_logprobs
from dvmap_jax.rl.distribution import (
    DistributionConfig,
    OptionsBatch,
    distribution_loss,
    option_scores,
    question_weights,
)
from dvmap_jax.rl.grpo import EPSILON, GRPOConfig, aggregate, denominator, grpo_loss
from dvmap_jax.rl.rollouts import BranchBatch, RolloutBatch


class Objective(NamedTuple):
    """A loss that is the sum of its micro-batches', under denominators which they share.

    `loss(params, micro-batch, totals)` gives the micro-batch's part of the loss and of metrics.
    `totals(micros, axis)` are the denominators of each, by name, [micro], of all micro-batches
    [micro, B, ...]; what is on several devices of an `axis` is counted together.
    """

    loss: Callable[..., tuple[jax.Array, dict[str, jax.Array]]]
    totals: Callable[..., dict[str, jax.Array]]


def objective_of(config: RunConfig, model: Transformer) -> Objective:
    """The objective a run's config names."""
    if config.objective == "distribution":
        return distribution_objective(model, config.distribution)
    if config.objective == "sft":
        return sft_objective(model)
    return grpo_objective(model, config.grpo, config.sampling.temperature)


def token_totals(micros: BranchBatch, axis: str | None, *, grpo: GRPOConfig) -> dict:
    """Denominators of losses and metrics of tokens.

    With `token_mean_scope="micro"` each has its own, times their number (the original).
    """
    mask = micros.mask
    count = mask.shape[0]
    flat = mask.reshape(count, -1, mask.shape[-1])
    counted = functools.partial(denominator, aggregation=grpo.aggregation, axis=axis)
    loss = jnp.broadcast_to(counted(flat.reshape(-1, mask.shape[-1])), (count,))
    if grpo.token_mean_scope == "micro":
        loss = count * jax.vmap(counted)(flat)
    tokens = _over_all(mask.sum(), axis)
    return {"loss": loss, "tokens": jnp.broadcast_to(tokens + EPSILON, (count,))}


def _over_all(total: jax.Array, axis: str | None) -> jax.Array:
    return total if axis is None else jax.lax.psum(total, axis)


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

    return Objective(objective, functools.partial(token_totals, grpo=config))


def sft_objective(model: Transformer) -> Objective:
    """Cross-entropy of the labelled completions, in nats a token."""

    def objective(params, batch: BranchBatch, totals):
        logprobs, entropy = branch_logprobs(model, params, batch.levels, batch.branches)
        loss = -(logprobs * batch.mask).sum() / totals["tokens"]
        entropies = (entropy * batch.mask).sum() / totals["tokens"]
        return loss, {"sft/loss": loss, "actor/entropy": entropies}

    return Objective(objective, functools.partial(token_totals, grpo=GRPOConfig()))


def distribution_objective(model: Transformer, config: DistributionConfig) -> Objective:
    """`distribution_loss` of a micro-batch's questions, a weighted mean over the update's."""

    def objective(params, batch: OptionsBatch, totals):
        logprobs = forest_logprobs(model, params, batch.levels, batch.forest)
        scores = option_scores(logprobs, batch.paths, batch.lengths)
        asked = batch.support > 0
        there = (batch.lengths > 0) | ~asked[..., None]  # padding is a question of equal options
        losses, terms = distribution_loss(scores, batch.shares, there, config=config)
        weights = question_weights(batch.support, config) / totals["questions"]
        best = jnp.where(there, scores, -jnp.inf).argmax(axis=-1) == batch.shares.argmax(axis=-1)
        measured = terms | {"loss": losses, "accuracy": best}
        metrics = {f"distribution/{name}": (x * weights).sum() for name, x in measured.items()}
        return (losses * weights).sum(), metrics

    def totals(micros: OptionsBatch, axis: str | None):
        whole = _over_all(question_weights(micros.support, config).sum(), axis)
        whole = jnp.where(whole > 0, whole, 1)
        return {"questions": jnp.broadcast_to(whole, micros.support.shape[:1])}

    return Objective(objective, totals)


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
