"""Changed examples put to whoever is evaluated: variants in, answers in the order of rows out."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dvmap_jax.evaluation.asking import Ask
from dvmap_jax.evaluation.journal import digest
from dvmap_jax.evaluation.outcomes import Outcomes
from dvmap_jax.survey.corpus import Example


@dataclasses.dataclass(frozen=True)
class Given:
    """Answers to N examples: `correct` [N] as shares, and the labels predicted, None unread."""

    correct: np.ndarray
    predicted: tuple[str | None, ...]


@dataclasses.dataclass(frozen=True)
class Asking:
    """Whoever is evaluated, and a benchmark whose examples are put to it in other words.

    The archetypes of the rows are those of the `examples`, whatever a variant tells of them.
    """

    ask: Ask
    examples: Sequence[Example]
    benchmark: str
    template: str

    @property
    def clusters(self) -> list[str]:
        """The archetype of each row."""
        return [example.archetype for example in self.examples]

    def __call__(
        self, variant: str, examples: Sequence[Example], *, template: str | None = None
    ) -> Given:
        """Answers to a variant of the examples, in their order.

        What is asked has a name of its own, of the variant, the template and what the examples
        hold, so that a journal goes on with it. ValueError where an answer is missing or twice.
        """
        template = template or self.template
        name = f"{self.benchmark}/{variant}, {template}/{digest(examples)}"
        return given(self.ask(examples, name=name, template=template), len(self.examples), name)


def given(results: pd.DataFrame, rows: int, name: str) -> Given:
    """Rows of results as answers, by number; a call that failed is wrong and predicts nothing."""
    results = results.sort_values("number")
    if results["number"].tolist() != list(range(rows)):
        raise ValueError(
            f"{len(results)} answers to the {rows} rows of {name!r}; there must be one to each: "
            "remove the journal of the evaluation and start it again"
        )
    predicted = (each if isinstance(each, str) else None for each in results["predicted"])
    return Given(Outcomes(results).correct, tuple(predicted))
