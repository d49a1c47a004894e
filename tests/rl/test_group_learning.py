"""What free logits learn: people's shares from rewards of a group, one answer from the mode's."""

import numpy as np
import pytest

from dvmap_jax.rl.group_rewards import group_rewards
from dvmap_jax.rl.grpo import group_advantages
from dvmap_jax.rl.rewards import score

K, G = 4, 8
OPTIONS = ("no", "hardly", "rather", "yes")


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def learned(rewards, *, rng, steps: int, groups: int, rate: float, normalize=False) -> np.ndarray:
    """The distribution after policy gradient steps of decaying size from equal logits."""
    logits = np.zeros(K)
    for step in range(steps):
        policy = softmax(logits)
        answers = rng.choice(K, size=(groups, G), p=policy)
        advantages = np.asarray(group_advantages(rewards(answers), normalize))
        gained = np.bincount(answers.reshape(-1), weights=advantages.reshape(-1), minlength=K)
        gradient = (gained - policy * advantages.sum()) / answers.size
        logits = logits + rate / (1 + step / 15) * gradient
    return softmax(logits)


def variation(policy: np.ndarray, people: np.ndarray) -> float:
    return abs(policy - people).sum() / 2


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["quadratic", "energy"])
def test_known_shares_are_learned(kind, seed):
    rng = np.random.default_rng(seed)
    people = rng.dirichlet(np.full(K, 3.0))

    def rewards(answers):
        return group_rewards(answers, people, kind=kind, margin=0.1)

    policy = learned(rewards, rng=rng, steps=400, groups=256, rate=8)
    assert variation(policy, people) < 0.02


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["quadratic", "energy"])
def test_one_respondent_a_step_is_enough(kind, seed):
    rng = np.random.default_rng(seed)
    people = rng.dirichlet(np.full(K, 3.0))

    def rewards(answers):
        respondent = np.eye(K)[rng.choice(K, p=people)]
        return group_rewards(answers, respondent, kind=kind, margin=0.1)

    policy = learned(rewards, rng=rng, steps=2000, groups=16, rate=4)
    assert variation(policy, people) < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_reward_for_the_most_common_answer_ends_in_that_answer(seed):
    rng = np.random.default_rng(seed)
    people = rng.dirichlet(np.full(K, 3.0))
    how = {"options": ", ".join(OPTIONS), "answer": OPTIONS[people.argmax()], "frequency": 0.5}
    how |= {"reward": "wvs", "options_semantics": "list"}
    earned = np.array([score(f"<answer>{option}</answer>", **how) for option in OPTIONS])
    policy = learned(lambda answers: earned[answers], rng=rng, steps=400, groups=64, rate=8)
    assert policy[people.argmax()] > 0.98
