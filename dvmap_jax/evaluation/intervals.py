"""Intervals by resampling whole clusters: values of rows and their clusters in, both ends out.

Rows of a cluster (an archetype) are not independent, so a bootstrap that draws rows is too sure
of itself. Here clusters are drawn with replacement, as many as there are, and every statistic is
recomputed from the sums over the clusters drawn: "pairs cluster bootstrap", percentile ends
(Efron and Tibshirani 1993, section 13.3; Cameron, Gelbach and Miller 2008, section 3.1).
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

CHUNK = 2**21  # most numbers in an array that a step of the resampling makes

Statistic = Callable[[np.ndarray], np.ndarray]
Combine = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class IntervalConfig:
    """The level of an interval, how many resamples it is of, and the seed of their draw."""

    level: float = 0.95
    resamples: int = 10_000
    seed: int = 0

    def __post_init__(self):
        if not 0 < self.level < 1:
            raise ValueError(f"interval.level is {self.level}; it must lie between 0 and 1")
        if self.resamples < 1:
            raise ValueError(f"interval.resamples is {self.resamples}; it must be positive")
        if self.seed < 0:
            raise ValueError(f"interval.seed is {self.seed}; it cannot be negative")


DEFAULT = IntervalConfig()


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value and both ends of its interval, which meet where there is one cluster."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Difference:
    """A difference, both ends of its interval, and the two-sided p-value of no difference."""

    value: float
    low: float
    high: float
    p: float


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Mean over the last axis of numerator over denominator, both [..., parts].

    Parts without a denominator are left out of the mean, which is NaN where none is left. Of
    one part it is a ratio of sums (a mean of rows); of a part a question, the macro average.
    """
    there = denominators > 0
    shares = np.divide(numerators, denominators, where=there, out=np.zeros(numerators.shape))
    count = there.sum(axis=-1)
    return np.divide(shares.sum(axis=-1), count, where=count > 0, out=np.full(count.shape, np.nan))


def cluster_bootstrap(
    numerators: np.ndarray,
    denominators: np.ndarray,
    *,
    clusters: Sequence[str],
    config: IntervalConfig = DEFAULT,
    combine: Combine = ratio,
) -> Interval:
    """The interval of a statistic of sums over rows, by drawing clusters.

    `numerators` and `denominators` are [rows] or [rows, parts]; `combine` makes [resamples] of
    their sums, both [resamples, parts]. Raises ValueError where there is no row, where lengths
    differ, or where a value is not finite.
    """
    over, under = _table(numerators), _table(denominators)
    if over.shape != under.shape:
        raise ValueError(
            f"numerators are {over.shape} and denominators {under.shape}; give equally many rows "
            "and parts"
        )
    parts = over.shape[1]
    sums = cluster_sums(np.concatenate([over, under], axis=1), clusters)

    def statistic(drawn: np.ndarray) -> np.ndarray:
        return combine(drawn[:, :parts], drawn[:, parts:])

    return intervals(sums, statistic, config=config)[0]


def paired_difference(
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    clusters: Sequence[str],
    config: IntervalConfig = DEFAULT,
) -> Difference:
    """The mean of `ours` less that of `theirs`, value by value of the same rows.

    Each resample draws the same clusters for both. p is twice the smaller share of resampled
    differences on one side of nothing, at most 1, each counted with one more draw than was made
    (Davison and Hinkley 1997, section 4.2), so it is never 0.
    """
    first, second = _table(ours), _table(theirs)
    if first.shape != second.shape or first.shape[1] != 1:
        raise ValueError(
            f"{first.shape[0]} values are compared with {second.shape[0]}; give the same rows of "
            "both, one value each"
        )
    gaps = first - second
    sums = cluster_sums(np.concatenate([gaps, np.ones_like(gaps)], axis=1), clusters)
    drawn = resampled(sums, lambda each: each[:, :1] / each[:, 1:], config=config)
    low, high = ends(drawn, config.level)
    draws = drawn[:, 0]
    tail = min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0)) + 1
    p = min(1.0, 2 * tail / (len(draws) + 1))
    return Difference(float(gaps.mean()), float(low[0]), float(high[0]), p)


def cluster_sums(columns: np.ndarray, clusters: Sequence[str]) -> np.ndarray:
    """Sums of the rows of each cluster, [rows, columns] to [clusters, columns], float64.

    Raises ValueError where there is no row, a row has no cluster, or a value is not finite.
    """
    columns = _table(columns)
    codes, names = pd.factorize(pd.Series(list(clusters), dtype=object))
    if not len(columns) or len(columns) != len(codes):
        raise ValueError(
            f"{len(columns)} values and {len(codes)} clusters; an interval needs one value or "
            "more, and a cluster for each"
        )
    if (codes < 0).any():
        raise ValueError(f"row {int(np.argmax(codes < 0))} is in no cluster; name one for each row")
    if not np.isfinite(columns).all():
        row = int(np.argmax(~np.isfinite(columns).all(axis=1)))
        raise ValueError(f"row {row} is {columns[row].tolist()}; an interval needs finite values")
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(names)))
    return np.add.reduceat(columns[order], starts, axis=0)


def intervals(
    sums: np.ndarray, statistic: Statistic, *, config: IntervalConfig = DEFAULT
) -> list[Interval]:
    """Intervals of statistics of sums: `statistic` takes [resamples, columns].

    It gives [resamples] or [resamples, statistics]; their values are those of all clusters once.
    """
    whole = _table(statistic(sums.sum(axis=0, keepdims=True)))[0]
    low, high = ends(resampled(sums, statistic, config=config), config.level)
    triples = zip(whole, low, high, strict=True)
    return [Interval(*(float(number) for number in triple)) for triple in triples]


def ends(draws: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The percentiles that hold the middle `level` of [resamples, statistics].

    Resamples in which a statistic is undefined (NaN) are left out of it; where all are, so are
    the ends.
    """
    draws = np.sort(draws, axis=0)  # NaN last
    there = np.count_nonzero(~np.isnan(draws), axis=0)
    columns = np.arange(draws.shape[1])

    def at(share: float) -> np.ndarray:
        place = share * np.maximum(there - 1, 0)
        below = np.floor(place).astype(int)
        first = draws[below, columns]
        return first + (place - below) * (draws[np.ceil(place).astype(int), columns] - first)

    return at((1 - level) / 2), at((1 + level) / 2)


def resampled(
    sums: np.ndarray, statistic: Statistic, *, config: IntervalConfig = DEFAULT
) -> np.ndarray:
    """The statistics of every resample of the clusters, [resamples, statistics].

    `sums` are [clusters, columns]. The same seed draws the same clusters whatever is summed.
    """
    rng = np.random.default_rng(config.seed)
    count = len(sums)
    size = max(1, CHUNK // max(sums.shape))
    found = []
    for start in range(0, config.resamples, size):
        chunk = min(size, config.resamples - start)
        drawn = rng.integers(count, size=(chunk, count)) + count * np.arange(chunk)[:, None]
        times = np.bincount(drawn.ravel(), minlength=chunk * count).reshape(chunk, count)
        found.append(_table(statistic(times.astype(float) @ sums)))
    return np.concatenate(found)


def _table(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Values as [rows, columns], float64."""
    values = np.asarray(values, float)
    return values[:, None] if values.ndim == 1 else values
