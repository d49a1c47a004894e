"""Splits of archetypes, countries and questions: disjoint, seeded, whatever the order."""

import numpy as np
import pytest

from dvmap_jax.survey.benchmark import (
    ARCHETYPE_SPLITS,
    SPLITS,
    Assignment,
    BenchmarkConfig,
    assign,
    leak_report,
    seeded_order,
)

COUNTRIES = ("US", "Japan", "Egypt")
QUESTIONS = ("Q1", "Q2", "Q49")


def archetypes(seed=0, size=300):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, [3, 2, 6, 9, 8], (size, 5))
    return np.unique(rows, axis=0)


def assigned(rows, **options):
    config = BenchmarkConfig(**options)
    return assign(rows, country=0, countries=COUNTRIES, questions=QUESTIONS, config=config)


def test_every_archetype_is_in_one_split_of_its_country():
    rows = archetypes()
    found = assigned(rows, dev=0.1, test=0.2, cross_demographic=0.05)
    for country in range(3):
        own = found.archetypes[rows[:, 0] == country]
        sizes = [(own == split).sum() for split in range(4)]
        assert sizes[1:] == [round(share * len(own)) for share in (0.1, 0.2, 0.05)]
        assert sum(sizes) == len(own)


def test_exact_numbers_leave_the_rest_out():
    rows = archetypes()
    found = assigned(rows, train=20, dev=4, test=3, cross_demographic=2)
    for country in range(3):
        own = found.archetypes[rows[:, 0] == country]
        assert [(own == split).sum() for split in range(4)] == [20, 4, 3, 2]


def test_order_changes_nothing_and_the_seed_does():
    rows = archetypes()
    shuffled = np.random.default_rng(5).permutation(len(rows))
    found, other = assigned(rows), assigned(rows[shuffled])
    np.testing.assert_array_equal(found.archetypes[shuffled], other.archetypes)
    assert (found.archetypes != assigned(rows, seed=1).archetypes).any()


def test_order_is_a_fair_one():
    """Ranks say nothing about any attribute: correlations stay within 4 standard errors."""
    rows = np.unique(np.random.default_rng(1).integers(0, 50, (20_000, 4)), axis=0)
    ranks = np.empty(len(rows))
    ranks[seeded_order(rows, 0)] = np.arange(len(rows))
    for column in rows.T:
        assert abs(np.corrcoef(ranks, column)[0, 1]) < 4 / len(rows) ** 0.5


def test_held_out_countries_and_questions_cross_nowhere():
    rows = archetypes()
    found = assigned(rows, heldout_countries=("Egypt",), heldout_questions=("Q49",))
    egypt = rows[:, 0] == 2
    taken = np.zeros((len(rows), 3), int)
    for split in SPLITS:
        for question in range(3):
            chosen = found.rows(split, question)
            taken[:, question] += chosen
            assert not (chosen & egypt).any() or split == "cross_country"
            assert not chosen.any() or (split == "cross_value") == (question == 2)
    assert taken.max() == 1
    assert found.rows("cross_country", 0).tolist() == egypt.tolist()
    train = found.rows("train", 0)
    assert found.rows("cross_value", 2).tolist() == train.tolist()


def test_the_leak_report_is_clean_and_catches_a_planted_leak():
    rows = archetypes()
    found = assigned(rows, heldout_countries=("Egypt",))
    report = leak_report(rows, found, country=0)
    assert all(part["shared_archetypes"] == 0 for part in report.values())
    train = {tuple(row) for row in rows[found.archetypes == 0].tolist()}
    held = rows[found.archetypes == ARCHETYPE_SPLITS.index("test")].tolist()
    near = sum(
        any(sum(a != b for a, b in zip(r, t, strict=True)) == 1 for t in train) for r in held
    )
    assert report["test"]["one_attribute_apart"] == near
    leaked = rows.copy()
    leaked[np.flatnonzero(found.archetypes == 2)[0]] = rows[
        np.flatnonzero(found.archetypes == 0)[0]
    ]
    caught = leak_report(leaked, found, country=0)["test"]
    assert caught["shared_archetypes"] == 1 and caught["shared_cells"] == 3
    assert not caught["clean"] and report["test"]["clean"]


def test_a_country_or_a_question_that_crosses_is_caught():
    rows = archetypes()
    found = assigned(rows, heldout_countries=("Egypt",), heldout_questions=("Q49",))
    assert all(part["clean"] for part in leak_report(rows, found, country=0).values())
    abroad = rows.copy()
    abroad[np.flatnonzero(found.archetypes == 0)[0], 0] = 2
    caught = leak_report(abroad, found, country=0)["cross_country"]
    assert caught["shared_countries"] == 1 and not caught["clean"]

    class Leaky(Assignment):
        """Trains on the held-out question too."""

        def rows(self, split, question):
            own = super().rows(split, question)
            return own | (self.archetypes == 0) if split == "train" else own

    leaky = Leaky(found.archetypes, found.heldout_country, found.heldout_question)
    caught = leak_report(rows, leaky, country=0)["cross_value"]
    assert caught["shared_questions"] == 1 and caught["shared_cells"] > 0 and not caught["clean"]


def test_waves_of_an_archetype_are_never_split():
    rows = archetypes()
    twice = assigned(np.concatenate([rows, rows[::-1]]))
    half = len(rows)
    np.testing.assert_array_equal(twice.archetypes[:half], twice.archetypes[half:][::-1])
    np.testing.assert_array_equal(twice.archetypes[:half], assigned(rows).archetypes)


def test_unnamed_countries_and_questions_are_held_out_by_share():
    countries = tuple(f"country {number}" for number in range(10))
    questions = tuple(f"Q{number}" for number in range(1, 17))
    rows = np.stack([np.arange(400) % 10, np.arange(400) // 10], axis=1)

    def held(**options):
        config = BenchmarkConfig(**options)
        where = {"country": 0, "countries": countries, "questions": questions}
        found = assign(rows, **where, config=config)
        return set(rows[found.heldout_country, 0]), set(np.flatnonzero(found.heldout_question))

    lands, asked = held()
    assert len(lands) == len(asked) == 2
    assert held(seed=1) != (lands, asked)
    assert held(country_share=0, question_share=0) == (set(), set())
    assert held(country_share=0.5, heldout_questions=("Q3",))[1] == {2}
    with pytest.raises(ValueError, match=r"country_share is 1; it must be from 0 to below 1"):
        BenchmarkConfig(country_share=1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"heldout_countries": ("Egpyt",)}, "'Egypt'"),
        ({"heldout_questions": ("Q4",)}, "'Q49'"),
        ({"dev": 0.5, "test": 0.5}, "leave nothing to train on"),
        ({"dev": 1.5}, "whole number"),
        ({"dev": 400}, "US has .* archetypes; .* are held out"),
    ],
)
def test_impossible_splits_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        assigned(archetypes(), **options)
