"""All metrics: a table of results in; values with intervals, and notes of what was left out."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dvmap_jax.evaluation import beliefs, correctness, ordinal, spread, twins
from dvmap_jax.evaluation.intervals import (
    DEFAULT,
    Difference,
    Interval,
    IntervalConfig,
    intervals,
    paired_difference,
)
from dvmap_jax.evaluation.metric import MANY, Metric, MetricsConfig, Sums
from dvmap_jax.evaluation.outcomes import LeftOutError, Outcomes, paired_correct

# By name, in the order of reports; "*" stands for a country, a question or an attribute.
METRICS = {
    metric.name: metric
    for module in (correctness, ordinal, beliefs, spread, twins)
    for metric in module.METRICS
}


@dataclasses.dataclass(frozen=True)
class Measured:
    """Metrics by name, with their intervals over archetypes, and what there is to say of them."""

    metrics: dict[str, Interval]
    notes: list[str]


def measure(
    results: pd.DataFrame,
    *,
    reference: pd.DataFrame | None = None,
    config: MetricsConfig | None = None,
    names: Sequence[str] = tuple(METRICS),
) -> Measured:
    """Every metric that the results of one benchmark can tell; a note says what is left out.

    `results` need the columns archetype and correct; others as metrics need them. `reference`
    are the results of the country majority on the same rows, for the skill over it. Raises
    ValueError where there is no row, one is there twice, or a column contradicts another.
    """
    config = config or MetricsConfig()
    outcomes = Outcomes(results, reference)
    found, notes = {}, {}
    for name in names:
        try:
            found[name] = METRICS[name].compute(outcomes, config)
            note = found[name].note
        except LeftOutError as reason:
            note = f"left out, {reason}"
        if note:
            notes.setdefault(note, []).append(name)
    lines = [f"{', '.join(told)}: {note}" for note, told in notes.items()]
    return Measured(_resampled(found, config.interval), lines)


def metric_of(name: str) -> Metric:
    """The metric of a name with its label, as of "accuracy/country/Japan"; ValueError for none."""
    if name in METRICS:
        return METRICS[name]
    for pattern, metric in METRICS.items():
        before, many, after = pattern.partition(MANY)
        if many and name.startswith(before) and name.endswith(after):
            return metric
    raise ValueError(f"no metric is called {name!r}; there are {', '.join(METRICS)}")


def accuracy_difference(
    ours: pd.DataFrame, theirs: pd.DataFrame, *, config: IntervalConfig = DEFAULT
) -> Difference:
    """Accuracy of one model less that of another on the same rows, paired by their number.

    Raises ValueError where the rows are not the same examples.
    """
    outcomes = Outcomes(ours)
    pairs = paired_correct(ours, theirs)
    return paired_difference(outcomes.correct, pairs, clusters=ours["archetype"], config=config)


def _resampled(found: dict[str, Sums], config: IntervalConfig) -> dict[str, Interval]:
    """Intervals of all metrics, from the same draws of clusters."""
    places = np.cumsum([0] + [sums.columns.shape[1] for sums in found.values()])
    slices = [slice(start, end) for start, end in zip(places[:-1], places[1:], strict=True)]

    def statistic(drawn: np.ndarray) -> np.ndarray:
        parts = [
            sums.statistic(drawn[:, part]).reshape(len(drawn), -1)
            for sums, part in zip(found.values(), slices, strict=True)
        ]
        return np.concatenate(parts, axis=1)

    columns = np.concatenate([sums.columns for sums in found.values()], axis=1)
    labelled = [
        metric
        for name, sums in found.items()
        for metric in (map(METRICS[name].named, sums.labels) if sums.labels else [name])
    ]
    return dict(zip(labelled, intervals(columns, statistic, config=config), strict=True))
