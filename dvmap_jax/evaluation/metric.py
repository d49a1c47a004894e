"""What a metric is: a name, a title, a formula with its source, and sums that can be resampled."""

import dataclasses
import inspect
from collections.abc import Callable

import numpy as np

from dvmap_jax.evaluation.intervals import DEFAULT, IntervalConfig, Statistic, ratio
from dvmap_jax.evaluation.outcomes import Outcomes

MANY = "*"  # in a metric's name, stands for labels of the data
STEP = 1e-3  # part of an archetype that is added to see what it moves
AT_A_TIME = 64  # archetypes so tried, for the memory


@dataclasses.dataclass(frozen=True)
class MetricsConfig:
    """What metrics leave open.

    A question is saturated where its most frequent answer has this share of its rows or more.
    Disparity compares labels of an attribute that have `min_rows` rows or more. Calibration sorts
    confidence into `bins` of equal width.
    """

    interval: IntervalConfig = DEFAULT
    saturated: float = 0.8
    min_rows: int = 50
    bins: int = 10

    def __post_init__(self):
        if not 0 < self.saturated <= 1:
            raise ValueError(f"metrics.saturated is {self.saturated}; it must be a share above 0")
        if self.min_rows < 1 or self.bins < 1:
            raise ValueError(
                f"metrics.min_rows is {self.min_rows} and metrics.bins {self.bins}; both must be "
                "positive"
            )


@dataclasses.dataclass(frozen=True)
class Sums:
    """Sums by cluster, [C, P], and what the sums of any draw of clusters, [R, P], come to.

    `statistic` gives [R] or [R, labels], `labels` being what stands for "*" in the metric's name.
    """

    columns: np.ndarray
    statistic: Statistic
    labels: tuple[str, ...] = ()
    note: str = ""


Compute = Callable[[Outcomes, MetricsConfig], Sums]


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric as reports show it; `compute` raises LeftOutError where results cannot tell it.

    `source` says whose definition it is. Where `best` is a value, what is nearest to it is best,
    and `higher_is_better` is the way there from where most models are.
    """

    name: str
    title: str
    higher_is_better: bool
    source: str
    compute: Compute
    best: float | None = None

    @property
    def formula(self) -> str:
        """How it is computed, in words: the docstring of the function that does."""
        return inspect.cleandoc(self.compute.__doc__)

    def named(self, label: str) -> str:
        """The name of the metric of one label."""
        return self.name.replace(MANY, label)


def distance_sums(columns: np.ndarray, statistic: Statistic) -> Sums:
    """A distance, never below 0, whose resamples are taken to first order.

    Resampled, a distance would grow: an archetype drawn twice does not differ from itself. So each
    archetype drawn adds what it moves the distance by ("nonparametric delta method", Davison and
    Hinkley 1997, section 2.7.2), found as the change by a thousandth of it.
    """
    total = columns.sum(axis=0)
    value = statistic(total[None])
    parts = np.array_split(columns, -(-len(columns) // AT_A_TIME))
    changes = [statistic(total + STEP * part) - value for part in parts]
    moved = np.concatenate(changes).reshape(len(columns), 1) / STEP
    columns = moved - moved.mean() + value.item() / len(columns)
    return Sums(columns, lambda drawn: np.maximum(drawn, 0))


def mean_of(outcomes: Outcomes, values: np.ndarray, weights: np.ndarray | None = None) -> Sums:
    """The mean over rows of values [N], or of those with a weight of 1 in [N]."""
    weights = np.ones(len(outcomes)) if weights is None else weights
    columns = outcomes.sums(values * weights, weights)
    return Sums(columns, lambda drawn: ratio(drawn[:, :1], drawn[:, 1:]))


def means_by(outcomes: Outcomes, codes: np.ndarray, names: list[str]) -> Sums:
    """Accuracy among the rows of each code, a label each."""
    size = len(names)
    right, rows = outcomes.by(codes, size, outcomes.correct), outcomes.by(codes, size)

    def statistic(drawn: np.ndarray) -> np.ndarray:
        return ratio(drawn[:, :size, None], drawn[:, size:, None])

    return Sums(np.concatenate([right, rows], axis=1), statistic, tuple(map(str, names)))
