"""What of an accuracy comes from the person: answers with attributes left out in, changes out."""

import dataclasses

from dvmap_jax.evaluation.intervals import Difference, paired_difference
from dvmap_jax.evaluation.perturb import country_alone, without
from dvmap_jax.evaluation.variants import Asking, Given
from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES


@dataclasses.dataclass(frozen=True)
class Dropped:
    """By how much the accuracy changes when an attribute is not told; below 0 where it helped."""

    attribute: str
    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Attribution:
    """Answers by what is told of a person, and what the accuracy gains by telling it.

    `by_country` is that of the country over nothing, `by_rest` that of all attributes over the
    country; they add up to what telling all gains.
    """

    none: Given
    country: Given
    all: Given
    by_country: Difference
    by_rest: Difference


def dropped_attributes(asking: Asking) -> list[Dropped]:
    """Each attribute left out by itself, in the codebook's order; interval of paired differences.

    Others may stand in for it (a language tells of a country), so changes do not add up.
    """
    return [_dropped(asking, name) for name in ATTRIBUTE_NAMES]


def attribution(asking: Asking) -> Attribution:
    """The question alone, with the country, with all attributes."""
    country = asking("country only", country_alone(asking.examples))
    none, everything = asking.of_nobody, asking.before
    return Attribution(
        none,
        country,
        everything,
        by_country=_gain(asking, country, none),
        by_rest=_gain(asking, everything, country),
    )


def _dropped(asking: Asking, name: str) -> Dropped:
    after = asking(f"without {name}", without(asking.examples, [name]))
    change = _gain(asking, after, asking.before)
    return Dropped(name, change.value, change.low, change.high)


def _gain(asking: Asking, ours: Given, theirs: Given) -> Difference:
    return paired_difference(
        ours.correct, theirs.correct, clusters=asking.clusters, config=asking.config.interval
    )
