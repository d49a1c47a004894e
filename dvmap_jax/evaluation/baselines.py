"""Baselines that know no text: training examples in, probabilities over options out."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dvmap_jax.survey.codebook import nearest_names
from dvmap_jax.survey.corpus import Example

# The most specific key first; a cell nobody was seen in falls back to the next.
KEYS = {
    "uniform": (),
    "majority_question": (("question_id",),),
    "majority_country_question": (("country", "question_id"), ("question_id",)),
}
BASELINES = tuple(KEYS)


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The most frequent answer in each cell of the training examples, for each of its keys."""

    name: str
    majorities: tuple[dict[tuple[str, ...], str], ...]

    def probabilities(self, examples: Sequence[Example]) -> list[np.ndarray]:
        """For each example, shares over its options: all on the majority, or even."""
        return [self._shares(example) for example in examples]

    def _shares(self, example: Example) -> np.ndarray:
        options = example.option_list
        for key, majority in zip(KEYS[self.name], self.majorities, strict=True):
            answer = majority.get(_cell(example, key))
            if answer in options:
                return np.eye(len(options))[options.index(answer)]
        return np.full(len(options), 1 / len(options))


def fit_baseline(name: str, examples: Sequence[Example]) -> Baseline:
    """Counts the answers of the training examples; of equal ones the earlier option wins."""
    if name not in KEYS:
        raise ValueError(f"no baseline is called {name!r}; {nearest_names(name, BASELINES)}")
    return Baseline(name, tuple(_majority(examples, key) for key in KEYS[name]))


def baseline_results(
    name: str, train: Sequence[Example], heldout: Sequence[Example]
) -> pd.DataFrame:
    """One row a held-out example: who and what, shares over options, and `correct`.

    `correct` is the share on the right answer: for "uniform" the expected accuracy.
    """
    shares = fit_baseline(name, train).probabilities(heldout)
    return pd.DataFrame(
        {
            "number": range(len(heldout)),
            "question_id": [e.question_id for e in heldout],
            "country": [e.country for e in heldout],
            "archetype": [e.archetype for e in heldout],
            "answer": [e.answer for e in heldout],
            "predicted": [
                e.option_list[int(np.argmax(each))] for e, each in zip(heldout, shares, strict=True)
            ],
            "correct": [
                float(each[e.answer_index]) for e, each in zip(heldout, shares, strict=True)
            ],
            "probabilities": [each.tolist() for each in shares],
        }
    )


def _cell(example: Example, key: tuple[str, ...]) -> tuple[str, ...]:
    fields = {"country": example.country, "question_id": example.question_id}
    return tuple(fields[name] for name in key)


def _majority(examples: Sequence[Example], key: tuple[str, ...]) -> dict[tuple[str, ...], str]:
    """The most frequent answer of each cell; ties go to the earlier option of the codebook."""
    counts: dict[tuple[str, ...], dict[tuple[int, str], int]] = {}
    for example in examples:
        cell = counts.setdefault(_cell(example, key), {})
        answer = (example.answer_index, example.answer)
        cell[answer] = cell.get(answer, 0) + 1
    return {
        cell: min(answers, key=lambda answer: (-answers[answer], answer))[1]
        for cell, answers in counts.items()
    }
