"""The triple-generalisation benchmark: archetypes, countries and questions to splits, and leaks.

train, dev, test: disjoint archetypes of training countries, on training questions.
cross_demographic: further archetypes of training countries, held out of all three.
cross_country: every archetype of held-out countries, on training questions.
cross_value: held-out questions, asked of training archetypes.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from dvmap_jax.survey.codebook import check_names

ARCHETYPE_SPLITS = ("train", "dev", "test", "cross_demographic")
SPLITS = (*ARCHETYPE_SPLITS, "cross_country", "cross_value")
NO_SPLIT = -1


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """Which archetypes, countries and questions are held out.

    Of each training country the archetypes, in a seeded order, go to dev, test and
    cross_demographic: a share of them, or exactly so many where the value is above 1; the rest,
    or `train` of them where it is above 0, to train. Which countries and questions DVMap holds
    out is not known; these are ours.
    """

    train: int = 0
    dev: float = 0.1
    test: float = 0.1
    cross_demographic: float = 0.1
    heldout_countries: tuple[str, ...] = ()
    heldout_questions: tuple[str, ...] = ()
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
    """Splits archetypes by country, the same way whatever their order.

    `country` is the column of the country, whose labels are `countries`. Raises ValueError for a
    country or question that is held out and not there, and for a country with too few archetypes.
    """
    present = [countries[index] for index in np.unique(attributes[:, country]) if index >= 0]
    for kind, names, known in (
        ("country", config.heldout_countries, present),
        ("question", config.heldout_questions, questions),
    ):
        check_names(f"the corpus cannot hold out the {kind}", names, known)
    held = [countries.index(name) for name in config.heldout_countries]
    heldout_country = np.isin(attributes[:, country], held)
    split = np.full(len(attributes), NO_SPLIT)
    order = seeded_order(attributes, config.seed)
    for index in np.unique(attributes[~heldout_country, country]):
        own = order[attributes[order, country] == index]
        split[own] = _shared_out(len(own), countries[index], config)
    return Assignment(split, heldout_country, np.isin(questions, config.heldout_questions))


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


def leak_report(attributes: Int[np.ndarray, "G A"], assignment: Assignment) -> dict:
    """What crosses between training and the held-out splits, and what nearly does.

    `shared_archetypes` must be 0 everywhere; `one_attribute_apart` counts held-out archetypes
    that differ from some training archetype in one attribute alone.
    """
    train = attributes[assignment.archetypes == 0]
    report = {}
    for name in SPLITS[1:5]:
        if name == "cross_country":
            rows = attributes[assignment.heldout_country]
        else:
            rows = attributes[assignment.archetypes == ARCHETYPE_SPLITS.index(name)]
        near = np.zeros(len(rows), bool)
        for column in range(attributes.shape[1]):
            rest = np.arange(attributes.shape[1]) != column
            near |= _in(rows[:, rest], train[:, rest])
        report[name] = {
            "archetypes": len(rows),
            "shared_archetypes": int(_in(rows, train).sum()),
            "one_attribute_apart": int(near.sum()),
        }
    return report


def _in(rows: Int[np.ndarray, "N A"], known: Int[np.ndarray, "M A"]) -> np.ndarray:
    """Which rows occur among the known ones."""
    both = np.concatenate([known, rows])
    _, inverse = np.unique(both, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    return np.isin(inverse[len(known) :], inverse[: len(known)])
