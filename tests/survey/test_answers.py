"""The reader of answers on the shapes completions take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvmap_jax.survey.answers import answer_block, parse_options, read_lenient, read_strict
from dvmap_jax.survey.codebook import QUESTIONS

IMPORTANT = ("Very important", "Rather important", "Not very important", "Not at all important")
AGREE = ("Agree strongly", "Agree", "Neither agree nor disagree", "Disagree", "Disagree strongly")


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.id)
def test_every_option_is_read_as_itself(question):
    for index, option in enumerate(question.options):
        completion = f"<reasoning>\nx\n</reasoning>\n<answer>\n{option}\n</answer>"
        assert read_strict(completion, question.options) == index
        assert read_lenient(completion, question.options) == index
        assert read_lenient(f"<answer>I say: {option.upper()}!</answer>", question.options) == index


def test_last_block_counts():
    completion = "<answer>Agree</answer> or rather <answer>Disagree</answer>"
    assert read_strict(completion, AGREE) == 3


@pytest.mark.parametrize(
    "completion",
    ["", "Agree", "<answer>Agree", "Agree</answer>", "<answer></answer>", "<answer> ... </answer>"],
)
def test_completion_without_an_answer_reads_as_none(completion):
    assert answer_block(completion) is None
    assert read_strict(completion, AGREE) is None
    assert read_lenient(completion, AGREE) is None


def test_strict_wants_the_option_to_the_letter():
    assert read_strict("<answer>agree</answer>", AGREE) is None
    assert read_strict("<answer>Agree.</answer>", AGREE) is None


def test_lenient_takes_the_longest_option_first():
    assert read_lenient("<answer>not at all important.</answer>", IMPORTANT) == 3
    assert read_lenient("<answer>I'd say Disagree strongly</answer>", AGREE) == 4
    assert read_lenient("<answer>neither agree nor disagree</answer>", AGREE) == 2


def test_lenient_does_not_choose_between_two_options():
    assert read_lenient("<answer>Agree or Disagree</answer>", AGREE) is None


def test_lenient_reads_words_and_not_parts_of_words():
    assert read_lenient("<answer>They disagreed</answer>", AGREE) is None


def test_window_hides_an_answer_that_begins_before_it():
    completion = "<answer>" + " " * 300 + "Agree</answer>"
    assert read_strict(completion, AGREE) == 1
    assert read_strict(completion, AGREE, window=300) is None


@given(st.text(), st.sampled_from(QUESTIONS))
def test_any_text_reads_as_an_option_or_none(text, question):
    strict = read_strict(f"<answer>{text}</answer>", question.options)
    lenient = read_lenient(f"<answer>{text}</answer>", question.options)
    assert strict is None or strict == lenient
    assert lenient in (None, *range(len(question.options)))


def test_options_are_split_at_commas():
    assert parse_options(" Low, Medium,High ") == ("Low", "Medium", "High")
