"""Agreement between respondents: arithmetic on answer counts.

Counts are [groups, options]. A respondent's answer is never used to predict itself: it is taken
out of the counts first.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from dvmap_jax.survey.archetypes import upper_middle_mode

NORMAL_95 = 1.959963984540054  # quantile .975 of the normal distribution


def twin_agreements(counts: Float[np.ndarray, "G K"]) -> Float[np.ndarray, " G"]:
    """For each group, the agreements that its respondents expect with another one of it.

    Of n respondents, one who chose option k agrees with (c_k - 1) / (n - 1) of the others; the
    sum over respondents is sum_k c_k (c_k - 1) / (n - 1), and 0 where there is no other.
    """
    total = counts.sum(axis=1)
    return (counts * (counts - 1)).sum(axis=1) / np.maximum(total - 1, 1)


def left_out_hits(counts: Float[np.ndarray, "G K"]) -> Bool[np.ndarray, "G K"]:
    """Whether the mode of the others is the answer of one who chose k; False without others."""
    hits = np.zeros(counts.shape, bool)
    for option in range(counts.shape[1]):
        others = counts.copy()
        others[:, option] -= 1
        hits[:, option] = (upper_middle_mode(others) == option) & (others.sum(axis=1) > 0)
    return hits & (counts > 0)


def group_counts(
    counts: Float[np.ndarray, "G K"], groups: Int[np.ndarray, " G"], num_groups: int
) -> Float[np.ndarray, "M K"]:
    """Counts summed over the rows of each group."""
    columns = [np.bincount(groups, column, minlength=num_groups) for column in counts.T]
    return np.stack(columns, axis=1)


def ratio_of_sums(
    numerators: Float[np.ndarray, " G"], denominators: Float[np.ndarray, " G"]
) -> dict[str, float]:
    """Sum over sum with a 95 % interval for clusters drawn at random, by linearisation.

    The variance is G / (G - 1) * sum_g (a_g - r b_g)^2 / (sum_g b_g)^2 (Cochran 1977, section
    6.3; clusters whose denominator is 0 do not count). Without a denominator there is no value.
    """
    used = denominators > 0
    size, whole = int(used.sum()), float(denominators.sum())
    if not size:
        return {"value": None, "low": None, "high": None}
    value = float(numerators[used].sum()) / whole
    residuals = numerators[used] - value * denominators[used]
    spread = np.sqrt(size / max(size - 1, 1) * float((residuals**2).sum())) / whole
    low, high = value - NORMAL_95 * spread, value + NORMAL_95 * spread
    return {"value": round(value, 6), "low": round(low, 6), "high": round(high, 6)}
