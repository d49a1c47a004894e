"""An invented survey in the form of the released corpus: a seed in, examples out.

Attributes hang together as in any population (life stage with family and work, country with
religion and language). Answers come from a planted ordinal model: country, life stage, religion
and education move an archetype along two invented traits, each question leans on one of them,
and logistic noise is added. The effects are drawn from a seed of their own; they say nothing
about any people. Of 600 archetypes (seeds 0 and 1, three splits each), a fifth held out: the
per-question majority is right in .44-.50 of the examples, the (country, question) majority in
.54-.58, a logistic regression per question in .63-.67, the planted best guess in .75-.77.
"""

from collections.abc import Sequence

import numpy as np

from dvmap_jax.survey.codebook import (
    ATTRIBUTES,
    COMMON_LANGUAGE,
    COUNTRY,
    EDUCATION_LEVEL,
    GENDER,
    HAS_CHILDREN,
    INCOME_BRACKET,
    LIFE_STAGE,
    MARITAL_STATUS,
    NOT_ANSWERED,
    OCCUPATION,
    QUESTIONS,
    RELIGION,
    WORK_NATURE,
    Attribute,
)
from dvmap_jax.survey.corpus import Example, with_frequency

WORLD_SEED = 3  # draws the planted effects, the same for every seed of respondents
LOGISTIC_VARIANCE = np.pi**2 / 3
NUM_TRAITS = 2
LOADING = 2.0  # how far a question moves with its trait, in units of the logistic noise
SPREAD = {COUNTRY: 1.4, LIFE_STAGE: 1.2, RELIGION: 0.9, EDUCATION_LEVEL: 0.9}
NOT_ANSWERED_SHARE = 0.03
MAYBE_MISSING = ("Marital Status", "Has Children", "Occupation", "Work Nature", "Religion")

# Shares of labels by code; rows as their comments say.
STAGES = np.array([0.02, 0.30, 0.26, 0.22, 0.20])
MARITAL = np.array(  # by life stage: married, with a partner, divorced, separated, widowed, single
    [
        [0.00, 0.05, 0.00, 0.00, 0.00, 0.95],
        [0.35, 0.15, 0.03, 0.02, 0.00, 0.45],
        [0.64, 0.10, 0.10, 0.03, 0.02, 0.11],
        [0.64, 0.06, 0.13, 0.03, 0.07, 0.07],
        [0.55, 0.03, 0.10, 0.02, 0.26, 0.04],
    ]
)
CHILDREN = np.array([0.90, 0.75, 0.85, 0.85, 0.92, 0.20])  # by marital status
OCCUPATIONS = np.array(  # by life stage: full, part, self, retired, house, student, none, other
    [
        [0.00, 0.10, 0.00, 0.00, 0.00, 0.85, 0.05, 0.00],
        [0.48, 0.10, 0.10, 0.00, 0.08, 0.15, 0.08, 0.01],
        [0.58, 0.10, 0.14, 0.01, 0.10, 0.00, 0.06, 0.01],
        [0.46, 0.10, 0.14, 0.14, 0.10, 0.00, 0.05, 0.01],
        [0.05, 0.05, 0.06, 0.74, 0.09, 0.00, 0.00, 0.01],
    ]
)
SECTORS = np.array([0.30, 0.62, 0.08])
SCHOOLING = np.array([4.6, 3.0, 3.0, 4.4, 4.6, 4.2, 3.4, 4.4, 3.2, 4.6])  # mean code by country
BELIEFS = {  # religions by country, and their weights
    "United States of America": ((10100000, 2), (20000000, 3), (100000020, 3), (20700000, 1)),
    "India": ((60000000, 6), (50000000, 2), (90400000, 1)),
    "Egypt": ((50000000, 8), (80000000, 1)),
    "Japan": ((70000000, 4), (100000020, 4), (90000000, 1)),
    "Canada": ((10100000, 3), (20000000, 2), (100000020, 4), (90400000, 1)),
    "Germany": ((10100000, 3), (21621100, 2), (100000020, 4), (50000000, 1)),
    "Brazil": ((10100000, 5), (21400000, 2), (100000020, 2), (90500000, 1)),
    "United Kingdom of Great Britain and Northern Ireland": (
        (20000000, 3),
        (10100000, 2),
        (100000000, 4),
        (50000000, 1),
    ),
    "China": ((100000020, 6), (70000000, 2), (20000000, 1)),
    "Russian Federation": ((30100000, 5), (100000020, 3), (50000000, 1)),
}
LANGUAGES = {  # languages by country, and their weights
    "United States of America": ((1240, 9), (4470, 1)),
    "India": ((1740, 5), (490, 2), (2940, 2), (4220, 1), (3540, 1)),
    "Egypt": ((170, 1),),
    "Japan": ((2020, 1),),
    "Canada": ((1240, 7), (1400, 3), (790, 1)),
    "Germany": ((1530, 9), (9000, 1)),
    "Brazil": ((3530, 1),),
    "United Kingdom of Great Britain and Northern Ireland": ((1240, 9), (3520, 1)),
    "China": ((2870, 4), (9060, 5)),
    "Russian Federation": ((3630, 9), (9000, 1)),
}
SHARES = {  # of the answers over everybody, by number of options, before they are rotated
    3: (0.25, 0.48, 0.27),
    4: (0.19, 0.47, 0.22, 0.12),
    5: (0.12, 0.22, 0.46, 0.13, 0.07),
}


