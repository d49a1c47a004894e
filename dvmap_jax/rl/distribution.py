"""Learning whole distributions: log-probabilities of options and people's shares in, losses out."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from dvmap_jax.model.tree import Forest, Level

WEIGHTS = ("alike", "respondents")


@dataclasses.dataclass(frozen=True)
class DistributionConfig:
    """Weights of the terms of `distribution_losses`, and what questions of an archetype weigh.

    `mass` keeps probability on readable completions, so that generation works too. `ranked` is for
    ordered options; it and `brier` are proper scores like the cross-entropy, bounded where that is
    not. A question of an archetype weighs as much as every other one ("alike") or as many as
    answered it ("respondents").
    """

    cross_entropy: float = 1.0
    mass: float = 0.1
    ranked: float = 0.0
    brier: float = 0.0
    weights: str = "alike"

    def __post_init__(self):
        terms = {name: getattr(self, name) for name in ("cross_entropy", "mass", "ranked", "brier")}
        if min(terms.values()) < 0 or not any(v for name, v in terms.items() if name != "mass"):
            raise ValueError(
                f"distribution has the weights {terms}; none may be negative, and one besides "
                "mass must be positive"
            )
        if self.weights not in WEIGHTS:
            raise ValueError(
                f"distribution.weights is {self.weights!r}; it must be one of {WEIGHTS}"
            )


@struct.dataclass
class OptionsBatch:
    """Forests of Q questions of each of B archetypes, and what its respondents answered.

    The tokens of an option are the first `lengths` of the targets in `paths`; `shares` add up to 1
    over a question's options, `support` counts respondents and is 0 where there is no question.
    """

    levels: tuple[Level, ...]
    forest: Forest
    paths: Int[Array, "B Q K R"]
    lengths: Int[Array, "B Q K"]
    shares: Float[Array, "B Q K"]
    support: Float[Array, "B Q"]

    @property
    def tree(self) -> tuple[Level | Forest, ...]:
        """All levels, as they are computed."""
        return (*self.levels, self.forest)


def question_weights(
    support: Float[Array, "*B Q"], config: DistributionConfig
) -> Float[Array, "*B Q"]:
    """What each question of an archetype weighs in the loss, 0 where there is none."""
    return support if config.weights == "respondents" else (support > 0).astype(support.dtype)


def option_scores(
    logprobs: Float[Array, "B T"], paths: Int[Array, "B Q K R"], lengths: Int[Array, "B Q K"]
) -> Float[Array, "B Q K"]:
    """Log-probability of each option's completion: the sum over its tokens."""
    B, *shape = paths.shape
    found = jnp.take_along_axis(logprobs, paths.reshape(B, -1), axis=1).reshape(B, *shape)
    there = jnp.arange(paths.shape[-1]) < lengths[..., None]
    return jnp.where(there, found, 0).sum(axis=-1)


def distribution_losses(
    scores: Float[Array, "*B K"], shares: Float[Array, "*B K"], there: Float[Array, "*B K"]
) -> dict[str, Float[Array, "*B"]]:
    """The terms of the loss of each question; `there` says which of its K options exist.

    With s the scores, q their softmax over the options that exist and p the shares,
    `cross_entropy` is -sum_k p_k log q_k (log score), `mass` -log sum_k exp(s_k), `brier`
    sum_k (q_k - p_k)^2 (Brier 1950) and `ranked` sum_{k<K} (Q_k - P_k)^2 of cumulative shares, the
    ranked probability score (Epstein 1969; Gneiting & Raftery 2007). All but `mass` are least, in
    expectation over respondents, where q are the shares they answer with.
    """
    scores = jnp.where(there, scores, -jnp.inf)
    total = jax.nn.logsumexp(scores, axis=-1, keepdims=True)
    logs = jnp.where(there, scores - total, 0)
    gaps = jnp.where(there, jnp.exp(logs), 0) - shares
    return {
        "cross_entropy": -(shares * logs).sum(axis=-1),
        "mass": -total[..., 0],
        "brier": (gaps**2).sum(axis=-1),
        "ranked": (jnp.cumsum(gaps, axis=-1) ** 2).sum(axis=-1),  # the last, of all, is 0
    }


def distribution_loss(
    scores: Float[Array, "*B K"],
    shares: Float[Array, "*B K"],
    there: Float[Array, "*B K"],
    *,
    config: DistributionConfig,
) -> tuple[Float[Array, "*B"], dict[str, Float[Array, "*B"]]]:
    """The weighted sum of the terms of each question, and the terms."""
    terms = distribution_losses(scores, shares, there)
    return sum(getattr(config, name) * value for name, value in terms.items()), terms
