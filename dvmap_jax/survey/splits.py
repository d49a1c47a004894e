"""A run's corpus: examples in, training and held-out examples out, split by archetype."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dvmap_jax.survey.codebook import check_names
from dvmap_jax.survey.corpus import (
    SYNTHETIC,
    Corpus,
    CorpusConfig,
    Example,
    as_table,
    joined,
    read_examples,
    with_frequency,
)
from dvmap_jax.survey.synthetic import synthetic_examples
from dvmap_jax.survey.table import RecordTable


@dataclasses.dataclass(frozen=True)
class Splits:
    """Training examples and the three ways of being new.

    `cross_demographic`: held-out archetypes of training countries on training questions.
    `cross_country`: archetypes of held-out countries on training questions.
    `cross_value`: training archetypes on held-out questions.
    `frequency` is counted within each.
    """

    train: RecordTable[Example]
    cross_demographic: RecordTable[Example]
    cross_country: RecordTable[Example]
    cross_value: RecordTable[Example]


def load_corpus(config: CorpusConfig) -> Corpus:
    """Examples for training and held-out ones: all three held-out splits, one after the other.

    Raises ValueError where either is empty, naming the setting that emptied it, or where an
    archetype's answer to a question is in both.
    """
    examples = _examples(config)
    other = bool(config.heldout_path)
    splits = split_examples(
        examples,
        fraction=0.0 if other else config.heldout_fraction,
        countries=config.heldout_countries,
        questions=config.heldout_questions,
        seed=config.split_seed,
    )
    if not other:
        parts = (splits.cross_demographic, splits.cross_country, splits.cross_value)
        heldout = RecordTable.of(Example, itertools.chain(*parts))
        if not heldout:
            raise ValueError(
                "the held-out split is empty: corpus.heldout_fraction is 0 and no country, "
                "question or heldout_path is set; set one of them"
            )
        return Corpus(splits.train, heldout)
    heldout = read_examples(config.heldout_path)
    _refuse_overlap(splits.train, heldout, config)
    return Corpus(splits.train, heldout)


def split_examples(
    examples: Sequence[Example],
    *,
    fraction: float,
    countries: Iterable[str] = (),
    questions: Iterable[str] = (),
    seed: int = 0,
) -> Splits:
    """Splits by archetype, the same way whatever the order of the examples.

    Of each training country `fraction` of the archetypes are held out (rounded, and at least
    one where the fraction is above 0). Raises ValueError for an unknown country or question,
    with the nearest known names, and where a split that was asked for is empty.
    """
    table = as_table(examples)
    countries, questions = tuple(countries), tuple(questions)
    for kind, names, known in (
        ("country", countries, _present(table, "country")),
        ("question", questions, _present(table, "question_id")),
    ):
        check_names(f"the corpus cannot hold out the {kind}", names, known)
    archetypes = _heldout_archetypes(table, fraction=fraction, countries=countries, seed=seed)
    heldout = _among(table, "attributes", archetypes)
    abroad = _among(table, "country", countries)
    other = _among(table, "question_id", questions)
    masks = {
        "train": ~abroad & ~other & ~heldout,
        "cross_demographic": heldout & ~other,
        "cross_country": abroad & ~other,
        "cross_value": other & ~abroad & ~heldout,
    }
    splits = Splits(**{name: with_frequency(table.select(mask)) for name, mask in masks.items()})
    _check_filled(splits, fraction=fraction, countries=countries, questions=questions)
    return splits


def count_shared(train: Sequence[Example], heldout: Sequence[Example]) -> int:
    """How many held-out rows have the archetype and the question of a row to train on."""
    asked = {(e.archetype, e.question_id) for e in heldout}
    known = {pair for e in train if (pair := (e.archetype, e.question_id)) in asked}
    return sum((e.archetype, e.question_id) in known for e in heldout)


def _examples(config: CorpusConfig) -> Sequence[Example]:
    if config.path == SYNTHETIC:
        return synthetic_examples(config.synthetic_archetypes, config.synthetic_seed)
    return read_examples(config.path)


def _present(table: RecordTable[Example], field: str) -> set[str]:
    """The values that rows have in a field."""
    return {table.values(field)[code] for code in np.unique(table.codes(field))}


def _among(table: RecordTable[Example], field: str, chosen: Iterable[Any]) -> np.ndarray:
    """Of each row whether its value is one of those chosen, bool [rows]."""
    chosen = set(chosen)
    return np.array([value in chosen for value in table.values(field)], bool)[table.codes(field)]


def _heldout_archetypes(
    table: RecordTable[Example], *, fraction: float, countries: tuple[str, ...], seed: int
) -> set[tuple[str, ...]]:
    """Of each training country, the archetypes that come first by their seeded hashes."""
    pairs = np.unique(np.stack([table.codes("country"), table.codes("attributes")], 1), axis=0)
    by_country: dict[str, list[tuple[str, ...]]] = {}
    for country, attributes in pairs:
        by_country.setdefault(table.values("country")[country], []).append(
            table.values("attributes")[attributes]
        )
    chosen: set[tuple[str, ...]] = set()
    for country, archetypes in by_country.items():
        if country not in countries and fraction:
            count = max(1, round(fraction * len(archetypes)))
            chosen |= set(sorted(archetypes, key=lambda each: _hash(joined(each), seed))[:count])
    return chosen


def _hash(name: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}|{name}".encode(), digest_size=16).digest()


def _check_filled(
    splits: Splits, *, fraction: float, countries: tuple[str, ...], questions: tuple[str, ...]
) -> None:
    reasons = {
        "train": f"heldout_fraction {fraction}, heldout_countries {countries} and "
        f"heldout_questions {questions} leave nothing",
        "cross_demographic": f"heldout_questions {questions} or heldout_countries {countries} "
        "leave no question of a training country" * bool(fraction),
        "cross_country": f"heldout_questions {questions} leave no question of {countries}"
        * bool(countries),
        "cross_value": f"no archetype left for training answered {questions}" * bool(questions),
    }
    for name, reason in reasons.items():
        if reason and not getattr(splits, name):
            raise ValueError(f"the split {name} is empty: {reason}; hold out less")


def _refuse_overlap(
    train: Sequence[Example], heldout: Sequence[Example], config: CorpusConfig
) -> None:
    shared = count_shared(train, heldout)
    if shared:
        raise ValueError(
            f"{shared} of {len(heldout)} examples of corpus.heldout_path = {config.heldout_path!r} "
            f"are in corpus.path = {config.path!r} too (same archetype and question); give two "
            "splits that share none"
        )
