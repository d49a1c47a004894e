"""Changed examples put to whoever is evaluated: variants in, answers in the order of rows out."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dvmap_jax.evaluation.asking import Ask
from dvmap_jax.evaluation.intervals import DEFAULT, IntervalConfig
from dvmap_jax.evaluation.journal import digest
from dvmap_jax.evaluation.outcomes import Outcomes
from dvmap_jax.evaluation.perturb import question_alone
from dvmap_jax.survey.corpus import Example


@dataclasses.dataclass(frozen=True)
class ProbesConfig:
    """How a predictor is probed.

    `max_rows` bounds the rows that are asked again and again, by whole archetypes; 0 means all.
    `shares` are those of attributes left out or replaced, `orders` the number of shuffles of the
    options. `seed` is that of what is changed; flips of signs are as many as `interval.resamples`.
    """

    max_rows: int = 2000
    shares: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    orders: int = 2
    seed: int = 0
    interval: IntervalConfig = DEFAULT

    def __post_init__(self):
        for name in ("max_rows", "orders", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"probes.{name} is {getattr(self, name)}; it cannot be negative")
        if not all(0 < share <= 1 for share in self.shares):
            raise ValueError(f"probes.shares are {self.shares}; each must be above 0, at most 1")


@dataclasses.dataclass(frozen=True)
class Given:
    """Answers to N examples: `correct` [N] as shares, and the labels predicted, None unread.

    `drawn` says that they were drawn, so that asking again may give others.
    """

    correct: np.ndarray
    predicted: tuple[str | None, ...]
    drawn: bool = False


@dataclasses.dataclass(frozen=True)
class Asking:
    """Whoever is evaluated, and a benchmark whose examples are put to it in other words.

    The archetypes of the rows are those of the `examples`, whatever a variant tells of them.
    """

    ask: Ask
    examples: Sequence[Example]
    benchmark: str
    template: str
    config: ProbesConfig = dataclasses.field(default_factory=ProbesConfig)

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

    @property
    def clusters(self) -> list[str]:
        """The archetype of each row."""
        return [example.archetype for example in self.examples]

    @functools.cached_property
    def before(self) -> Given:
        """Answers to the examples as they are."""
        return self("as asked", self.examples)

    @functools.cached_property
    def of_nobody(self) -> Given:
        """Answers to the questions alone."""
        return self("question only", question_alone(self.examples))


def given(results: pd.DataFrame, rows: int, name: str) -> Given:
    """Rows of results as answers, by number; a call that failed is wrong and predicts nothing."""
    results = results.sort_values("number")
    if results["number"].tolist() != list(range(rows)):
        raise ValueError(
            f"{len(results)} answers to the {rows} rows of {name!r}; there must be one to each: "
            "remove the journal of the evaluation and start it again"
        )
    predicted = (each if isinstance(each, str) else None for each in results["predicted"])
    return Given(Outcomes(results).correct, tuple(predicted), "predictions" in results)
