"""The codebook of wave 7 against the survey's codes and labels, where those lie beside us."""

import json

import pytest

from dvmap_jax.survey.codebook import (
    ATTRIBUTE_NAMES,
    ATTRIBUTES,
    NOT_ASKED_IN,
    QUESTIONS,
    RELEASED_CODES,
    RELEASED_QUESTIONS,
    wave7,
)

TEN = list(range(1, 11))


@pytest.fixture(scope="module")
def items(shared):
    return {
        entry["q"]: entry for entry in json.loads((shared / "wvs/value_questions.json").read_text())
    }


def test_every_value_question_but_the_parties_is_there_in_order(items):
    ids = [question.id for question in wave7().questions]
    assert ids == [f"Q{number}" for number in range(1, 260) if number != 223]
    assert set(items) - set(ids) == {"Q223"}  # parties: other codes in every country


def test_codes_are_the_surveys(items):
    """Every code of the survey is an option's, or off the scale and said to be."""
    for question in wave7().questions:
        codes = {int(code) for code in items[question.id]["options"]}
        assert {*question.raw_codes, *question.missing} == codes
        low, high = items[question.id]["scale"]
        if low is not None:
            assert set(question.raw_codes) == codes & set(range(low, high + 1))


def test_options_are_in_the_order_of_their_codes(items):
    for question in wave7().questions:
        firsts = [codes[0] for codes in question.codes]
        assert firsts == sorted(firsts)
        if list(question.raw_codes) == TEN:
            assert question.options == ("Low", "Medium", "High")
            assert question.codes == ((1, 2, 3), (4, 5, 6, 7), (8, 9, 10))
        assert question.section == items[question.id]["section"]


def test_wording_is_one_question_and_not_the_other_projects(items):
    texts = [question.text for question in wave7().questions]
    assert len(set(texts)) == len(texts)
    for question in wave7().questions:
        assert question.text.endswith("?") and question.text.count("?") == 1
        assert question.text != items[question.id]["question"]


def test_labels_are_the_surveys_and_the_released_ones_among_them(shared):
    codes = json.loads((shared / "wvs/demographic_codes.json").read_text())
    for attribute in wave7().attributes:
        if attribute.variable in ("Q289CS9", "Q272"):
            known = {int(code): label for code, label in codes[attribute.variable].items()}
            valid = {code: label for code, label in known.items() if code > 0}
            assert dict(attribute.labels) == valid
    for attribute, own in zip(wave7().attributes, ATTRIBUTES, strict=True):
        assert set(own.labels) <= set(attribute.labels)
        assert own.labels == attribute.labels or own.name in RELEASED_CODES


def test_what_the_release_uses_is_part_of_the_codebook():
    assert tuple(attribute.name for attribute in wave7().attributes) == ATTRIBUTE_NAMES
    assert tuple(question.id for question in QUESTIONS) == RELEASED_QUESTIONS
    assert {name for names in NOT_ASKED_IN.values() for name in names} <= set(RELEASED_QUESTIONS)
    assert set(NOT_ASKED_IN) <= set(ATTRIBUTES[0].values)
