"""A permutation test: answers as asked and with the demographics shuffled in, a p-value out.

The sharp null hypothesis is that a predictor does not use what was shuffled. Then an archetype's
accuracy as asked and after the shuffle could as well have been the other way round, so each sign
of the differences of archetypes is as likely as the other: flipping them at random gives the
distribution of the total difference, and the p-value is exact (Fisher's randomisation test for
pairs; Good 2005, section 3.7).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from dvmap_jax.evaluation.intervals import (
    CHUNK,
    DEFAULT,
    Difference,
    IntervalConfig,
    cluster_sums,
    paired_difference,
)

ROUNDING = 1e-9  # totals this close are equal: sums of shares come out in either order


@dataclasses.dataclass(frozen=True)
class Permutation:
    """Accuracy as asked, after the shuffle, and the one less the other.

    `unchanged` of the `archetypes` were told as before, so their difference is no evidence.
    """

    observed: float
    shuffled: float
    difference: Difference
    archetypes: int
    unchanged: int


def permutation_test(
    observed: Sequence[float],
    shuffled: Sequence[float],
    *,
    clusters: Sequence[str],
    unchanged: int = 0,
    config: IntervalConfig = DEFAULT,
) -> Permutation:
    """Compares `correct` as asked and after a shuffle, row by row of the same examples.

    The interval is that of `paired_difference`, the p-value two-sided and of as many flips as the
    interval has resamples. Errors as of `paired_difference`.
    """
    ours, theirs = np.asarray(observed, float), np.asarray(shuffled, float)
    difference = paired_difference(ours, theirs, clusters=clusters, config=config)
    totals = cluster_sums(ours - theirs, clusters)[:, 0]
    p = sign_flip_p(totals, flips=config.resamples, seed=config.seed)
    return Permutation(
        observed=float(ours.mean()),
        shuffled=float(theirs.mean()),
        difference=dataclasses.replace(difference, p=p),
        archetypes=len(totals),
        unchanged=unchanged,
    )


def sign_flip_p(totals: np.ndarray, *, flips: int, seed: int) -> float:
    """The two-sided p-value of no difference, from differences of clusters [C].

    The share of random signs whose sum is as far from nothing as the sum is, the signs that were
    found counted among them: (1 + count) / (1 + flips), so never 0.
    """
    apart = totals[totals != 0]
    found = abs(apart.sum()) - ROUNDING
    rng = np.random.default_rng(seed)
    count, size = 0, max(1, CHUNK // max(1, len(apart)))
    for start in range(0, flips, size):
        signs = 2.0 * rng.integers(2, size=(min(size, flips - start), len(apart))) - 1
        count += int(np.count_nonzero(np.abs(signs @ apart) >= found))
    return (1 + count) / (1 + flips)
