"""Baselines that know no text: training examples in, rows of results out.

Majorities count the answers of cells of the training examples. A cell nobody was seen in, and one
of a life stage with fewer than FEWEST answers, falls back to a less specific one, at last to equal
shares. All shares of a majority are on one option, so it says nothing of how sure it is: where the
answer has none, there is no likelihood.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dvmap_jax.evaluation.journal import identity
from dvmap_jax.evaluation.tabular import LEARNED, Tabular, answer_indices, fit_tabular
from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES, nearest_names
from dvmap_jax.survey.corpus import Example, as_table

# The most specific key first; a cell that is not kept falls back to the next.
KEYS = {
    "uniform": (),
    "fixed_first": (),
    "fixed_middle": (),
    "fixed_last": (),
    "majority_question": (("question_id",),),
    "majority_country_question": (("country", "question_id"), ("question_id",)),
    "majority_country_life_stage_question": (
        ("country", "life_stage", "question_id"),
        ("country", "question_id"),
        ("question_id",),
    ),
}
BASELINES = (*KEYS, *LEARNED)
# What an option's place is among the others, of 0 to 1; of two middle ones the earlier.
FIXED = {"fixed_first": 0.0, "fixed_middle": 0.5, "fixed_last": 1.0}
UNTRAINED = ("uniform", *FIXED)
FEWEST = 5  # answers of a country, life stage and question; majorities of fewer are noise
LIFE_STAGE = ATTRIBUTE_NAMES.index("Life Stage")


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The most frequent answer in each cell of the training examples, for each of its keys."""

    name: str
    majorities: tuple[dict[tuple[str, ...], str], ...]

    def probabilities(self, examples: Sequence[Example]) -> list[np.ndarray]:
        """For each example, shares over its options: all on one of them, or even."""
        return [self._shares(example) for example in examples]

    def _shares(self, example: Example) -> np.ndarray:
        options = example.option_list
        if self.name in FIXED:
            return np.eye(len(options))[int(FIXED[self.name] * (len(options) - 1))]
        for key, majority in zip(KEYS[self.name], self.majorities, strict=True):
            answer = majority.get(_cell(example, key))
            if answer in options:
                return np.eye(len(options))[options.index(answer)]
        return np.full(len(options), 1 / len(options))


def fit_baseline(name: str, examples: Sequence[Example]) -> Baseline | Tabular:
    """Learns from the training examples; of equally frequent answers the earlier option wins.

    Raises ValueError for a name not in BASELINES or where there is nothing to learn from.
    """
    if name not in BASELINES:
        raise ValueError(f"no baseline is called {name!r}; {nearest_names(name, BASELINES)}")
    if not examples and name not in UNTRAINED:
        raise ValueError(
            f"the baseline {name!r} is fitted on training examples; give some (--train)"
        )
    if name in LEARNED:
        return fit_tabular(name, examples)
    columns = _columns(examples) if KEYS[name] else None
    return Baseline(name, tuple(_majority(columns, key) for key in KEYS[name]))


def baseline_results(
    name: str, train: Sequence[Example], heldout: Sequence[Example], *, benchmark: str = "heldout"
) -> pd.DataFrame:
    """The rows of a baseline fitted on `train`; errors of `fit_baseline`, rows of `results_of`."""
    return results_of(fit_baseline(name, train), heldout, benchmark=benchmark)


def results_of(
    baseline: Baseline | Tabular, heldout: Sequence[Example], *, benchmark: str = "heldout"
) -> pd.DataFrame:
    """One row a held-out example, as of a model that scores options.

    The option with the largest share is predicted, of equally large ones the first. Where all
    are equal, one is drawn with a fixed seed and `correct` is the expected accuracy of doing so.
    """
    shares = baseline.probabilities(heldout)
    draws = np.random.default_rng(0).random(len(heldout))
    rows = []
    for number, (example, each) in enumerate(zip(heldout, shares, strict=True)):
        even = each.max() == each.min()
        chosen = int(draws[number] * len(each)) if even else int(np.argmax(each))
        right = float(chosen == example.answer_index)
        rows.append(
            identity(example, benchmark=benchmark, number=number)
            | {
                "predicted": example.option_list[chosen],
                "correct": 1 / len(each) if even else right,
                "probabilities": each.tolist(),
            }
        )
    return pd.DataFrame(rows)


def _cell(example: Example, key: tuple[str, ...]) -> tuple[str, ...]:
    """Where the example is counted; nobody in particular is of no life stage."""
    fields = {
        "country": example.country,
        "question_id": example.question_id,
        "life_stage": example.attributes[LIFE_STAGE] if example.attributes else "",
    }
    return tuple(fields[name] for name in key)


def _columns(examples: Sequence[Example]) -> pd.DataFrame:
    """The examples as `_cell` counts them, with their answers."""
    table = as_table(examples)
    stages = [each[LIFE_STAGE] if each else "" for each in table.values("attributes")]
    columns = {name: table.values(name) for name in ("country", "question_id", "answer")}
    columns = {name: np.array(values)[table.codes(name)] for name, values in columns.items()}
    columns["life_stage"] = np.array(stages)[table.codes("attributes")]
    return pd.DataFrame(columns | {"index": answer_indices(table)})


def _majority(columns: pd.DataFrame, key: tuple[str, ...]) -> dict[tuple[str, ...], str]:
    """The most frequent answer of each cell; ties go to the earlier option of the codebook."""
    fewest = FEWEST if "life_stage" in key else 1
    cells = columns.groupby([*key, "index", "answer"]).size().groupby(level=list(key))
    first = cells.idxmax()[cells.sum() >= fewest]
    return {tuple(place[: len(key)]): place[-1] for place in first}
