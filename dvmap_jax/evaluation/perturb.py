"""Examples asked as of another person, or with their options in another order.

As many examples come out as go in, in the same order, with the same questions and answers. All
examples of an archetype are changed alike, in what is told of the person: the country stands among
the attributes and by itself, and changes in both places. What is drawn depends on the seed and on
the examples, not on their order; what is left out at one share stays out at a larger one.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES, NOT_ANSWERED, check_names
from dvmap_jax.survey.corpus import Example

COUNTRY = ATTRIBUTE_NAMES.index("Country")

Person = tuple[str, ...]  # labels in the order of ATTRIBUTE_NAMES
Examples = tuple[Example, ...]


def described_as(example: Example, person: Person) -> Example:
    """The example as asked of this person; of nobody in particular where there are no labels."""
    country = person[COUNTRY] if person else NOT_ANSWERED
    return dataclasses.replace(example, attributes=person, country=country, prompt="")


def shuffled_attributes(examples: Sequence[Example], *, seed: int) -> Examples:
    """Every archetype with all attributes of another one of its country, each taken once."""
    drawn, found = generator(seed, "attributes"), {}
    by_country: dict[str, list[Person]] = {}
    for person in people(examples):
        by_country.setdefault(person[COUNTRY], []).append(person)
    for each in by_country.values():
        found |= _ring(each, drawn)
    return _as_others(examples, found)


def shuffled_country(examples: Sequence[Example], *, seed: int) -> Examples:
    """Every archetype with the country of another one, each taken once, and its own other labels.

    The other archetype may be of the same country.
    """
    ring = _ring(people(examples), generator(seed, "country"))
    return _as_others(
        examples, {own: _with(own, COUNTRY, other[COUNTRY]) for own, other in ring.items()}
    )


def without(examples: Sequence[Example], names: Iterable[str]) -> Examples:
    """Examples whose attributes of these names were "Not Answered"; ValueError for another name."""
    names = tuple(names)
    check_names("no attribute is called", names, ATTRIBUTE_NAMES)
    kept = [name not in names for name in ATTRIBUTE_NAMES]
    return _changed(examples, lambda person: _replaced(person, np.array(kept), _silence(person)))


def country_alone(examples: Sequence[Example]) -> Examples:
    """Examples of whose person the country is told, and nothing else."""
    return without(examples, [name for name in ATTRIBUTE_NAMES if name != ATTRIBUTE_NAMES[COUNTRY]])


def question_alone(examples: Sequence[Example]) -> Examples:
    """Examples asked of nobody in particular."""
    return tuple(described_as(example, ()) for example in examples)


def missing(examples: Sequence[Example], *, share: float, seed: int) -> Examples:
    """Examples of whose attributes each, the country too, is left out with the chance `share`."""

    def silenced(person: Person) -> Person:
        draws = generator(seed, "missing", *person).random(len(person))
        return _replaced(person, draws >= share, _silence(person))

    return _changed(examples, silenced)


def noisy(examples: Sequence[Example], *, share: float, seed: int) -> Examples:
    """Examples of whose attributes each, the country too, is another with the chance `share`.

    It is one of the other labels that the examples have of the attribute, equally likely.
    """
    columns = list(zip(*people(examples), strict=True))
    seen = [sorted(set(column) - {NOT_ANSWERED}) for column in columns]

    def mistaken(person: Person) -> Person:
        draws, places = generator(seed, "noise", *person).random((2, len(person)))
        others = [
            _another(labels, label, place)
            for labels, label, place in zip(seen, person, places, strict=True)
        ]
        return _replaced(person, draws >= share, others)

    return _changed(examples, mistaken)


def reversed_options(examples: Sequence[Example]) -> Examples:
    """Examples whose options stand in the opposite order."""
    return tuple(_ordered(each, range(len(each.option_list))[::-1]) for each in examples)


def shuffled_options(examples: Sequence[Example], *, seed: int) -> Examples:
    """Examples whose options stand in an order drawn for each, never the one they had."""

    def shuffled(example: Example) -> Example:
        told = (*example.attributes, example.question_id, example.options)
        drawn, size = generator(seed, "options", *told), len(example.option_list)
        order = drawn.permutation(size)
        while size > 1 and (order == np.arange(size)).all():
            order = drawn.permutation(size)
        return _ordered(example, order)

    return tuple(map(shuffled, examples))


def sampled(examples: Sequence[Example], *, rows: int, seed: int) -> Examples:
    """Whole archetypes, of at most this many rows together; all of them where `rows` is 0.

    Countries take turns, each with its archetypes in a drawn order, until the next archetype is
    one too many. ValueError where fewer fit in than two of each country.
    """
    if not rows or rows >= len(examples):
        return tuple(examples)
    sizes = Counter(example.attributes for example in examples)
    turns = _turns(sorted(sizes), generator(seed, "sample"))
    within = np.cumsum([sizes[person] for person in turns]) <= rows
    kept = set(turns[: int(within.sum())])
    countries = Counter(person[COUNTRY] for person in turns)
    needed = sum(min(2, count) for count in countries.values())
    if len(kept) < needed:
        raise ValueError(
            f"{rows} rows hold {len(kept)} archetypes; probes need two of each country, {needed} "
            "in all: allow more rows"
        )
    return tuple(example for example in examples if example.attributes in kept)


def people(examples: Sequence[Example]) -> list[Person]:
    """The attributes of each archetype once, sorted; ValueError where an example has none."""
    for number, example in enumerate(examples):
        if not example.attributes:
            raise ValueError(
                f"example {number} ({example.question_id}) is asked of nobody in particular; "
                "probes change what is told of a person, so give examples that tell it"
            )
    return sorted({example.attributes for example in examples})


def unchanged(examples: Sequence[Example], perturbed: Sequence[Example]) -> int:
    """How many archetypes are told as before."""
    pairs = zip(examples, perturbed, strict=True)
    return len({a.attributes for a, b in pairs if a.attributes == b.attributes})


def generator(seed: int, *words: str) -> np.random.Generator:
    """Draws of a purpose of its own: the same in every process, of words and seed alone."""
    return np.random.default_rng(np.random.SeedSequence([seed, *"\n".join(words).encode()]))


def _ring(persons: Sequence[Person], drawn: np.random.Generator) -> dict[Person, Person]:
    """Each person and the one before it in a drawn order, the last one before the first."""
    order = drawn.permutation(len(persons))
    pairs = zip(order, np.roll(order, 1), strict=True)
    return {persons[own]: persons[other] for own, other in pairs}


def _turns(persons: Sequence[Person], drawn: np.random.Generator) -> list[Person]:
    """Persons in a drawn order in which countries take turns."""
    taken: Counter[str] = Counter()
    rounds: list[tuple[int, int]] = []
    for place in drawn.permutation(len(persons)):
        country = persons[place][COUNTRY]
        rounds.append((taken[country], int(place)))
        taken[country] += 1
    return [persons[place] for _, place in sorted(rounds, key=lambda each: each[0])]


def _as_others(examples: Sequence[Example], others: Mapping[Person, Person]) -> Examples:
    return tuple(described_as(example, others[example.attributes]) for example in examples)


def _changed(examples: Sequence[Example], change: Callable[[Person], Person]) -> Examples:
    return _as_others(examples, {person: change(person) for person in people(examples)})


def _with(person: Person, place: int, label: str) -> Person:
    return (*person[:place], label, *person[place + 1 :])


def _replaced(person: Person, kept: np.ndarray, others: Sequence[str]) -> Person:
    return tuple(own if k else o for own, k, o in zip(person, kept, others, strict=True))


def _silence(person: Person) -> list[str]:
    return [NOT_ANSWERED] * len(person)


def _another(labels: Sequence[str], label: str, place: float) -> str:
    """The label of the others at a place of 0 to 1; the label itself where it is the only one."""
    others = [each for each in labels if each != label]
    return others[int(place * len(others))] if others else label


def _ordered(example: Example, order: Iterable[int]) -> Example:
    order, counts = list(order), example.answer_counts
    options = ", ".join(example.option_list[place] for place in order)
    counts = counts and tuple(counts[place] for place in order)
    return dataclasses.replace(example, options=options, answer_counts=counts, prompt="")
