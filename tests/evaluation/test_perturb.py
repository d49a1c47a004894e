"""Changed examples: what is changed, what is not, and that the draws are of examples and seed."""

import dataclasses
import pathlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from known_predictors import known_examples

from dvmap_jax.evaluation import perturb
from dvmap_jax.survey.answers import parse_options
from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES, NOT_ANSWERED
from dvmap_jax.survey.synthetic import synthetic_examples

EXAMPLES = known_examples(0)
PERTURBED = {
    "attributes": perturb.shuffled_attributes(EXAMPLES, seed=1),
    "country": perturb.shuffled_country(EXAMPLES, seed=1),
    "without": perturb.without(EXAMPLES, ["Country", "Religion"]),
    "country alone": perturb.country_alone(EXAMPLES),
    "question alone": perturb.question_alone(EXAMPLES),
    "missing": perturb.missing(EXAMPLES, share=0.5, seed=1),
    "noisy": perturb.noisy(EXAMPLES, share=0.5, seed=1),
    "reversed": perturb.reversed_options(EXAMPLES),
    "shuffled": perturb.shuffled_options(EXAMPLES, seed=1),
}
PEOPLE = [name for name in PERTURBED if name not in ("reversed", "shuffled")]


def persons(examples):
    """Attributes of archetypes, in the order of EXAMPLES' archetypes."""
    found = {}
    for own, other in zip(EXAMPLES, examples, strict=True):
        assert found.setdefault(own.attributes, other.attributes) == other.attributes
    return list(found.values())


@pytest.mark.parametrize("name", PERTURBED)
def test_question_and_answer_stay_and_an_archetype_changes_as_a_whole(name):
    pairs = list(zip(EXAMPLES, PERTURBED[name], strict=True))
    assert all(a.question_id == b.question_id and a.answer == b.answer for a, b in pairs)
    assert all(sorted(a.option_list) == sorted(b.option_list) for a, b in pairs)
    assert all(b.country == (b.attributes[0] if b.attributes else NOT_ANSWERED) for _, b in pairs)
    assert not any(b.prompt for _, b in pairs)  # a released prompt would tell of the old person
    persons(PERTURBED[name])


@pytest.mark.parametrize("name", PEOPLE)
def test_options_stay_where_people_change(name):
    assert all(a.options == b.options for a, b in zip(EXAMPLES, PERTURBED[name], strict=True))


def test_attributes_are_those_of_another_of_the_same_country():
    own, other = persons(EXAMPLES), persons(PERTURBED["attributes"])
    assert Counter(own) == Counter(other)
    assert all(a[0] == b[0] and a != b for a, b in zip(own, other, strict=True))
    assert perturb.unchanged(EXAMPLES, PERTURBED["attributes"]) == 0


def test_an_archetype_alone_in_its_country_is_unchanged():
    few = [e for e in EXAMPLES if e.country == EXAMPLES[0].country] + EXAMPLES[4:8]
    assert few[-1].country != few[0].country
    assert perturb.unchanged(few, perturb.shuffled_attributes(few, seed=0)) == 1


def test_countries_are_shuffled_and_the_rest_stays():
    own, other = persons(EXAMPLES), persons(PERTURBED["country"])
    assert Counter(p[0] for p in own) == Counter(p[0] for p in other)
    assert all(a[1:] == b[1:] for a, b in zip(own, other, strict=True))
    same = sum(a[0] == b[0] for a, b in zip(own, other, strict=True))
    assert same == perturb.unchanged(EXAMPLES, PERTURBED["country"]) < len(own) / 2


def test_what_is_dropped_is_not_answered_and_nothing_else():
    gone = [name in ("Country", "Religion") for name in ATTRIBUTE_NAMES]
    for own, other in zip(persons(EXAMPLES), persons(PERTURBED["without"]), strict=True):
        assert other == tuple(
            NOT_ANSWERED if g else label for g, label in zip(gone, own, strict=True)
        )
    alone = {p[1:] for p in persons(PERTURBED["country alone"])}
    assert alone == {(NOT_ANSWERED,) * (len(ATTRIBUTE_NAMES) - 1)}
    assert {p[0] for p in persons(PERTURBED["country alone"])} == {e.country for e in EXAMPLES}
    with pytest.raises(ValueError, match="no attribute is called 'Religon'; .*Religion"):
        perturb.without(EXAMPLES, ["Religon"])


