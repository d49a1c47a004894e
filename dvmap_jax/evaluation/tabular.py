"""Baselines that learn from attributes, one model a question: training examples in, shares out.

They are scikit-learn's: logistic regression and a random forest over an indicator for each label,
and the archetypes with the most labels in common. A question's model is fitted when it is first
asked, and kept on disk under the digest of all that it depends on. They know nothing of a question
that training lacks, and give its options equal shares.
"""

import dataclasses
import functools
import logging
import os
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import joblib
import numpy as np
import sklearn
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from dvmap_jax.files import whole_file
from dvmap_jax.survey.answers import parse_options
from dvmap_jax.survey.corpus import Example, as_table
from dvmap_jax.survey.table import RecordTable

CACHE = pathlib.Path("~/.cache/dvmap_jax/baselines")
CACHE_VARIABLE = "DVMAP_JAX_BASELINES"  # names another folder; empty: nothing is kept
VERSION = 1  # of what is kept; another one wherever the same training would give another model
HELD = 32  # models in memory: a forest of 5,000 archetypes takes 30 MB
UNKNOWN = -1  # code of a label that training lacks
NEIGHBOURS = 15
EVEN = 1e-3  # part of the shares that all options have alike, so that none is impossible

Codes = Sequence[dict[str, int]]


@dataclasses.dataclass(frozen=True)
class Training:
    """What a question's model learns from: codes of labels, [rows, attributes], and answers.

    `places` are those of the rows' answers among `answers`, which stand in the order of the
    options, so that of equally likely ones the earlier is predicted.
    """

    labels: np.ndarray
    places: np.ndarray
    answers: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What was learned of a question: a scikit-learn classifier, and the answers it tells apart."""

    classifier: Any
    answers: tuple[str, ...]

    def shares(self, labels: np.ndarray) -> np.ndarray:
        """Probabilities of the answers, [rows, answers], from codes of labels."""
        if len(self.answers) == 1:
            return np.ones((len(labels), 1))
        return self.classifier.predict_proba(labels)


@dataclasses.dataclass(frozen=True)
class Tabular:
    """The codes of the labels of each attribute; a question's model, None where training has none.

    `fitted` fits it or finds it kept.
    """

    codes: Codes
    fitted: Callable[[str], Fitted | None]

    def probabilities(self, examples: Sequence[Example]) -> list[np.ndarray]:
        """For each example, shares over its options; equal ones where its question is unknown."""
        table = as_table(examples)
        labels = _coded(table.values("attributes"), self.codes)[table.codes("attributes")]
        asked = np.stack([table.codes(name) for name in ("question_id", "options")], axis=1)
        pairs, pair_of_row = np.unique(asked, axis=0, return_inverse=True)
        found: dict[int, np.ndarray] = {}
        for number, (question, options) in enumerate(pairs):
            rows = np.flatnonzero(pair_of_row.reshape(-1) == number)
            told = self._shares(
                table.values("question_id")[question],
                parse_options(table.values("options")[options]),
                labels=labels[rows],
            )
            found |= zip(rows, told, strict=True)
        return [found[row] for row in range(len(table))]

    def _shares(self, question: str, options: Sequence[str], *, labels: np.ndarray) -> np.ndarray:
        """Shares of the options, [rows, options], which may be other ones than training's."""
        even = np.full((len(labels), len(options)), 1 / len(options))
        fitted = self.fitted(question)
        if fitted is None:
            return even
        of_answer = dict(zip(fitted.answers, fitted.shares(labels).T, strict=True))
        nothing = np.zeros(len(labels))
        found = np.stack([of_answer.get(option, nothing) for option in options], axis=1)
        total = found.sum(axis=1, keepdims=True)
        mixed = (1 - EVEN) * found / np.where(total > 0, total, 1) + EVEN * even
        return np.where(total > 0, mixed, even)


def fit_tabular(name: str, examples: Sequence[Example]) -> Tabular:
    """Learns to answer each question once it is asked; KeyError for a name not in LEARNED."""
    make, table = LEARNED[name], as_table(examples)
    codes = _codes(table)
    labels, indices = _coded(table.values("attributes"), codes), answer_indices(table)

    @functools.lru_cache(HELD)
    def fitted(question: str) -> Fitted | None:
        questions = np.array(table.values("question_id"))
        rows = np.flatnonzero((questions == question)[table.codes("question_id")])
        if not len(rows):
            return None
        answers = [table.values("answer")[code] for code in table.codes("answer")[rows]]
        ordered = sorted(set(zip(indices[rows], answers, strict=True)))
        known = tuple(dict.fromkeys(answer for _, answer in ordered))
        places = np.array([known.index(answer) for answer in answers])
        training = Training(labels[table.codes("attributes")[rows]], places, known)
        return kept(make(codes, len(rows)), training)

    return Tabular(codes, fitted)


