"""How accuracy bears what is changed in a prompt: variants of a benchmark in, points out."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from dvmap_jax.evaluation import perturb
from dvmap_jax.evaluation.intervals import Interval, cluster_bootstrap
from dvmap_jax.evaluation.variants import Asking, Given

AS_ASKED = "as asked"


@dataclasses.dataclass(frozen=True)
class Point:
    """Accuracy with its interval at one strength or kind of a change.

    `agreement` is the share of rows that get the same answer, by label, as in the prompt that is
    not changed; None for that one itself, and where it got no readable answer.
    """

    x: float | str
    value: float
    low: float
    high: float
    agreement: float | None


@dataclasses.dataclass(frozen=True)
class Curve:
    """Points of one kind of change, the first being the prompt as it is."""

    name: str
    points: tuple[Point, ...]


def missing_curve(asking: Asking) -> Curve:
    """Attributes left out at random, by the share of them."""
    return _by_share("missing", asking, perturb.missing)


def noise_curve(asking: Asking) -> Curve:
    """Attributes replaced at random by another label, by the share of them."""
    return _by_share("noise", asking, perturb.noisy)


def order_curve(asking: Asking) -> Curve:
    """The options reversed, and in orders drawn for each row."""
    config = asking.config
    points = [_first(asking, AS_ASKED)]
    back = asking("options reversed", perturb.reversed_options(asking.examples))
    points.append(_point(asking, "reversed", back))
    for number in range(1, config.orders + 1):
        # A seed of its own, so that the shuffles do not depend on how many there are.
        seed = int(perturb.generator(config.seed, "order", str(number)).integers(2**31))
        variant = perturb.shuffled_options(asking.examples, seed=seed)
        found = asking(f"options shuffled {number}", variant)
        points.append(_point(asking, f"shuffled {number}", found))
    return Curve("order", tuple(points))


def question_only_curve(asking: Asking) -> Curve:
    """The person told, and the question asked of nobody in particular."""
    points = (_first(asking, AS_ASKED), _point(asking, "question only", asking.of_nobody))
    return Curve("question_only", points)


def template_curve(asking: Asking, templates: Sequence[str]) -> Curve:
    """The same examples in other words of the prompt, by the name of the template."""
    found = [
        _point(asking, each, asking(AS_ASKED, asking.examples, template=each)) for each in templates
    ]
    return Curve("template", (_first(asking, asking.template), *found))


def agreement(before: Given, after: Given) -> float | None:
    """Share of the rows with a readable answer before that have the same label after.

    An answer that cannot be read, or is missing, after is another one. None without such rows.
    """
    pairs = zip(before.predicted, after.predicted, strict=True)
    same = [theirs == ours for ours, theirs in pairs if ours is not None]
    return sum(same) / len(same) if same else None


def accuracy(asking: Asking, found: Given) -> Interval:
    """Mean of `correct` over rows, its interval over the archetypes as they were."""
    return cluster_bootstrap(
        found.correct,
        np.ones_like(found.correct),
        clusters=asking.clusters,
        config=asking.config.interval,
    )


def _by_share(name: str, asking: Asking, change: Callable[..., perturb.Examples]) -> Curve:
    points = [_first(asking, 0.0)]
    for share in asking.config.shares:
        variant = change(asking.examples, share=share, seed=asking.config.seed)
        points.append(_point(asking, share, asking(f"{name} {share:g}", variant)))
    return Curve(name, tuple(points))


def _first(asking: Asking, x: float | str) -> Point:
    return dataclasses.replace(_point(asking, x, asking.before), agreement=None)


def _point(asking: Asking, x: float | str, found: Given) -> Point:
    told = accuracy(asking, found)
    return Point(x, told.value, told.low, told.high, agreement(asking.before, found))
