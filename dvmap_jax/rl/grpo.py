"""GRPO as arithmetic on arrays: advantages inside a group and the clipped loss."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

AGGREGATIONS = ("token-mean", "seq-mean-token-sum", "seq-mean-token-mean")
LOG_RATIO_LIMIT = 20.0  # verl core_algos.py: log ratios are clamped before exp
KL_LIMIT = 10.0  # verl core_algos.py: k3 estimates are clamped
EPSILON = 1e-8  # verl torch_functional.py: added to token counts


@dataclasses.dataclass(frozen=True)
class GRPOConfig:
    """Group size, advantage, clipping, KL and aggregation; defaults are the original's.

    Groups of equal rewards are drawn again up to `redraws` times: DAPO's dynamic sampling
    (arXiv:2503.14476, section 3.2) with the same prompts. Such a group has no gradient, so that a
    prompt's expected policy gradient keeps its direction and only grows, 1 + P + P^2 + ... times,
    P being how often its group is one. The KL penalty, the entropy bonus and the metrics are those
    of the groups that are kept.
    """

    group_size: int = 8
    normalize_by_std: bool = True
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float = 3.0
    kl_coef: float = 1e-3
    entropy_coef: float = 0.0
    aggregation: str = "token-mean"
    token_mean_scope: str = "update"  # "micro": a mean of micro-batches' means, as the original
    updates_per_rollout: int = 1
    mask_truncated: bool = False
    redraws: int = 0

    def __post_init__(self):
        if self.group_size < 2:
            raise ValueError(
                f"grpo.group_size is {self.group_size}; a group needs at least 2 completions"
            )
        if self.aggregation not in AGGREGATIONS:
            raise ValueError(
                f"grpo.aggregation is {self.aggregation!r}; it must be one of {AGGREGATIONS}"
            )
        if self.token_mean_scope not in ("update", "micro"):
            raise ValueError(
                f"grpo.token_mean_scope is {self.token_mean_scope!r}; use 'update' or 'micro'"
            )
        if self.kl_coef < 0 or self.clip_low < 0 or self.clip_high < 0 or self.dual_clip <= 1:
            raise ValueError(
                "grpo.kl_coef, clip_low and clip_high cannot be negative, dual_clip must exceed 1; "
                f"found {self.kl_coef}, {self.clip_low}, {self.clip_high}, {self.dual_clip}"
            )
        if self.updates_per_rollout < 1 or self.redraws < 0:
            raise ValueError(
                f"grpo.updates_per_rollout is {self.updates_per_rollout} and grpo.redraws "
                f"{self.redraws}; they must be at least 1 and 0"
            )


def group_advantages(
    rewards: Float[Array, "P G"], normalize_by_std: bool = True
) -> Float[Array, "P G"]:
    """Centres each reward on its own group and scales it by the group's spread.

    (r - mean) / (std + 1e-6) with std over G - 1, as verl and TRL (arXiv:2402.03300, eq. 3
    up to that); without `normalize_by_std` only centred (Dr. GRPO, arXiv:2503.20783). A
    group of one keeps its reward, as in verl.
    """
    rewards = jnp.asarray(rewards)
    if rewards.shape[-1] == 1:
        return rewards / (1 + 1e-6) if normalize_by_std else rewards
    shifted = rewards - rewards[..., :1]  # equal rewards become exact zeros, not rounding noise
    centred = shifted - shifted.mean(axis=-1, keepdims=True)
    if not normalize_by_std:
        return centred
    return centred / (centred.std(axis=-1, keepdims=True, ddof=1) + 1e-6)


def clipped_objective(
    policy: Float[Array, "B T"],
    old: Float[Array, "B T"],
    advantages: Float[Array, "B T"],
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float,
) -> tuple[Float[Array, "B T"], dict[str, Float[Array, "B T"]]]:
    """Loss of every token: PPO's pessimistic bound, itself bounded where advantage < 0.

    Dual clip is arXiv:1912.09729, eq. 5. The second value has per-token `clipfrac`,
    `clipfrac_lower` and `ppo_kl`.
    """
    log_ratio = jnp.clip(policy - old, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    ratio = jnp.exp(log_ratio)
    plain = -advantages * ratio
    clipped = -advantages * jnp.clip(ratio, 1 - clip_low, 1 + clip_high)
    pessimistic = jnp.maximum(plain, clipped)
    bounded = jnp.minimum(pessimistic, -advantages * dual_clip)
    negative = advantages < 0
    dtype = policy.dtype
    per_token = {
        "clipfrac": (clipped > plain).astype(dtype),
        "clipfrac_lower": ((pessimistic > -advantages * dual_clip) & negative).astype(dtype),
        "ppo_kl": -log_ratio,
    }
    return jnp.where(negative, bounded, pessimistic), per_token


def kl_penalty(policy: Float[Array, "B T"], reference: Float[Array, "B T"]) -> Float[Array, "B T"]:
    """The k3 estimate of KL(policy || reference), exp(d) - d - 1 with d = reference - policy.

    Schulman, "Approximating KL divergence" (2020); never negative, clamped as in verl.
    """
    gap = jnp.clip(reference - policy, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return jnp.clip(jnp.exp(gap) - gap - 1, -KL_LIMIT, KL_LIMIT)


def denominator(
    mask: Float[Array, "B T"], aggregation: str, axis: str | None = None
) -> Float[Array, ""]:
    """What sums of `aggregate` are divided by: all tokens, or all rows that have any.

    Rows on several devices of a pmap's `axis` are counted together.
    """
    tokens = aggregation == "token-mean"
    count = mask.sum() if tokens else mask.any(axis=-1).sum().astype(mask.dtype)
    count = count if axis is None else jax.lax.psum(count, axis)
    return count + EPSILON if tokens else jnp.maximum(count, 1)


def aggregate(
    values: Float[Array, "B T"],
    mask: Float[Array, "B T"],
    *,
    aggregation: str,
    total: Float[Array, ""],
) -> Float[Array, ""]:
    """Sum of masked values over `total`; parts of a batch add up when they share one total."""
    sums = (values * mask).sum(axis=-1)
    if aggregation == "seq-mean-token-mean":
        sums = sums / (mask.sum(axis=-1) + EPSILON)
    return sums.sum() / total


def grpo_loss(  # noqa: PLR0913  one flat signature that outside checks call
    policy_logprobs: Float[Array, "B T"],
    old_logprobs: Float[Array, "B T"],
    reference_logprobs: Float[Array, "B T"] | None,
    advantages: Float[Array, "B T"],
    mask: Float[Array, "B T"],
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float,
    kl_coef: float,
    aggregation: str,
    total: Float[Array, ""] | None = None,
    token_total: Float[Array, ""] | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Clipped policy loss plus `kl_coef` times the k3 penalty, over the tokens of the mask.

    `advantages` are already spread over tokens. `total` is the aggregation's denominator
    and `token_total` the metrics'; given for the whole update, losses and metrics of its
    micro-batches add up to those of the batch. `reference_logprobs` may be None when
    `kl_coef` is 0.
    """
    mask = mask.astype(policy_logprobs.dtype)
    total = denominator(mask, aggregation) if total is None else total
    token_total = mask.sum() + EPSILON if token_total is None else token_total
    losses, per_token = clipped_objective(
        policy_logprobs,
        old_logprobs,
        advantages,
        clip_low=clip_low,
        clip_high=clip_high,
        dual_clip=dual_clip,
    )
    pg_loss = aggregate(losses, mask, aggregation=aggregation, total=total)
    kl_loss = jnp.zeros_like(pg_loss)
    if reference_logprobs is not None:
        penalty = kl_penalty(policy_logprobs, reference_logprobs)
        kl_loss = aggregate(penalty, mask, aggregation=aggregation, total=total)
    metrics = {"pg_loss": pg_loss, "kl_loss": kl_loss} | {
        name: aggregate(values, mask, aggregation="token-mean", total=token_total)
        for name, values in per_token.items()
    }
    return pg_loss + kl_coef * kl_loss, jax.tree.map(jax.lax.stop_gradient, metrics)
