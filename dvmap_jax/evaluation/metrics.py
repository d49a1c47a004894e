"""Metrics of evaluated examples: a table of results in, named numbers with intervals out."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from dvmap_jax.survey.answers import original_verdict, parse_options

NUM_RESAMPLES = 2000
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
    values: Iterable[float],
    clusters: Iterable[str],
    *,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """The mean and both ends of its interval, by a percentile bootstrap over whole clusters.

    Rows of a cluster (an archetype) are not independent, so clusters are drawn with
    replacement and the mean is taken over all rows drawn. The ends meet for one cluster.
    """
    values = np.asarray(list(values), float)
    _, codes = np.unique(np.asarray(list(clusters), str), return_inverse=True)
    if not len(values) or len(values) != len(codes):
        raise ValueError(
            f"{len(values)} values and {len(codes)} clusters; an interval needs one value or "
            "more, and a cluster for each"
        )
    sums, sizes = np.bincount(codes, weights=values), np.bincount(codes)
    drawn = _resamples(len(sums), seed)
    means = (drawn @ sums) / (drawn @ sizes)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(values.mean()), float(low), float(high)


def _resamples(count: int, seed: int) -> np.ndarray:
    """How often each cluster is drawn in each resample, [resamples, clusters]."""
    rng = np.random.default_rng(seed)
    shares = np.full(count, 1 / count)
    return rng.multinomial(count, shares, size=NUM_RESAMPLES).astype(float)
