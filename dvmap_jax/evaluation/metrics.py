"""Metrics of evaluated examples: a table of results in, named numbers with intervals out."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from dvmap_jax.evaluation.intervals import DEFAULT, IntervalConfig, cluster_bootstrap
from dvmap_jax.evaluation.metric import MetricsConfig
from dvmap_jax.evaluation.suite import measure
from dvmap_jax.survey.answers import original_verdict, parse_options

ACCURACIES = ("accuracy", "accuracy/macro", "accuracy/country/*", "accuracy_lenient")
LOGGED = (  # by their names in the suite
    *(*ACCURACIES, "format", "truncated", "nll", "wasserstein/probabilities"),
    *("dispersion_retention", "dispersion_retention/predicted", "over_determination"),
)
RENAMED = {"format": "readable"}
VALUES_ALONE = MetricsConfig(interval=IntervalConfig(resamples=1))  # most of the time is resampling


def is_correct(completion: str, *, options: str, answer: str) -> bool:
    """The original evaluator's verdict on a completion, given the comma-joined options."""
    return original_verdict(completion, parse_options(options), answer)


def accuracy_metrics(results: pd.DataFrame) -> dict[str, float]:
    """Accuracy of a table with columns archetype, question_id, country and correct (0 to 1).

    What a run logs of the suite, as plain numbers: `accuracy/low` and `accuracy/high` end the 95 %
    interval over archetypes, `readable` is the suite's "format". What needs further columns
    (correct_lenient, readable, truncated, probabilities, ...) is added where the table has them.
    """
    for column in ("archetype", "question_id", "country", "correct"):
        if column not in results:
            raise ValueError(
                f"the results have no column {column!r}; they have {', '.join(results.columns)}"
            )
    found = measure(results, names=LOGGED, config=VALUES_ALONE).metrics
    accuracy = measure(results, names=["accuracy"]).metrics["accuracy"]
    ends = {"accuracy/low": accuracy.low, "accuracy/high": accuracy.high}
    values = {RENAMED.get(name, name): each.value for name, each in found.items()}
    return values | ends | {"num_rows": float(len(results))}


def mean_interval(
    values: Iterable[float], clusters: Iterable[str], *, config: IntervalConfig = DEFAULT
) -> tuple[float, float, float]:
    """The mean and both ends of its interval, by a bootstrap over whole clusters.

    The mean is taken over all rows of the clusters drawn. The ends meet for one cluster.
    """
    values = np.asarray(list(values), float)
    found = cluster_bootstrap(values, np.ones_like(values), clusters=list(clusters), config=config)
    return found.value, found.low, found.high
