"""What a model is told: nothing lost, nothing invented, the common part first."""

import dataclasses
import difflib
import os
import string
from pathlib import Path

import pytest

from dvmap_jax.survey.answers import read_strict
from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES, ATTRIBUTES, NOT_ANSWERED, QUESTIONS
from dvmap_jax.survey.corpus import Example
from dvmap_jax.survey.phrases import description, facts
from dvmap_jax.survey.prompts import (
    FIXED,
    SYSTEM_PROMPTS,
    TEMPLATES,
    archetype_part,
    gold_completion,
    messages,
    option_completion,
    question_part,
    rewordings,
    user_prompt,
)

ATTRIBUTE_VALUES = tuple(attribute.values[1] for attribute in ATTRIBUTES)
TAGS = ("<answer>", "</answer>", "<reasoning>", "</reasoning>")
OURS = tuple(template for template in TEMPLATES if template not in FIXED)


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
    assert common.startswith(archetype_part(ATTRIBUTE_VALUES, template=template))
    for prompt, question in zip(prompts, QUESTIONS, strict=True):
        end = question_part(question.text, question.options, template=template)
        assert prompt.endswith(end) and question.text in end
        assert end.endswith(": " + ", ".join(question.options))


def test_answer_prompt_is_short():
    for template in ("answer", *rewordings("answer")):
        longest = max(len(user_prompt(example(q), template=template).split()) for q in QUESTIONS)
        assert longest < 110


@pytest.mark.parametrize("template", OURS)
def test_other_words_ask_for_the_same_form(template):
    text, others = user_prompt(example(), template=template), rewordings(template)
    assert len(others) == 2 and template not in others
    assert all(template in rewordings(other) for other in others)
    for other in others:
        said = user_prompt(example(), template=other)
        assert description(ATTRIBUTE_VALUES) in said
        assert all(text.count(tag) == said.count(tag) for tag in TAGS)
        same = option_completion("No", template=template)
        assert option_completion("No", template=other) == same
        gold = gold_completion(example(), template=template)
        assert gold_completion(example(), template=other) == gold
        # The same words in a row are those of the person, the question and the options.
        kept = (description(ATTRIBUTE_VALUES), QUESTIONS[0].text, ", ".join(QUESTIONS[0].options))
        assert longest_common(without(text, kept), without(said, kept)) < 10


def test_a_prompt_of_the_corpus_has_no_other_words():
    assert [rewordings(template) for template in FIXED] == [()]
    with pytest.raises(ValueError, match="'cot' is unknown"):
        rewordings("cot")


def without(text, parts) -> list[str]:
    """The words of a text that are in none of the parts."""
    for part in parts:
        text = text.replace(part, "")
    return text.split()


def longest_common(first, second) -> int:
    """The most words in a row that both have."""
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
    return matcher.find_longest_match().size


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
