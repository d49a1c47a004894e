"""Baselines that learn from attributes, one model a question: training examples in, shares out.

They are scikit-learn's (the extra "report"): logistic regression and a random forest over an
indicator for each label, and the archetypes with the most labels in common. They know nothing of a
question that training lacks, and give its options equal shares.
"""

import dataclasses
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from dvmap_jax.survey.corpus import Example

UNKNOWN = -1  # code of a label that training lacks
NEIGHBOURS = 15
EVEN = 1e-3  # part of the shares that all options have alike, so that none is impossible


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What was learned of a question: a scikit-learn classifier, and the answers it tells apart."""

    classifier: Any
    answers: tuple[str, ...]

    def shares(self, attributes: np.ndarray) -> np.ndarray:
        """Probabilities of the answers, [rows, answers]."""
        if len(self.answers) == 1:
            return np.ones((len(attributes), 1))
        return self.classifier.predict_proba(attributes)


@dataclasses.dataclass(frozen=True)
class Tabular:
    """Classifiers by question, and the codes of the labels of each attribute."""

    codes: tuple[dict[str, int], ...]
    fitted: dict[str, Fitted]

    def probabilities(self, examples: Sequence[Example]) -> list[np.ndarray]:
        """For each example, shares over its options; equal ones where its question is unknown."""
        found = [np.full(len(e.option_list), 1 / len(e.option_list)) for e in examples]
        rows: dict[str, list[int]] = {}
        for number, example in enumerate(examples):
            rows.setdefault(example.question_id, []).append(number)
        for question, numbers in rows.items():
            if question not in self.fitted:
                continue
            fitted = self.fitted[question]
            told = fitted.shares(_coded([examples[n] for n in numbers], self.codes))
            for number, shares in zip(numbers, told, strict=True):
                found[number] = _over_options(examples[number], fitted.answers, shares)
        return found


def fit_tabular(name: str, examples: Sequence[Example]) -> Tabular:
    """Fits a classifier to the answers of each question; KeyError for a name not in LEARNED."""
    make = LEARNED[name]
    codes = _codes(examples)
    return Tabular(
        codes,
        {
            question: _fitted(make, [e for e in examples if e.question_id == question], codes=codes)
            for question in sorted({e.question_id for e in examples})
        },
    )


def logistic_regression(codes: Sequence[dict[str, int]], rows: int) -> Any:
    """Multinomial, on an indicator for each label, with a penalty of C = 0.1."""
    linear = sklearn_module("sklearn.linear_model")
    return _on_indicators(codes, linear.LogisticRegression(C=0.1, max_iter=1000))


def random_forest(codes: Sequence[dict[str, int]], rows: int) -> Any:
    """300 trees on an indicator for each label, with 3 archetypes or more in a leaf."""
    ensemble = sklearn_module("sklearn.ensemble")
    forest = ensemble.RandomForestClassifier(300, min_samples_leaf=3, random_state=0)
    return _on_indicators(codes, forest)


def nearest_archetypes(codes: Sequence[dict[str, int]], rows: int) -> Any:
    """The 15 archetypes with the fewest labels that differ, each with one vote."""
    neighbors = sklearn_module("sklearn.neighbors")
    return neighbors.KNeighborsClassifier(
        min(NEIGHBOURS, rows), metric="hamming", algorithm="brute"
    )


LEARNED = {
    "logistic_regression": logistic_regression,
    "random_forest": random_forest,
    "nearest_archetypes": nearest_archetypes,
}


def sklearn_module(name: str) -> Any:
    """A module of scikit-learn, which is an extra and takes a second to import.

    Raises ImportError that names the extra where it is absent.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"the baselines {', '.join(LEARNED)} need scikit-learn; install the extra: "
            "pip install 'dvmap-jax[report]'"
        ) from error


def _on_indicators(codes: Sequence[dict[str, int]], classifier: Any) -> Any:
    """The classifier behind an indicator for each label; a label that training lacks has none."""
    preprocessing = sklearn_module("sklearn.preprocessing")
    pipeline = sklearn_module("sklearn.pipeline")
    known = [list(range(len(labels))) for labels in codes]
    indicators = preprocessing.OneHotEncoder(categories=known, handle_unknown="ignore")
    return pipeline.make_pipeline(indicators, classifier)


def _fitted(make, examples: Sequence[Example], *, codes) -> Fitted:
    """Answers stand in the order of the options, so that of equal ones the earlier wins."""
    answers = tuple(sorted({(e.answer_index, e.answer) for e in examples}))
    answers = tuple(dict.fromkeys(answer for _, answer in answers))
    places = np.array([answers.index(e.answer) for e in examples])
    classifier = make(codes, len(examples))
    if len(answers) > 1:  # one answer needs no classifier, and some refuse it
        classifier.fit(_coded(examples, codes), places)
    return Fitted(classifier, answers)


def _codes(examples: Sequence[Example]) -> tuple[dict[str, int], ...]:
    """The labels of each attribute, numbered by name."""
    width = max((len(e.attributes) for e in examples), default=0)
    labels = [
        sorted({e.attributes[place] for e in examples if e.attributes}) for place in range(width)
    ]
    return tuple({label: code for code, label in enumerate(each)} for each in labels)


def _coded(examples: Sequence[Example], codes: Sequence[dict[str, int]]) -> np.ndarray:
    """Codes of the examples' labels, [rows, attributes]; UNKNOWN where training lacks one."""
    nobody = ("",) * len(codes)
    return np.array(
        [
            [
                known.get(label, UNKNOWN)
                for label, known in zip(e.attributes or nobody, codes, strict=True)
            ]
            for e in examples
        ]
    )


def _over_options(example: Example, answers: tuple[str, ...], shares: np.ndarray) -> np.ndarray:
    """Shares of answers as shares of the example's options, which may be others."""
    of_answer = dict(zip(answers, shares, strict=True))
    found = np.array([of_answer.get(option, 0.0) for option in example.option_list])
    even = np.full(len(found), 1 / len(found))
    total = found.sum()
    return (1 - EVEN) * found / total + EVEN * even if total > 0 else even