def synthetic_examples(num_archetypes: int, seed: int) -> tuple[Example, ...]:
    """Different archetypes, each with an answer to every question, in a seeded order."""
    if num_archetypes < 1:
        raise ValueError(f"num_archetypes is {num_archetypes}; it must be at least 1")
    rng = np.random.default_rng(seed)
    labels = _archetypes(num_archetypes, rng)
    probabilities = planted_probabilities(labels)
    chosen = [draw(shares, rng) for shares in probabilities]
    rows = [tuple(row) for row in labels.tolist()]
    examples = [
        Example(
            question_id=question.id,
            country=row[0],
            attributes=row,
            category=question.section,
            question=question.text,
            options=", ".join(question.options),
            answer=question.options[answers[number]],
            frequency=0.0,
        )
        for number, row in enumerate(rows)
        for question, answers in zip(QUESTIONS, chosen, strict=True)
    ]
    return tuple(with_frequency(examples))


def planted_probabilities(labels: np.ndarray) -> list[np.ndarray]:
    """The true shares [archetypes, options] of each question, for labels [archetypes, attributes].

    Ordered logistic model: P(answer <= k) = sigmoid(cut_k - score).
    """
    traits, loadings, cuts = _world(labels)
    scores = traits @ loadings.T  # [archetypes, questions]
    return [
        np.diff(_sigmoid(cut - scores[:, [q]]), axis=1, prepend=0, append=1)
        for q, cut in enumerate(cuts)
    ]


