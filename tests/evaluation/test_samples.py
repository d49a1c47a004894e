"""A row of generated answers against cases worked by hand."""

import pytest

from dvmap_jax.evaluation.journal import identity
from dvmap_jax.evaluation.samples import generated_row
from dvmap_jax.survey.corpus import Example

EXAMPLE = Example(
    question_id="Q1",
    country="Utopia",
    attributes=("Utopia", *"abcdefghij"),
    category="Work",
    question="How important is work?",
    options="Very, Rather, Not",
    answer="Rather",
    frequency=0.5,
)
VERY, RATHER, LOOSE = "<answer>Very</answer>", "<answer>\nRather\n</answer>", "<answer>rather!"


def row(*texts: str, truncated=None) -> dict:
    marks = [False] * len(texts) if truncated is None else truncated
    return generated_row(EXAMPLE, benchmark="b", number=4, texts=texts, truncated=marks)


def test_a_row_says_who_was_asked_and_what_was_said():
    found = row(RATHER, VERY, RATHER, "nothing", truncated=[False, False, False, True])
    assert identity(EXAMPLE, benchmark="b", number=4).items() <= found.items()
    assert found["predicted"] == "Rather"
    assert found["predictions"] == ["Rather", "Very", "Rather", None]
    assert found["probabilities"] == pytest.approx([1 / 3, 2 / 3, 0])
    assert (found["correct"], found["readable"], found["truncated"]) == (0.5, 0.75, 0.25)
    assert found["completions"] == [RATHER, VERY, RATHER, "nothing"]


@pytest.mark.parametrize(
    ("texts", "predicted"),
    [
        ((RATHER, VERY), "Rather"),
        ((VERY, RATHER), "Very"),
        (("?", RATHER, VERY, "?", "?"), "Rather"),
        ((VERY, RATHER, RATHER, VERY), "Very"),
    ],
)
def test_of_equal_votes_the_earliest_drawn_wins(texts, predicted):
    assert row(*texts)["predicted"] == predicted


def test_what_is_read_leniently_counts_apart():
    found = row(LOOSE + "</answer>", LOOSE)
    assert (found["correct"], found["correct_lenient"], found["readable"]) == (0, 0.5, 0)


def test_where_nothing_can_be_read_there_is_no_prediction():
    found = row("?", "", truncated=[True, True])
    assert found["predicted"] is None and found["probabilities"] is None
    assert found["predictions"] == [None, None]
    assert (found["correct"], found["readable"], found["truncated"]) == (0, 0, 1)


@pytest.mark.parametrize(("texts", "marks"), [((), []), ((VERY, VERY), [False])])
def test_a_mark_for_each_completion_is_asked_for(texts, marks):
    with pytest.raises(ValueError, match="benchmark 'b' row 4: .* completions"):
        row(*texts, truncated=marks)
