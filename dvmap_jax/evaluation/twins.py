"""The human ceiling: how well people of an archetype would tell each other's answers."""

import numpy as np

from dvmap_jax.evaluation.metric import Metric, MetricsConfig, Sums, mean_of
from dvmap_jax.evaluation.outcomes import LeftOutError, Outcomes


def twin_agreement(counts: np.ndarray) -> np.ndarray:
    """Chance that a respondent gives the answer of the others of the archetype, [N, M] to [N].

    Each respondent in turn is set against the most frequent answer of the rest; of equally
    frequent ones each counts as likely. NaN where there are fewer than two respondents.
    """
    people = counts.sum(axis=1)
    options = counts.shape[1]
    rest = counts[:, None, :] - np.eye(options)  # [N, who left, M]
    top = rest == rest.max(axis=2, keepdims=True)
    own = np.diagonal(top, axis1=1, axis2=2) / top.sum(axis=2)
    agreeing = (counts * own).sum(axis=1)
    return np.divide(agreeing, people, where=people > 1, out=np.full(len(people), np.nan))


def ceiling(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Mean over rows of the chance that a respondent gives the answer of the archetype's others.

    Each respondent in turn is set against the most frequent answer of the rest, of equal ones
    each being as likely. Over rows of two respondents or more, from answer_counts.
    """
    twins, told = _twins(outcomes)
    return mean_of(outcomes, np.where(told, twins, 0), told.astype(float))


def ceiling_share(outcomes: Outcomes, config: MetricsConfig) -> Sums:
    """Accuracy over the human-twin ceiling, both over rows of two respondents or more.

    Above 1 where the model tells an archetype's answer better than one of its people does.
    """
    twins, told = _twins(outcomes)
    columns = outcomes.sums(np.where(told, outcomes.correct, 0), np.where(told, twins, 0))

    def statistic(drawn: np.ndarray) -> np.ndarray:
        right, most = drawn.T
        return np.divide(right, most, where=most > 0, out=np.full(len(most), np.nan))

    return Sums(columns, statistic, note=f"over {told.sum()} of {len(told)} rows")


SOURCE = "leave-one-out mode of respondents who share all attributes"
METRICS = (
    Metric("ceiling/twin", "Human-twin ceiling", True, SOURCE, ceiling),
    Metric("ceiling/share", "Share of the human-twin ceiling", True, SOURCE, ceiling_share),
)


def _twins(outcomes: Outcomes) -> tuple[np.ndarray, np.ndarray]:
    """The chance of each row, and which rows have two respondents or more."""
    counts = outcomes.respondents
    if (counts != np.round(counts)).any():
        raise LeftOutError(
            "answer_counts are weighted, so they do not tell how many people there were"
        )
    twins = twin_agreement(counts)
    told = ~np.isnan(twins)
    if not told.any() or not np.nansum(twins):
        raise LeftOutError("no row has two respondents who agree")
    return twins, told
