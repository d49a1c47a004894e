"""Distances between distributions over ordered options: shares or counts in, distances out."""

import numpy as np


def shares(counts: np.ndarray) -> np.ndarray:
    """Counts [..., K] over their sum; where that is nothing, zeros."""
    total = counts.sum(axis=-1, keepdims=True)
    return np.divide(counts, total, where=total > 0, out=np.zeros(counts.shape))


def wasserstein(first: np.ndarray, second: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Wasserstein-1 distance of shares [..., K] over ordered options, as a part of the largest.

    Options are a step apart, so it is the sum of the gaps between the cumulative shares; over
    the number of options less one it lies between 0 and 1. `sizes` [...] are the options that
    there are, the rest of K is padding without a share. Source: OpinionQA (Santurkar et al. 2023),
    which takes one minus it as alignment. Raises ValueError for fewer than two options.
    """
    if np.any(sizes < 2):
        raise ValueError("a distance needs two or more options; there is a question with fewer")
    gaps = np.abs(np.cumsum(first - second, axis=-1))
    return gaps[..., :-1].sum(axis=-1) / (sizes - 1)


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Jensen-Shannon distance of shares [..., K]: root of the divergence in bits, 0 to 1.

    As `scipy.spatial.distance.jensenshannon(first, second, base=2)`, and never NaN. Source:
    GlobalOpinionQA (Durmus et al. 2023), which takes one minus it as similarity.
    """
    middle = (first + second) / 2
    divergence = (_relative(first, middle) + _relative(second, middle)) / 2
    return np.sqrt(np.maximum(divergence, 0))  # rounding may go below nothing


def _relative(share: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Relative entropy in bits; an option without a share adds nothing."""
    there = share > 0
    ratios = np.divide(share, middle, where=there, out=np.ones(share.shape))
    return (share * np.log2(ratios)).sum(axis=-1)