@pytest.mark.parametrize("change", [perturb.missing, perturb.noisy])
def test_a_share_of_labels_is_changed_and_stays_changed_at_a_larger_share(change):
    own = np.array(persons(EXAMPLES))
    small, large = (np.array(persons(change(EXAMPLES, share=s, seed=2))) for s in (0.3, 0.7))
    assert ((small != own) <= (large != own)).all()
    assert (large[small != own] == small[small != own]).all()
    told = own != NOT_ANSWERED
    # Of about 500 labels a share is off by 3 standard errors, .066, in one of 400 draws.
    assert abs((small != own)[told].mean() - 0.3) < 0.07
    assert abs((large != own)[told].mean() - 0.7) < 0.07


def test_noise_is_another_label_that_others_have():
    own, other = np.array(persons(EXAMPLES)), np.array(persons(PERTURBED["noisy"]))
    for place, name in enumerate(ATTRIBUTE_NAMES):
        mistaken = own[:, place] != other[:, place]
        assert mistaken.any() or name == "Country"
        assert set(other[mistaken, place]) <= set(own[:, place]) - {NOT_ANSWERED}


def test_orders_are_read_back_as_the_same_options():
    for own, back, other in zip(
        EXAMPLES, PERTURBED["reversed"], PERTURBED["shuffled"], strict=True
    ):
        assert parse_options(back.options) == own.option_list[::-1]
        assert other.option_list != own.option_list
        assert back.answer_index == len(own.option_list) - 1 - own.answer_index
    places = Counter(each.answer_index for each in PERTURBED["shuffled"])
    assert len(places) == 4
    again = perturb.reversed_options(PERTURBED["reversed"])
    assert [each.options for each in again] == [each.options for each in EXAMPLES]


def test_counts_stay_with_their_options():
    [example] = EXAMPLES[:1]
    counts = tuple(float(place) for place in range(len(example.option_list)))
    [turned] = perturb.reversed_options([dataclasses.replace(example, answer_counts=counts)])
    told = dict(zip(example.option_list, counts, strict=True))
    assert turned.answer_counts == tuple(told[option] for option in turned.option_list)
    assert turned.option_list != example.option_list


def test_a_sample_is_of_whole_archetypes_of_all_countries():
    examples = synthetic_examples(60, seed=1)
    chosen = perturb.sampled(examples, rows=400, seed=0)
    whole = Counter(e.attributes for e in examples)
    taken = Counter(e.attributes for e in chosen)
    assert 400 - max(whole.values()) < len(chosen) <= 400
    assert all(whole[person] == count for person, count in taken.items())
    assert set(Counter(p[0] for p in taken).values()) <= {2, 3}
    assert list(chosen) == [e for e in examples if e.attributes in taken]
    assert perturb.sampled(examples, rows=0, seed=0) == tuple(examples)
    assert perturb.sampled(examples, rows=400, seed=1) != chosen
    with pytest.raises(ValueError, match=r"100 rows hold 6 archetypes; .* two of each country, 20"):
        perturb.sampled(examples, rows=100, seed=0)


def test_draws_are_the_same_in_another_process_and_order():
    code = (
        "from test_perturb import EXAMPLES, fingerprint; from dvmap_jax.evaluation import perturb;"
        "print(fingerprint(EXAMPLES[::-1])[::-1])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=pathlib.Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == str(fingerprint(EXAMPLES))


def fingerprint(examples):
    """What is told of a few rows after every draw."""
    drawn = (
        perturb.shuffled_attributes(examples, seed=5),
        perturb.shuffled_country(examples, seed=5),
        perturb.missing(examples, share=0.5, seed=5),
        perturb.noisy(examples, share=0.5, seed=5),
        perturb.shuffled_options(examples, seed=5),
    )
    return [
        "/".join(f"{e.archetype} {e.options}" for e in each) for each in zip(*drawn, strict=True)
    ]


def test_an_example_of_nobody_is_refused():
    nobody = perturb.question_alone(EXAMPLES)
    with pytest.raises(ValueError, match=r"example 0 \(Q1\) is asked of nobody"):
        perturb.shuffled_country(nobody, seed=0)
