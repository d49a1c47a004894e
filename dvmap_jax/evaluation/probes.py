"""Probes of a predictor: whoever answers and a benchmark in, the "probes" of metrics.json out.

Does it use the demographics: a permutation test, each attribute left out, and what is gained by
the country and by the rest. Is it robust: attributes missing or wrong, options in another order,
other words, no person at all. Anything that answers examples can be probed (`asking.Ask`).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from dvmap_jax.evaluation import curves
from dvmap_jax.evaluation.asking import Ask
from dvmap_jax.evaluation.attribution import Attribution, attribution, dropped_attributes
from dvmap_jax.evaluation.intervals import Difference
from dvmap_jax.evaluation.permutation import Permutation, permutation_test
from dvmap_jax.evaluation.perturb import (
    Examples,
    people,
    sampled,
    shuffled_attributes,
    shuffled_country,
    unchanged,
)
from dvmap_jax.evaluation.variants import Asking, ProbesConfig
from dvmap_jax.survey.corpus import Example
from dvmap_jax.survey.prompts import FIXED, rewordings

SHUFFLES: dict[str, Callable[..., Examples]] = {
    "attributes": shuffled_attributes,  # inside each country
    "country": shuffled_country,
}
DRAWN = "answers are drawn, so some differ where nothing was changed: agreement is of two draws"
COUNTRY = "the country is shuffled by itself: language and religion, which stay, tell of it as well"
CHANGED = "missing and wrong attributes are drawn for each archetype, its country among them"
UNREAD = "no answer to the prompts as they are could be read, so there is no agreement with them"


def run_probes(
    ask: Ask,
    examples: Sequence[Example],
    *,
    benchmark: str,
    template: str,
    config: ProbesConfig | None = None,
) -> dict[str, Any]:
    """All probes of a predictor on a benchmark, as its metrics.json holds them.

    `ask` is called once for each variant of the same rows, under a name that the seed and the
    examples determine: what a journal has of it is not asked again. `template` is the one that
    `ask` uses where it is given none. Rows are whole archetypes, at most `config.max_rows`.
    Raises ValueError where the template's prompts are fixed texts, an example is asked of nobody
    in particular, an answer is missing, or too few rows are allowed.
    """
    config = config or ProbesConfig()
    check_template(template)
    archetypes = len(people(examples))
    chosen = sampled(examples, rows=config.max_rows, seed=config.seed)
    asking = Asking(_Counted(ask), chosen, benchmark, template, config)
    tests = {name: shuffle_test(asking, name) for name in SHUFFLES}
    dropped, told = dropped_attributes(asking), attribution(asking)
    found = all_curves(asking)
    return {
        "permutation": [_flat(name, test) for name, test in tests.items()],
        "dropped": [dataclasses.asdict(each) for each in dropped],
        "attribution": _told(asking, told),
        "curves": [_plain(each) for each in found],
        "about": _about(asking, archetypes=archetypes, rows=len(examples)),
        "notes": [*_unchanged(tests), COUNTRY, *_gained(told), *_noted(asking)],
        "rows": len(chosen),
    }


def check_template(template: str) -> None:
    """Raises ValueError where prompts are texts of the corpus, which no change would reach."""
    if template in FIXED:
        raise ValueError(
            f"the template {template!r} takes its prompts from the corpus, where a change of the "
            "person or of the options would not show; probe with another --template, such as "
            "'reasoning', or do not probe"
        )


def shuffle_test(asking: Asking, name: str) -> Permutation:
    """The permutation test of what one of SHUFFLES shuffles."""
    config, before = asking.config, asking.before
    shuffled = SHUFFLES[name](asking.examples, seed=config.seed)
    after = asking(f"{name} shuffled", shuffled)
    return permutation_test(
        before.correct,
        after.correct,
        clusters=asking.clusters,
        unchanged=unchanged(asking.examples, shuffled),
        config=config.interval,
    )


def all_curves(asking: Asking) -> list[curves.Curve]:
    """Every curve of robustness; that of templates where the prompt has other words."""
    found = [
        curves.missing_curve(asking),
        curves.noise_curve(asking),
        curves.order_curve(asking),
        curves.question_only_curve(asking),
    ]
    others = rewordings(asking.template)
    return [*found, curves.template_curve(asking, others)] if others else found


@dataclasses.dataclass
class _Counted:
    """Counts how often somebody was asked."""

    ask: Ask
    times: int = 0

    def __call__(self, examples, *, name, template=None):
        self.times += 1
        return self.ask(examples, name=name, template=template)


def _flat(name: str, test: Permutation) -> dict[str, Any]:
    observed = {"observed": test.observed, "shuffled": test.shuffled}
    return {"name": name, "metric": "accuracy", **observed, **dataclasses.asdict(test.difference)}


def _told(asking: Asking, told: Attribution) -> dict[str, dict[str, float]]:
    found = {"none": told.none, "country": told.country, "all": told.all}
    return {name: dataclasses.asdict(curves.accuracy(asking, each)) for name, each in found.items()}


def _plain(curve: curves.Curve) -> dict[str, Any]:
    return {"name": curve.name, "points": [dataclasses.asdict(each) for each in curve.points]}


def _about(asking: Asking, *, archetypes: int, rows: int) -> str:
    own = len(people(asking.examples))
    whose = f"{own:,} of {archetypes:,} archetypes" if own < archetypes else f"{own:,} archetypes"
    many = f"{len(asking.examples):,} of {rows:,} rows" if own < archetypes else f"{rows:,} rows"
    drawn = ", countries in turn" if own < archetypes else ""
    seed = f"seed {asking.config.seed}"
    return f"{whose} of {asking.benchmark}{drawn}: {many}, asked {asking.ask.times} times, {seed}"


def _unchanged(tests: dict[str, Permutation]) -> list[str]:
    return [
        f"{name} shuffled: {test.unchanged} of {test.archetypes} archetypes are told as before"
        for name, test in tests.items()
        if test.unchanged
    ]


def _gained(told: Attribution) -> list[str]:
    country, rest = _signed(told.by_country), _signed(told.by_rest)
    return [f"accuracy gained by the country over the question alone {country}, by the rest {rest}"]


def _signed(found: Difference) -> str:
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def _noted(asking: Asking) -> list[str]:
    read = any(each is not None for each in asking.before.predicted)
    return [CHANGED, *([DRAWN] if asking.before.drawn else []), *([] if read else [UNREAD])]