def planted_by_question(labels: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """The true shares [archetypes, options] by question id, for rows of attribute labels."""
    names = (question.id for question in QUESTIONS)
    return dict(zip(names, planted_probabilities(np.array(labels)), strict=True))


def _world(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Traits of the archetypes, the questions' loadings on them, and their cut points."""
    rng = np.random.default_rng(WORLD_SEED)
    traits = sum(_moves(labels[:, ATTRIBUTES.index(a)], a, rng) for a in SPREAD)
    signs = rng.choice([-1, 1], (len(QUESTIONS), 1))
    loadings = LOADING * signs * np.eye(NUM_TRAITS)[np.arange(len(QUESTIONS)) % NUM_TRAITS]
    variance = LOADING**2 * sum(spread**2 for spread in SPREAD.values())
    width = (1 + variance / LOGISTIC_VARIANCE) ** 0.5
    return traits, loadings, [width * _cuts(question.options, rng) for question in QUESTIONS]


def _moves(labels: np.ndarray, attribute: Attribute, rng: np.random.Generator) -> np.ndarray:
    """How far each archetype's label moves it along each trait; no answer moves it nowhere."""
    groups = _groups(attribute)
    levels = rng.normal(size=(len(set(groups)), NUM_TRAITS))
    if attribute is EDUCATION_LEVEL:  # more schooling moves ever further the same way
        levels = np.arange(len(levels))[:, None] * np.sign(levels[0])
    levels = SPREAD[attribute] * (levels - levels.mean(axis=0)) / levels.std(axis=0)
    one_hot = labels[:, None] == np.array(attribute.values)
    return one_hot @ levels[np.unique(groups, return_inverse=True)[1]]


def _groups(attribute: Attribute) -> list[int]:
    """Labels that move alike: religions of a family, whose codes start alike; else each alone."""
    family = 10_000_000 if attribute is RELIGION else 1
    return [code // family for code, _ in attribute.labels]


def _cuts(options: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
    shares = SHARES[len(options)]
    shares = shares if rng.random() < 0.5 else shares[::-1]
    below = np.cumsum(shares)[:-1]
    return np.log(below / (1 - below))


def _archetypes(count: int, rng: np.random.Generator) -> np.ndarray:
    """Different rows of labels [count, attributes], countries in turn."""
    found: dict[tuple[str, ...], None] = {}
    while len(found) < count:
        found |= dict.fromkeys(
            map(tuple, population(np.arange(2 * count) % len(COUNTRY.values), rng).tolist())
        )
    return np.array(list(found)[:count])


def population(country: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels [people, attributes] of people from countries [people], given by their indices."""
    count = len(country)
    stage = rng.choice(len(STAGES), size=count, p=STAGES)
    marital = draw(MARITAL[stage], rng)
    children = (rng.random(count) < CHILDREN[marital] * (stage > 0)).astype(int)
    education = np.rint(rng.normal(SCHOOLING[country] - 0.3 * (stage - 1), 1.8)).astype(int)
    education = np.clip(education, 0, np.where(stage == 0, 3, 8))
    occupation = draw(OCCUPATIONS[stage], rng)
    income = np.clip(np.rint(rng.normal(0.6 + 0.1 * education, 0.6)), 0, 2).astype(int)
    sector = rng.choice(len(SECTORS), size=count, p=SECTORS)
    columns = {
        COUNTRY: country,
        GENDER: rng.integers(2, size=count),
        MARITAL_STATUS: marital,
        HAS_CHILDREN: children,
        EDUCATION_LEVEL: education,
        OCCUPATION: occupation,
        WORK_NATURE: sector,
        LIFE_STAGE: stage,
        INCOME_BRACKET: income,
    }
    named = {a: np.array(a.values)[codes] for a, codes in columns.items()}
    named[WORK_NATURE] = np.where(occupation == 5, NOT_ANSWERED, named[WORK_NATURE])
    named[RELIGION] = _by_country(named[COUNTRY], RELIGION, BELIEFS, rng)
    named[COMMON_LANGUAGE] = _by_country(named[COUNTRY], COMMON_LANGUAGE, LANGUAGES, rng)
    for attribute in named:
        silent = rng.random(count) < NOT_ANSWERED_SHARE * (attribute.name in MAYBE_MISSING)
        named[attribute] = np.where(silent, NOT_ANSWERED, named[attribute])
    return np.stack([named[attribute] for attribute in ATTRIBUTES], axis=1)


def _by_country(countries, attribute, weights, rng) -> np.ndarray:
    """Labels drawn with each country's weights by code."""
    codes = [code for code, _ in attribute.labels]
    table = np.zeros((len(COUNTRY.values), len(codes)))
    for row, country in enumerate(COUNTRY.values):
        for code, weight in weights[country]:
            table[row, codes.index(code)] = weight
    table /= table.sum(axis=1, keepdims=True)
    rows = (countries[:, None] == np.array(COUNTRY.values)).argmax(axis=1)
    return np.array(attribute.values)[draw(table[rows], rng)]


def draw(shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One index a row, with the row's shares."""
    steps = np.cumsum(shares, axis=1)
    return (rng.random((len(shares), 1)) * steps[:, -1:] > steps).sum(axis=1)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
