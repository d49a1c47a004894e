"""A run's corpus: examples in, training and held-out examples out, split by archetype."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence

from dvmap_jax.survey.codebook import check_names
from dvmap_jax.survey.corpus import (
    SYNTHETIC,
    Corpus,
    CorpusConfig,
    Example,
    read_examples,
    with_frequency,
)
from dvmap_jax.survey.synthetic import synthetic_examples


@dataclasses.dataclass(frozen=True)
class Splits:
    """Training examples and the three ways of being new.

    `cross_demographic`: held-out archetypes of training countries on training questions.
    `cross_country`: archetypes of held-out countries on training questions.
    `cross_value`: training archetypes on held-out questions.
    `frequency` is counted within each.
    """

    train: tuple[Example, ...]
    cross_demographic: tuple[Example, ...]
    cross_country: tuple[Example, ...]
    cross_value: tuple[Example, ...]


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
        heldout = splits.cross_demographic + splits.cross_country + splits.cross_value
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
    countries, questions = tuple(countries), tuple(questions)
    for kind, names, known in (
        ("country", countries, {e.country for e in examples}),
        ("question", questions, {e.question_id for e in examples}),
    ):
        check_names(f"the corpus cannot hold out the {kind}", names, known)
    heldout = _heldout_archetypes(examples, fraction=fraction, countries=countries, seed=seed)

    def choose(wanted: Callable[[Example], bool]) -> tuple[Example, ...]:
        return with_frequency([e for e in examples if wanted(e)])

    splits = Splits(
        train=choose(
            lambda e: (
                e.country not in countries
                and e.question_id not in questions
                and e.archetype not in heldout
            )
        ),
        cross_demographic=choose(
            lambda e: e.archetype in heldout and e.question_id not in questions
        ),
        cross_country=choose(lambda e: e.country in countries and e.question_id not in questions),
        cross_value=choose(
            lambda e: (
                e.question_id in questions
                and e.country not in countries
                and e.archetype not in heldout
            )
        ),
    )
    _check_filled(splits, fraction=fraction, countries=countries, questions=questions)
    return splits


def _examples(config: CorpusConfig) -> tuple[Example, ...]:
    if config.path == SYNTHETIC:
        return synthetic_examples(config.synthetic_archetypes, config.synthetic_seed)
    return read_examples(config.path)


def _heldout_archetypes(
    examples: Sequence[Example], *, fraction: float, countries: tuple[str, ...], seed: int
) -> set[str]:
    """Of each training country, the archetypes that come first by their seeded hashes."""
    by_country: dict[str, set[str]] = {}
    for example in examples:
        if example.country not in countries:
            by_country.setdefault(example.country, set()).add(example.archetype)
    chosen: set[str] = set()
    for archetypes in by_country.values():
        count = max(1, round(fraction * len(archetypes))) if fraction else 0
        chosen |= set(sorted(archetypes, key=lambda name: _hash(name, seed))[:count])
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
    known = {(e.archetype, e.question_id) for e in train}
    shared = sum((e.archetype, e.question_id) in known for e in heldout)
    if shared:
        raise ValueError(
            f"{shared} of {len(heldout)} examples of corpus.heldout_path = {config.heldout_path!r} "
            f"are in corpus.path = {config.path!r} too (same archetype and question); give two "
            "splits that share none"
        )
