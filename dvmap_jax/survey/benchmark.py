"""The triple-generalisation benchmark: archetypes, countries and questions to splits, and leaks.

train, dev, test: disjoint archetypes of training countries, on training questions.
cross_demographic: further archetypes of training countries, held out of all three.
cross_country: every archetype of held-out countries, on training questions.
cross_value: held-out questions, asked of training archetypes.
"""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from dvmap_jax.survey.archetypes import row_keys
from dvmap_jax.survey.codebook import NOT_ANSWERED, check_names

ARCHETYPE_SPLITS = ("train", "dev", "test", "cross_demographic")
SPLITS = (*ARCHETYPE_SPLITS, "cross_country", "cross_value")
NO_SPLIT = -1
# What a split must not share with training, besides cells.
MUST_NOT_SHARE = {split: ("archetypes",) for split in ARCHETYPE_SPLITS[1:]} | {
    "cross_country": ("archetypes", "countries"),
    "cross_value": ("questions",),
}


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """Which archetypes, countries and questions are held out.

    Of each training country the archetypes, in a seeded order, go to dev, test and
    cross_demographic: a share of them, or exactly so many where the value is above 1; the rest,
    or `train` of them where it is above 0, to train. Where no country or question is named, a
    share of them is held out, also in a seeded order: which ones DVMap holds out is not known.
    """

    train: int = 0
    dev: float = 0.1
    test: float = 0.1
    cross_demographic: float = 0.1
    heldout_countries: tuple[str, ...] = ()
    heldout_questions: tuple[str, ...] = ()
    country_share: float = 0.2
    question_share: float = 0.125
    seed: int = 0

    def __post_init__(self):
        shares = (self.dev, self.test, self.cross_demographic)
        for value in shares:
            if value < 0 or (value > 1 and value != int(value)):
                raise ValueError(
                    f"a split of {value} archetypes makes no sense; give a share below 1 or a "
                    "whole number of archetypes a country"
                )
        if sum(value for value in shares if value <= 1) >= 1 or self.train < 0:
            raise ValueError(f"dev, test and cross_demographic {shares} leave nothing to train on")
        for name in ("country_share", "question_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be from 0 to below 1")


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Where each archetype and question belongs.

    `archetypes` are indices into `ARCHETYPE_SPLITS`, -1 for those of held-out countries and for
    those that exact counts leave over; `countries` and `questions` say what is held out.
    """

    archetypes: Int[np.ndarray, " G"]
    heldout_country: np.ndarray
    heldout_question: np.ndarray

    def rows(self, split: str, question: int) -> np.ndarray:
        """Which archetypes' cells of a question belong to the split."""
        held = bool(self.heldout_question[question])
        if split == "cross_value":
            return (self.archetypes == 0) & held
        if held:
            return np.zeros(len(self.archetypes), bool)
        if split == "cross_country":
            return self.heldout_country
        return self.archetypes == ARCHETYPE_SPLITS.index(split)


def assign(
    attributes: Int[np.ndarray, "G A"],
    *,
    country: int,
    countries: Sequence[str],
    questions: Sequence[str],
    config: BenchmarkConfig,
) -> Assignment:
    """Splits archetypes by country, equal ones (of several waves) alike, whatever their order.

    `country` is the column of the country, whose labels are `countries`. Raises ValueError for a
    country or question that is held out and not there, and for a country with too few archetypes.
    """
    present = [countries[index] for index in np.unique(attributes[:, country]) if index >= 0]
    for kind, names, known in (
        ("country", config.heldout_countries, present),
        ("question", config.heldout_questions, questions),
    ):
        check_names(f"the corpus cannot hold out the {kind}", names, known)
    chosen = config.heldout_countries or _first(present, config.country_share, config.seed)
    held = [countries.index(name) for name in chosen]
    _, first, where = np.unique(row_keys(attributes), return_index=True, return_inverse=True)
    rows = attributes[first]
    heldout_country = np.isin(rows[:, country], held)
    split = np.full(len(rows), NO_SPLIT)
    order = seeded_order(rows, config.seed)
    for index in np.unique(rows[~heldout_country, country]):
        own = order[rows[order, country] == index]
        split[own] = _shared_out(len(own), (*countries, NOT_ANSWERED)[index], config)
    chosen = config.heldout_questions or _first(questions, config.question_share, config.seed)
    return Assignment(split[where], heldout_country[where], np.isin(questions, chosen))


def _first(names: Sequence[str], share: float, seed: int) -> tuple[str, ...]:
    """A share of the names, rounded down, that come first by seeded hashes."""
    digests = {name: hashlib.blake2b(f"{seed}|{name}".encode()).digest() for name in names}
    return tuple(sorted(names, key=digests.get)[: int(share * len(names))])


