"""What a model is told: nothing lost, nothing invented, the common part first."""

import dataclasses
import os
import string
from pathlib import Path

import pytest

from dvmap_jax.survey.answers import read_strict
from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES, ATTRIBUTES, NOT_ANSWERED, QUESTIONS
from dvmap_jax.survey.corpus import Example
from dvmap_jax.survey.phrases import description, facts
from dvmap_jax.survey.prompts import (
    SYSTEM_PROMPTS,
    TEMPLATES,
    gold_completion,
    messages,
    option_completion,
    user_prompt,
)

ATTRIBUTE_VALUES = tuple(attribute.values[1] for attribute in ATTRIBUTES)
OURS = ("reasoning", "answer")


def example(question=QUESTIONS[0], attributes=ATTRIBUTE_VALUES) -> Example:
    return Example(
        question_id=question.id,
        country=attributes[0],
        attributes=attributes,
        category=question.section,
        question=question.text,
        options=", ".join(question.options),
        answer=question.options[1],
        frequency=0.5,
        prompt="as released",
    )


def test_description_reads_as_english():
    assert description(ATTRIBUTE_VALUES) == (
        "You are a woman from India, aged 18 to 34. You live with a partner and have children. "
        "You finished primary school. You work part time in private business. Your household's "
        "income is in the middle. You are Roman Catholic. You speak Bengali."
    )


@pytest.mark.parametrize("place", range(len(ATTRIBUTES)), ids=ATTRIBUTE_NAMES)
def test_every_label_has_a_description_of_its_own(place):
    texts = {
        description((*ATTRIBUTE_VALUES[:place], label, *ATTRIBUTE_VALUES[place + 1 :]))
        for label in (*ATTRIBUTES[place].values, NOT_ANSWERED if place else "Peru", "Another")
    }
    assert len(texts) == len(ATTRIBUTES[place].values) + 2


def test_what_was_not_answered_is_left_out():
    nothing = ("Egypt", *[NOT_ANSWERED] * (len(ATTRIBUTES) - 1))
    assert description(nothing) == "You are a person from Egypt."
    assert description((NOT_ANSWERED, *nothing[1:])) == "You are a person."
    assert facts(nothing) == "Country: Egypt."


def test_a_question_can_be_asked_of_nobody_in_particular():
    nobody = dataclasses.replace(example(), attributes=())
    text = user_prompt(nobody, template="answer")
    assert text.startswith("You are a person of whom nothing is known.\n")
    assert text.endswith(user_prompt(example(), template="answer")[-60:])


@pytest.mark.parametrize("template", OURS)
def test_questions_of_an_archetype_share_all_but_question_and_options(template):
    prompts = [user_prompt(example(question), template=template) for question in QUESTIONS]
    common = os.path.commonprefix(prompts)
    assert common.endswith("Question: ") or common.endswith("Question: H")
    for prompt, question in zip(prompts, QUESTIONS, strict=True):
        assert prompt.endswith(f"{question.text}\nOptions: {', '.join(question.options)}")


def test_answer_prompt_is_short():
    longest = max(len(user_prompt(example(q), template="answer").split()) for q in QUESTIONS)
    assert longest < 110


@pytest.mark.parametrize("template", TEMPLATES)
def test_gold_and_option_completions_are_read_back(template):
    for question in QUESTIONS:
        asked = example(question)
        assert read_strict(gold_completion(asked, template=template), asked.option_list) == 1
        for index, option in enumerate(question.options):
            completion = option_completion(option, template=template)
            assert read_strict(completion, question.options) == index
            assert gold_completion(asked, template=template).endswith(completion) == (index == 1)


def test_system_prompt_comes_first_and_may_be_absent():
    both = messages(example(), template="answer", system_prompt="default")
    assert [message["role"] for message in both] == ["system", "user"]
    assert both[0]["content"] == SYSTEM_PROMPTS["default"]
    alone = messages(example(), template="released", system_prompt="none")
    assert alone == [{"role": "user", "content": "as released"}]


def test_original_system_prompts_are_those_of_its_source():
    lines = SYSTEM_PROMPTS["original_train"].split("\n")
    assert lines[0] == "" and lines[-1] == " " * 24
    assert lines[1:3] == [" " * 24 + "Respond in the following format:", " " * 24 + "<reasoning>"]
    assert SYSTEM_PROMPTS["original_eval"].split("\n") == [
        "",
        "Respond in the following format:",
        "<reasoning>",
        " ...",
        "</reasoning>",
        "<answer>",
        "  ...",
        "</answer>",
        "",
    ]


def test_released_prompt_must_be_there():
    with pytest.raises(ValueError, match="Q1 .India. has no released prompt"):
        user_prompt(dataclasses.replace(example(), prompt=""), template="released")


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'cot' is unknown; use one of .*'reasoning'"):
        messages(example(), template="cot", system_prompt="none")
    with pytest.raises(ValueError, match="'mine' is unknown; use one of .*'default'"):
        messages(example(), template="answer", system_prompt="mine")


def test_only_the_codebook_spells_survey_variables():
    folder = Path(__file__).parents[2] / "dvmap_jax"
    spelled = {
        file.name
        for file in folder.rglob("*.py")
        if any(f"Q{digit}" in file.read_text(encoding="utf-8") for digit in string.digits)
    }
    assert spelled <= {"codebook.py"}
