"""Metrics of evaluated examples: a table of results in, named numbers with intervals out."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from dvmap_jax.evaluation.intervals import DEFAULT, IntervalConfig, cluster_bootstrap
from dvmap_jax.survey.answers import original_verdict, parse_options

SHARES = ("correct_lenient", "readable", "truncated")  # columns a table of results may have too
NAMES = {"correct_lenient": "accuracy_lenient"}


def is_correct(completion: str, *, options: str, answer: str) -> bool:
    """The original evaluator's verdict on a completion, given the comma-joined options."""
    return original_verdict(completion, parse_options(options), answer)


def accuracy_metrics(results: pd.DataFrame) -> dict[str, float]:
    """Accuracy of a table with columns archetype, question_id, country and correct (0 to 1).

    `accuracy/macro` is the mean over questions of their accuracies; `accuracy/low` and
    `accuracy/high` end the 95 % interval over archetypes. The shares of further columns
    (correct_lenient, readable, truncated) are added where the table has them.
    """
    for column in ("archetype", "question_id", "country", "correct"):
        if column not in results:
            raise ValueError(
                f"the results have no column {column!r}; they have {', '.join(results.columns)}"
            )
    mean, low, high = mean_interval(results["correct"], results["archetype"])
    metrics = {
        "accuracy": mean,
        "accuracy/low": low,
        "accuracy/high": high,
        "accuracy/macro": float(results.groupby("question_id")["correct"].mean().mean()),
    }
    for country, share in results.groupby("country")["correct"].mean().items():
        metrics[f"accuracy/country/{country}"] = float(share)
    for column in SHARES:
        if column in results:
            metrics[NAMES.get(column, column)] = float(results[column].mean())
    return metrics | {"num_rows": float(len(results))}


def mean_interval(
    values: Iterable[float], clusters: Iterable[str], *, config: IntervalConfig = DEFAULT
) -> tuple[float, float, float]:
    """The mean and both ends of its interval, by a bootstrap over whole clusters.

    The mean is taken over all rows of the clusters drawn. The ends meet for one cluster.
    """
    values = np.asarray(list(values), float)
    found = cluster_bootstrap(values, np.ones_like(values), clusters=list(clusters), config=config)
    return found.value, found.low, found.high