def seeded_order(attributes: Int[np.ndarray, "G A"], seed: int) -> Int[np.ndarray, " G"]:
    """Rows in the order of hashes of their labels and the seed; equal rows have equal places."""
    state = np.full(len(attributes), np.uint64(seed) + np.uint64(1))
    with np.errstate(over="ignore"):
        for column in attributes.T.astype(np.int64):
            state = _splitmix(state + (column + 2).astype(np.uint64))
    return np.lexsort((*attributes.T, state))


def _splitmix(state: np.ndarray) -> np.ndarray:
    """One step of splitmix64 (Steele, Lea and Flood 2014), which mixes all bits."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _shared_out(count: int, country: str, config: BenchmarkConfig) -> Int[np.ndarray, " G"]:
    """Split indices for a country's archetypes in their seeded order: held-out ones first."""
    wanted = [_number(count, getattr(config, name)) for name in ARCHETYPE_SPLITS[1:]]
    left = count - sum(wanted)
    train = config.train or left
    if train > left or train < 1:
        raise ValueError(
            f"{country} has {count} archetypes; {sum(wanted)} are held out and {max(train, 1)} "
            "wanted for training; hold out fewer or leave the country out"
        )
    split = np.full(count, NO_SPLIT)
    split[: sum(wanted)] = np.repeat([1, 2, 3], wanted)
    split[sum(wanted) : sum(wanted) + train] = 0
    return split


def _number(count: int, value: float) -> int:
    """A share of the archetypes, rounded and at least one, or a number of them."""
    if value > 1:
        return int(value)
    return max(1, round(value * count)) if value else 0


def leak_report(
    attributes: Int[np.ndarray, "G A"], assignment: Assignment, *, country: int
) -> dict[str, dict]:
    """What crosses between training and the held-out splits, and what nearly does.

    Read off what is written, cell by cell (a cell is an archetype and a question). `clean` says
    that no cell is shared, nor what `MUST_NOT_SHARE` names; `one_attribute_apart` counts the
    split's archetypes that differ from one of training in one attribute alone. `country` is the
    column of the country.
    """
    keys = row_keys(attributes)
    train = _written(assignment, "train")
    report = {}
    for split in SPLITS[1:]:
        own = _written(assignment, split)
        known, held = (cells.any(axis=1) for cells in (train, own))
        questions = train.any(axis=0) & own.any(axis=0)
        shared = {
            "archetypes": int(np.isin(keys[held], keys[known]).sum()),
            "countries": len(np.intersect1d(attributes[held, country], attributes[known, country])),
            "questions": int(questions.sum()),
        }
        both = np.flatnonzero(questions) if shared["archetypes"] else ()
        cells = sum(int(np.isin(keys[own[:, q]], keys[train[:, q]]).sum()) for q in both)
        report[split] = {
            "archetypes": int(held.sum()),
            **{f"shared_{kind}": number for kind, number in shared.items()},
            "shared_cells": cells,
            "one_attribute_apart": int(_near(attributes[held], attributes[known]).sum()),
            "clean": cells == 0 and not any(shared[kind] for kind in MUST_NOT_SHARE[split]),
        }
    return report


def combinations(assignment: Assignment, answered: Bool[np.ndarray, "G Q"]) -> dict[str, dict]:
    """Cells by where their archetype belongs and whether their question is held out."""
    parts = {name: assignment.archetypes == i for i, name in enumerate(ARCHETYPE_SPLITS)}
    parts["left over"] = (assignment.archetypes == NO_SPLIT) & ~assignment.heldout_country
    parts["held-out countries"] = assignment.heldout_country
    questions = {
        "training questions": ~assignment.heldout_question,
        "held-out questions": assignment.heldout_question,
    }
    return {
        name: {kind: int(answered[rows][:, own].sum()) for kind, own in questions.items()}
        for name, rows in parts.items()
    }


def _written(assignment: Assignment, split: str) -> Bool[np.ndarray, "G Q"]:
    """Which archetypes' cells are in the split, by question."""
    number = len(assignment.heldout_question)
    return np.stack([assignment.rows(split, question) for question in range(number)], axis=1)


def _near(rows: Int[np.ndarray, "N A"], known: Int[np.ndarray, "M A"]) -> Bool[np.ndarray, " N"]:
    """Which rows equal a known one in all columns but one, whatever that one holds."""
    near = np.zeros(len(rows), bool)
    for column in range(rows.shape[1]):
        keys = row_keys(np.delete(np.concatenate([known, rows]), column, axis=1))
        near |= np.isin(keys[len(known) :], keys[: len(known)])
    return near
