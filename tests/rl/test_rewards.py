"""Rewards: the original's to the last bit, and ours by hand."""

import dataclasses
import json
from pathlib import Path

import pytest

from dvmap_jax.evaluation.metrics import is_correct
from dvmap_jax.rl.rewards import (
    ORIGINAL_REWARDS,
    RewardConfig,
    closeness,
    reward_terms,
    score,
)
from dvmap_jax.survey.corpus import Example

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "rewards.jsonl"
golden = pytest.mark.skipif(not GOLDEN.exists(), reason=f"no outputs of the original at {GOLDEN}")

EXAMPLE = Example(
    question_id="Q29",
    country="Japan",
    attributes=("Japan",),
    category="",
    question="",
    options="Strongly agree, Agree, Disagree, Strongly disagree",
    answer="Agree",
    frequency=0.25,
)
RIGHT = "<reasoning>\nbecause\n</reasoning>\n<answer>\nAgree\n</answer>"


def rows() -> list[dict]:
    return [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]


@golden
@pytest.mark.parametrize("semantics", ["string", "list"])
@pytest.mark.parametrize("reward", ORIGINAL_REWARDS)
def test_score_is_that_of_the_original(reward, semantics):
    assert len(rows()) == 720
    for row in rows():
        ours = score(
            row["completion"],
            options=row["options"],
            answer=row["answer"],
            frequency=row["frequency"],
            reward=reward,
            options_semantics=semantics,
        )
        assert ours == row[semantics][reward], row


@golden
def test_verdict_is_that_of_the_original_evaluator():
    for row in rows():
        ours = is_correct(row["completion"], options=row["options"], answer=row["answer"])
        assert ours is row["correct"], row


@golden
@pytest.mark.parametrize("semantics", ["string", "list"])
@pytest.mark.parametrize("reward", ORIGINAL_REWARDS)
def test_terms_of_the_original_add_up_to_its_score(reward, semantics):
    config = RewardConfig(kind=reward, options_semantics=semantics)
    for row in rows():
        fields = {name: row[name] for name in ("options", "answer", "frequency")}
        terms = reward_terms(row["completion"], dataclasses.replace(EXAMPLE, **fields), config)
        assert sum(terms.values()) == row[semantics][reward]


@pytest.mark.parametrize(
    ("completion", "format", "match", "closeness"),
    [
        (RIGHT, 0.4, 1.0, 0.0),
        ("<answer>Agree</answer>", 0.2, 1.0, 0.0),
        ("<answer>Disagree</answer>", 0.2, 0.0, 0.5 * 2 / 3),
        ("<answer>Strongly disagree</answer>", 0.2, 0.0, 0.5 * 1 / 3),
        ("<answer>agree</answer>", 0.2, 0.0, 0.0),
        ("<answer>Agree", 0.0, 0.0, 0.0),
        ("</answer>Agree<answer>", 0.0, 0.0, 0.0),
        ("<answer>Disagree</answer><answer>Agree</answer>", 0.0, 1.0, 0.0),
        ("<reasoning></reasoning>", 0.2, 0.0, 0.0),
        ("", 0.0, 0.0, 0.0),
    ],
)
def test_terms_by_hand(completion, format, match, closeness):
    terms = reward_terms(completion, EXAMPLE, RewardConfig(closeness_weight=0.5))
    assert terms == pytest.approx({"format": format, "match": match, "closeness": closeness})


def test_lenient_match_reads_other_words_too():
    said = "<answer>I agree!</answer>"
    assert reward_terms(said, EXAMPLE, RewardConfig())["match"] == 0
    assert reward_terms(said, EXAMPLE, RewardConfig(match="lenient"))["match"] == 1


def test_window_hides_an_early_answer():
    early = RIGHT + "x" * 300
    assert reward_terms(early, EXAMPLE, RewardConfig())["match"] == 1
    assert reward_terms(early, EXAMPLE, RewardConfig(answer_window=300))["match"] == 0


def test_closeness_runs_from_end_to_end():
    assert [closeness(i, 0, 5) for i in range(5)] == [1, 0.75, 0.5, 0.25, 0]


@pytest.mark.parametrize(
    ("field", "value"),
    [("kind", "wsv"), ("options_semantics", "set"), ("match", "fuzzy"), ("answer_window", -1)],
)
def test_impossible_settings_are_named(field, value):
    with pytest.raises(ValueError, match=f"rewards.{field} is {value!r}"):
        RewardConfig(**{field: value})


@pytest.mark.parametrize("argument", ["reward", "options_semantics"])
def test_unknown_reward_or_reading_is_named(argument):
    known = {"reward": "wvs", "options_semantics": "list", argument: "other"}
    with pytest.raises(ValueError, match=f"{argument} is 'other'"):
        score("", options="a, b", answer="a", frequency=0.5, **known)
