"""Rewards of a group: by hand, and over all groups there can be the gradients of proper scores."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from dvmap_jax.config import run_config
from dvmap_jax.rl.group_rewards import (
    UNREADABLE,
    group_rewards,
    group_scores,
    mean_reward,
    rewards_of,
)
from dvmap_jax.rl.grpo import group_advantages
from dvmap_jax.rl.rewards import RewardConfig, reward_terms
from dvmap_jax.survey.corpus import Example
from dvmap_jax.train.measure import reward_metrics

KINDS = ("quadratic", "energy")
MARGIN = 0.3
PEOPLE = np.array([0.5, 0.2, 0.3])
POLICY = np.array([0.1, 0.3, 0.6])
DISTANCE = np.array([[0, 1, 2], [1, 0, 1], [2, 1, 0]]) / 2
EXAMPLE = Example(
    question_id="Q29",
    country="Japan",
    attributes=("Japan",),
    category="",
    question="",
    options="Strongly agree, Agree, Disagree, Strongly disagree",
    answer="Strongly agree",
    frequency=0.25,
    answer_counts=(2.0, 1.0, 1.0, 0.0),
)


def texts(*answers: str) -> list[str]:
    return [f"<answer>{answer}</answer>" for answer in answers]


FIVE = texts("Strongly agree", "Strongly agree", "Disagree", "Strongly disagree", "Perhaps")


def test_quadratic_by_hand():
    rewards, _ = rewards_of(FIVE, EXAMPLE, RewardConfig(kind="quadratic", unreadable_margin=MARGIN))
    first = 2 * 0.5 - 2 * 1 / 3
    np.testing.assert_allclose(rewards, [first, first, 2 * 0.25, 0, 0 - 2 * 4 / 3 - MARGIN])


def test_energy_by_hand():
    """In distances, where all rewards are 2 / (G - 2) more; what says nothing is 1 from all."""
    rewards, _ = rewards_of(FIVE, EXAMPLE, RewardConfig(kind="energy", unreadable_margin=MARGIN))
    first = 2 * (0 + 2 / 3 + 1 + 1) / 3 - 2 * (0.25 / 3 + 0.25 * 2 / 3)
    third = 2 * (2 / 3 + 2 / 3 + 1 / 3 + 1) / 3 - 2 * (0.5 * 2 / 3 + 0.25 / 3)
    fourth = 2 * (1 + 1 + 1 / 3 + 1) / 3 - 2 * (0.5 + 0.25 * 2 / 3 + 0.25 / 3)
    farthest = 0 - 2 * (0.5 + 0.25 * 2 / 3 + 0.25 / 3)
    expected = [first, first, third, fourth, farthest - MARGIN]
    np.testing.assert_allclose(rewards + 2 / 3, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_behind_the_rewards_is_the_score_and_what_could_be_read(kind):
    config = RewardConfig(kind=kind)
    _, named = rewards_of(FIVE, EXAMPLE, config)
    np.testing.assert_array_equal(named["readable"], [1, 1, 1, 1, 0])
    assert named["score"].mean() == pytest.approx(mean_reward(FIVE, EXAMPLE, config))


@pytest.mark.parametrize("kind", KINDS)
def test_unreadable_is_the_margin_below_the_worst_that_any_group_can_earn(kind):
    answers = np.array(list(itertools.product([UNREADABLE, 0, 1, 2], repeat=4)))
    rewards = group_rewards(answers, PEOPLE, kind=kind, margin=MARGIN)
    unreadable = answers == UNREADABLE
    np.testing.assert_allclose(rewards[unreadable], rewards[~unreadable].min() - MARGIN)


@pytest.mark.parametrize("kind", KINDS)
def test_group_that_says_one_thing_earns_one_reward(kind):
    for answer in (UNREADABLE, 0, 1, 2):
        rewards = group_rewards(np.full(8, answer), PEOPLE, kind=kind, margin=MARGIN)
        assert np.ptp(rewards) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_rewards_read_as_the_config_says(kind):
    said = ["<answer>I strongly agree!</answer>" + "x" * 40] * 3
    for options, readable in (({}, 0), ({"match": "lenient"}, 1)):
        config = RewardConfig(kind=kind, **options)
        assert rewards_of(said, EXAMPLE, config)[1]["readable"].mean() == readable
    hidden = RewardConfig(kind=kind, match="lenient", answer_window=40)
    assert not rewards_of(said, EXAMPLE, hidden)[1]["readable"].any()


def test_rewards_of_single_completions_are_their_terms():
    config = RewardConfig(closeness_weight=0.5)
    rewards, terms = rewards_of(FIVE, EXAMPLE, config)
    each = [reward_terms(text, EXAMPLE, config) for text in FIVE]
    assert rewards.tolist() == [sum(one.values()) for one in each]
    assert {name: values.tolist() for name, values in terms.items()} == {
        name: [one[name] for one in each] for name in each[0]
    }


def groups(outcomes: int, size: int) -> np.ndarray:
    """All groups there can be; the outcome after the last option is an unreadable one."""
    found = np.array(list(itertools.product(range(outcomes), repeat=size)))
    return np.where(found == len(PEOPLE), UNREADABLE, found)


def expected_gradient(policy: np.ndarray, *, kind: str, size: int) -> np.ndarray:
    """Mean of sum_i A_i grad log q(a_i) / G by the logits of q, over all groups."""
    answers = groups(len(policy), size)
    rewards = group_rewards(answers, PEOPLE, kind=kind, margin=MARGIN)
    advantages = np.asarray(group_advantages(rewards, normalize_by_std=False))
    directions = np.eye(len(policy))[answers] - policy
    chances = policy[answers].prod(axis=-1)
    return np.einsum("n,ng,ngk->k", chances, advantages, directions) / size


def brier(policy):
    return -((policy - PEOPLE) ** 2).sum()


def energy(policy):
    """Gneiting & Raftery 2007, eq. 22 with beta = 1, of the mean respondent, twice."""
    between = jnp.einsum("j,k,jk", policy, PEOPLE, DISTANCE)
    return jnp.einsum("j,k,jk", policy, policy, DISTANCE) - 2 * between


@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize(("kind", "score"), [("quadratic", brier), ("energy", energy)])
def test_expected_gradient_is_that_of_the_score(kind, score, size):
    with jax.enable_x64(True):
        exact = jax.grad(lambda logits: score(jax.nn.softmax(logits)))(jnp.log(POLICY))
        found = expected_gradient(POLICY, kind=kind, size=size)
        at_people = expected_gradient(PEOPLE, kind=kind, size=size)
    assert abs(np.asarray(exact)).max() > 0.01
    np.testing.assert_allclose(found, (size - 1) / size * np.asarray(exact), rtol=0, atol=1e-10)
    np.testing.assert_allclose(at_people, 0, atol=1e-10)


@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_unreadable_is_one_more_outcome_of_constant_worth(kind, size):
    """Always less worth than what is read, so that its logit is pushed down."""
    alike = np.eye(3) if kind == "quadratic" else 1 - DISTANCE
    worth = 2 * (alike @ PEOPLE).min() - 2 * (size - 1) / (size - 2) - MARGIN
    whole = np.append(POLICY * 0.7, 0.3)

    def score(logits):
        *read, unread = jax.nn.softmax(logits)
        read = jnp.stack(read)
        return 2 * PEOPLE @ alike @ read - read @ alike @ read + worth * unread

    with jax.enable_x64(True):
        exact = np.asarray(jax.grad(score)(jnp.log(whole)))
        found = expected_gradient(whole, kind=kind, size=size)
    np.testing.assert_allclose(found, (size - 1) / size * exact, rtol=0, atol=1e-10)
    assert found[-1] < -0.1


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(("kind", "score"), [("quadratic", brier), ("energy", energy)])
def test_mean_of_scores_is_the_score_on_average(kind, score, size):
    def mean(policy):
        answers = groups(3, size)
        scores = group_scores(answers, PEOPLE, kind=kind, margin=MARGIN).mean(axis=-1)
        return policy[answers].prod(axis=-1) @ scores

    with jax.enable_x64(True):
        lost = float(score(PEOPLE) - score(POLICY))  # constants drop out
    assert mean(PEOPLE) - mean(POLICY) == pytest.approx(lost, abs=1e-12)
    assert lost > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_reports_a_score_only_where_samples_make_one(kind):
    config = RewardConfig(kind=kind)
    for samples, reported in ((1, False), (2, True)):
        row = {"completions": FIVE[:samples], "readable": 1.0, "truncated": 0.0, "archetype": "a"}
        other = dataclasses.replace(EXAMPLE, answer_counts=None)
        metrics = reward_metrics(pd.DataFrame([row, row]), [EXAMPLE, other], config)
        assert ("reward" in metrics) is reported
        assert metrics["readable"] == 1
    expected = {"quadratic": [2 * 0.5 - 1, 2 - 1], "energy": [2 * 0.75 - 1, 2 - 1]}[kind]
    assert metrics["reward"] == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("room", "field", "value"),
    [
        ("grpo", "group_size", 2),
        ("grpo", "normalize_by_std", True),
        ("grpo", "mask_truncated", True),
        ("sampling", "top_k", 5),
        ("sampling", "top_p", 0.9),
    ],
)
def test_settings_that_move_the_best_answers_are_refused(kind, room, field, value):
    change = {"rewards": {"kind": kind}, "grpo": {"normalize_by_std": False}, "sampling": {}}
    run_config(change)
    change[room] = change[room] | {field: value}
    with pytest.raises(ValueError, match=f"{room}.{field} is {value}.*{kind}.*set {room}.{field}"):
        run_config(change)
    run_config(change | {"objective": "sft"})


def test_negative_margin_and_single_completions_are_refused():
    with pytest.raises(ValueError, match="rewards.unreadable_margin is -1"):
        RewardConfig(unreadable_margin=-1)
    with pytest.raises(ValueError, match="'energy', which one completion"):
        reward_terms("", EXAMPLE, RewardConfig(kind="energy"))
