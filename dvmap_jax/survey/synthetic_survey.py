"""An invented survey as a file in the form of wave 7: all its columns, its codes, its gaps.

The people are those of the synthetic corpus: their answers to its questions come from the same
planted model, the rest from one that leans on the same traits. Nothing in it says anything about
any people.
"""

import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from dvmap_jax.files import whole_file
from dvmap_jax.survey.codebook import (
    ATTRIBUTE_NAMES,
    COUNTRY,
    NOT_ANSWERED,
    NOT_ASKED_IN,
    Codebook,
    Question,
    wave7,
)
from dvmap_jax.survey.synthetic import draw, planted_by_question, population

SURVEY_FILE, TRUTH_FILE = "survey.csv", "truth.parquet"
LAST_QUESTION = 290
SKEW = 0.7  # the n-th country has so many respondents as the first over n to this power
SILENT = {-1: 0.02, -2: 0.01}  # shares of "don't know" and "no answer"
NOT_ASKED, UNAVAILABLE = -4, -5
NO_INCOME_SHARE, NO_AGE_SHARE = 0.05, 0.002
AGES = {  # youngest and oldest of a life stage, in years
    "Adolescence": (16, 17),
    "Young Adulthood": (18, 34),
    "Middle Adulthood": (35, 50),
    "Late Adulthood": (51, 64),
    "Older Adulthood": (65, 90),
}
STEPS = {"Low income": (1, 3), "Middle income": (4, 7), "High income": (8, 10)}
CHILDREN = {"has no children": (0, 0), "has at least one child": (1, 6)}
RANGES = {"Life Stage": AGES, "Income Bracket": STEPS, "Has Children": CHILDREN}
YEARS = 2017, 2022  # of the interviews, one country after the other
OFF_SCALE_SHARE = 0.005  # of the answers that a question's own missing codes take


def write_synthetic_survey(
    folder: pathlib.Path, *, num_respondents: int, seed: int
) -> pathlib.Path:
    """Writes `survey.csv` and, beside it, `truth.parquet`; returns the survey's path.

    The truth has a row a respondent and question of the synthetic corpus: the planted shares of
    the options. The same seed gives the same bytes. Raises ValueError for fewer than one.
    """
    if num_respondents < 1:
        raise ValueError(f"num_respondents is {num_respondents}; it must be at least 1")
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, len(COUNTRY.values) + 1) ** SKEW
    country = rng.choice(len(COUNTRY.values), size=num_respondents, p=weights / weights.sum())
    labels = population(country, rng)
    shares = planted_by_question(labels)
    columns = _columns(labels, shares, wave7(), rng)
    with whole_file(folder / SURVEY_FILE) as draft:
        pyarrow.csv.write_csv(pa.table(columns), draft)
    respondent = wave7().respondent
    truth = {respondent: columns[respondent]} | {
        name: pa.array(list(values), pa.list_(pa.float64())) for name, values in shares.items()
    }
    with whole_file(folder / TRUTH_FILE) as draft:
        pq.write_table(pa.table(truth), draft)
    return folder / SURVEY_FILE


def _columns(labels, shares, codebook: Codebook, rng) -> dict[str, np.ndarray]:
    """Every column of the file in order: administration, then the questions."""
    count = len(labels)
    demographics = {
        attribute.variable: _demographic_codes(labels, attribute, rng)
        for attribute in codebook.attributes
    }
    country = demographics.pop(codebook.country.variable)
    known = {question.id: question for question in codebook.questions}
    answers = {}
    for number in range(1, LAST_QUESTION + 1):
        name = f"Q{number}"
        if name in demographics:
            answers[name] = demographics[name]
        elif name in known:
            answers[name] = _answers(known[name], shares.get(name), labels[:, 0], rng)
        else:
            answers[name] = np.full(count, UNAVAILABLE)
    extra = {name: codes for name, codes in demographics.items() if name not in answers}
    return {
        codebook.wave: np.full(count, 7),
        codebook.date: _years(labels[:, 0]),
        codebook.country.variable: country,
        codebook.respondent: country.astype(np.int64) * 10_000_000 + np.arange(1, count + 1),
        codebook.weight: np.round(rng.gamma(8, 1 / 8, count), 5),
        **answers,
        **extra,
    }


def _years(countries: np.ndarray) -> np.ndarray:
    """The year of each interview: every country has its own."""
    first, last = YEARS
    place = (countries[:, None] == np.array(COUNTRY.values)).argmax(axis=1)
    return first + place % (last - first + 1)


def _demographic_codes(labels, attribute, rng) -> np.ndarray:
    """Codes of an attribute's labels; within an interval any of its codes."""
    texts = labels[:, ATTRIBUTE_NAMES.index(attribute.name)]
    codes = np.full(len(texts), -2)
    for code, label in attribute.labels:
        chosen = texts == label
        low, high = RANGES.get(attribute.name, {}).get(label, (code, code))
        codes[chosen] = rng.integers(low, high + 1, int(chosen.sum()))
    gap = {"Income Bracket": NO_INCOME_SHARE, "Life Stage": NO_AGE_SHARE}.get(attribute.name, 0)
    codes[rng.random(len(codes)) < gap] = -2
    codes[(texts == NOT_ANSWERED) & (rng.random(len(codes)) < 0.5)] = -1
    return codes


def _answers(question: Question, shares, countries, rng) -> np.ndarray:
    """Raw codes: an option by the planted shares where there are some, then one of its codes."""
    count = len(countries)
    if shares is None:
        tilt = rng.dirichlet(np.full(len(question.options), 2.0), len(COUNTRY.values))
        place = (countries[:, None] == np.array(COUNTRY.values)).argmax(axis=1)
        shares = tilt[place]
    chosen = draw(shares, rng)
    sizes = np.array([len(codes) for codes in question.codes])
    table = np.zeros((len(sizes), sizes.max()), int)
    for row, codes in enumerate(question.codes):
        table[row, : len(codes)] = codes
    codes = table[chosen, (rng.random(count) * sizes[chosen]).astype(int)]
    silence = rng.random(count)
    shares = SILENT | dict.fromkeys(question.missing, OFF_SCALE_SHARE)
    for code, share in shares.items():
        codes[(silence >= 0) & (silence < share)] = code
        silence -= share
    for name, asked_not in NOT_ASKED_IN.items():
        if question.id in asked_not:
            codes[countries == name] = NOT_ASKED
    return codes