def logistic_regression(codes: Codes, rows: int) -> Any:
    """Multinomial, on an indicator for each label, with a penalty of C = 0.1."""
    return make_pipeline(_indicators(codes), LogisticRegression(C=0.1, max_iter=1000))


def random_forest(codes: Codes, rows: int) -> Any:
    """300 trees on an indicator for each label, with 3 archetypes or more in a leaf."""
    # Trees grow several times as fast on dense columns of the type they work in.
    indicators = _indicators(codes, sparse_output=False, dtype=np.float32)
    forest = RandomForestClassifier(300, min_samples_leaf=3, random_state=0)
    return make_pipeline(indicators, forest)


def nearest_archetypes(codes: Codes, rows: int) -> Any:
    """The 15 archetypes with the fewest labels that differ, each with one vote."""
    return KNeighborsClassifier(min(NEIGHBOURS, rows), metric="hamming", algorithm="brute")


LEARNED = {
    "logistic_regression": logistic_regression,
    "random_forest": random_forest,
    "nearest_archetypes": nearest_archetypes,
}


def kept(classifier: Any, training: Training) -> Fitted:
    """The classifier fitted, or as it was kept when an equal one was fitted on the same."""
    folder = os.environ.get(CACHE_VARIABLE, str(CACHE))
    if not folder:
        return fit(classifier, training)
    digest = joblib.hash((VERSION, sklearn.__version__, classifier, training))
    file = pathlib.Path(folder).expanduser() / f"{digest}.joblib"
    if file.exists():
        try:
            return joblib.load(file)
        except Exception as error:  # a damaged pickle raises anything
            logging.warning("%s cannot be read (%s); it is made again", file, error)
    fitted = fit(classifier, training)
    try:
        with whole_file(file) as draft:
            joblib.dump(fitted, draft, compress=1)
    except OSError as error:  # told once, whatever the number of questions
        warnings.warn(f"no baseline is kept in {folder}: {type(error).__name__}", stacklevel=1)
    return fitted


def fit(classifier: Any, training: Training) -> Fitted:
    """Fits the classifier; one answer needs none, and some refuse it."""
    if len(training.answers) > 1:
        # Not by n_jobs of the forest: then its predictions would add up in any order as well.
        with joblib.parallel_config("threading", n_jobs=-1):
            classifier.fit(training.labels, training.places)
    return Fitted(classifier, training.answers)


def answer_indices(table: RecordTable[Example]) -> np.ndarray:
    """Place of each row's answer among its options, [rows]."""
    options, answers = table.values("options"), table.values("answer")
    keys = table.codes("options").astype(int) * len(answers) + table.codes("answer")
    pairs, pair_of_row = np.unique(keys, return_inverse=True)
    split = [divmod(pair, len(answers)) for pair in pairs]
    places = [parse_options(options[each]).index(answers[answer]) for each, answer in split]
    return np.array(places)[pair_of_row]


def _indicators(codes: Codes, **how: Any) -> OneHotEncoder:
    """An indicator for each label; one that training lacks has none."""
    known = [list(range(len(labels))) for labels in codes]
    return OneHotEncoder(categories=known, handle_unknown="ignore", **how)


def _codes(table: RecordTable[Example]) -> tuple[dict[str, int], ...]:
    """The labels of each attribute, numbered by name."""
    people = [table.values("attributes")[code] for code in np.unique(table.codes("attributes"))]
    labels = zip(*(each for each in people if each), strict=True)
    return tuple({label: code for code, label in enumerate(sorted(set(each)))} for each in labels)


def _coded(attributes: Sequence[tuple[str, ...]], codes: Codes) -> np.ndarray:
    """Codes of labels, [rows, attributes]; UNKNOWN where training lacks one."""
    nobody = ("",) * len(codes)
    return np.array(
        [
            [known.get(label, UNKNOWN) for label, known in zip(row or nobody, codes, strict=True)]
            for row in attributes
        ]
    )
