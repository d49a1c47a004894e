"""Rewards of a group: its answers and people's shares in; out what draws like people's raise most.

With S(j, k) how alike two options are, p people's shares, q the policy's and G answers a_i:

    r_i = 2 sum_k p_k S(a_i, k) - 2 sum_{j != i} S(a_i, a_j) / (G - 2)
    J(q) = 2 sum_jk p_j S(j, k) q_k - sum_jk q_j S(j, k) q_k

"quadratic" has S = 1 for the same option, else 0, and J is Brier's score; "energy" has S = 1 - d
with d = |j - k| / (K - 1), and J is the energy score. (With -d for S, a constant less, J and all
rewards of a group differ by constants, and no advantage does.) Either is greatest at q = p and
only there (Gneiting & Raftery 2007, doi:10.1198/016214506000001437, sections 4.1 and 4.2), and
linear in p, so that one respondent behind p is enough.

Where the advantage is r_i less its group's mean, the expected policy gradient is (G - 1) / G times
that of J. The sum is over G - 2 and not G - 1 because that mean holds the rewards of the others,
in which one's own answer counts too, and so gives back a part of it. A KL penalty and an entropy
bonus are preferences of their own and draw q away from p.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from dvmap_jax.rl.rewards import READERS, RewardConfig, reward_terms
from dvmap_jax.survey.corpus import Example

UNREADABLE = -1  # stands for an option where none could be read


def rewards_of(
    texts: Sequence[str], example: Example, config: RewardConfig
) -> tuple[Float[np.ndarray, " G"], dict[str, Float[np.ndarray, " G"]]]:
    """Rewards of a prompt's completions, and named numbers behind them.

    The latter are the weighted terms, whose sum is the reward; of rewards of a group `score`, as
    `group_scores` has it, and `readable`. The mean of these rewards is not greatest at q = p, the
    mean of the scores is.
    """
    if not config.of_group:
        each = [reward_terms(text, example, config) for text in texts]
        terms = {name: np.asarray([one[name] for one in each]) for name in each[0]}
        return sum(terms.values()), terms
    answers = _answers(texts, example, config)
    how = {"kind": config.kind, "margin": config.unreadable_margin}
    rewards = group_rewards(answers, example.answer_shares, **how)
    scores = group_scores(answers, example.answer_shares, **how)
    return rewards, {"score": scores, "readable": (answers != UNREADABLE).astype(float)}


def mean_reward(texts: Sequence[str], example: Example, config: RewardConfig) -> float:
    """What a model's completions of a prompt earn on average.

    Where rewards are those of a group, what they are to raise: the mean score, of two or more.
    """
    if not config.of_group:
        return sum(rewards_of(texts, example, config)[0]) / len(texts)
    answers = _answers(texts, example, config)
    how = {"kind": config.kind, "margin": config.unreadable_margin}
    return float(group_scores(answers, example.answer_shares, **how).mean())


def group_rewards(
    answers: Int[np.ndarray, "*P G"], shares: Float[np.ndarray, "*P K"], *, kind: str, margin: float
) -> Float[np.ndarray, "*P G"]:
    """The rewards r_i of groups of three or more answers."""
    return _weighed(answers, shares, kind, 2 / (answers.shape[-1] - 2), margin)


def group_scores(
    answers: Int[np.ndarray, "*P G"], shares: Float[np.ndarray, "*P K"], *, kind: str, margin: float
) -> Float[np.ndarray, "*P G"]:
    """Each answer's part in an estimate of J(q) from two or more: their mean has no bias."""
    return _weighed(answers, shares, kind, 1 / (answers.shape[-1] - 1), margin)


def _weighed(answers, shares, kind: str, weight: float, margin: float):
    """2 sum_k p_k S(a_i, k) - weight * sum_{j != i} S(a_i, a_j).

    An unreadable completion earns `margin` less than a readable one could, whichever its answer
    and whatever the others say. It is an answer of its own, like no other and no second unreadable
    one (S = 0), for either kind the least alike that two can be. J then has one more outcome, of
    constant worth, and is still greatest at p, where that outcome has no share.
    """
    options = np.arange(shares.shape[-1])
    alike = LIKENESS[kind](options)
    number = (answers[..., None] == options).sum(axis=-2)  # [*P, K] answers of each option
    to_people = 2 * shares @ alike
    to_others = weight * (number @ alike - 1)  # without the answer itself
    earned = np.take_along_axis(to_people - to_others, np.maximum(answers, 0), axis=-1)
    lowest = to_people.min(axis=-1, keepdims=True) - weight * (answers.shape[-1] - 1)
    return np.where(answers == UNREADABLE, lowest - margin, earned)


def _quadratic(options: Int[np.ndarray, " K"]) -> Float[np.ndarray, "K K"]:
    return np.eye(len(options))


def _energy(options: Int[np.ndarray, " K"]) -> Float[np.ndarray, "K K"]:
    return 1 - abs(options[:, None] - options) / (len(options) - 1)


LIKENESS = {"quadratic": _quadratic, "energy": _energy}  # S of K options, by the reward's kind


def _answers(texts: Sequence[str], example: Example, config: RewardConfig) -> Int[np.ndarray, " G"]:
    """The options that completions give, by the config's reader."""
    read = READERS[config.match]
    found = [read(text, example.option_list, config.answer_window or None) for text in texts]
    return np.asarray([UNREADABLE if answer is None else answer for answer in found])
