"""An evaluation's account: rows of a model and of baselines in, what metrics.json says out."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dvmap_jax.evaluation.asking import Ask
from dvmap_jax.evaluation.baselines import (
    BASELINES,
    UNTRAINED,
    Baseline,
    fit_baseline,
    results_of,
)
from dvmap_jax.evaluation.comparison import BASELINE, COUNTRY_MAJORITY, Estimate, Gap
from dvmap_jax.evaluation.endpoint import failures_by_kind
from dvmap_jax.evaluation.intervals import Interval
from dvmap_jax.evaluation.journal import digest
from dvmap_jax.evaluation.metric import MetricsConfig
from dvmap_jax.evaluation.metrics_file import VERSION
from dvmap_jax.evaluation.probes import run_probes
from dvmap_jax.evaluation.report import results_table, verdict_line
from dvmap_jax.evaluation.suite import Measured, accuracy_difference, measure
from dvmap_jax.evaluation.tabular import Tabular
from dvmap_jax.evaluation.variants import ProbesConfig
from dvmap_jax.survey.corpus import Example

Fitted = Mapping[str, Baseline | Tabular]


@dataclasses.dataclass(frozen=True)
class Answered:
    """A benchmark's examples, the rows of the model that answered them, and what probes found."""

    examples: Sequence[Example]
    results: pd.DataFrame
    probes: Mapping[str, Any] | None = None


def answers(
    ask: Ask,
    examples: Sequence[Example],
    *,
    benchmark: str,
    template: str,
    probes: ProbesConfig | None = None,
) -> Answered:
    """Asks for the rows of a benchmark, and probes whoever answers where that is wanted.

    `template` is the one `ask` uses by itself. Errors as of `run_probes`.
    """
    results = ask(examples, name=benchmark)
    if probes is None:
        return Answered(examples, results)
    found = run_probes(ask, examples, benchmark=benchmark, template=template, config=probes)
    return Answered(examples, results, found)


@dataclasses.dataclass(frozen=True)
class Beside:
    """Baselines that stand beside a model, what they are fitted on, and what is said of them."""

    fitted: Fitted
    train: str = ""
    notes: tuple[str, ...] = ()


def fit_beside(names: Sequence[str] | None, examples: Sequence[Example], *, train: str) -> Beside:
    """The baselines of these names; of None all that there are, less those that cannot be.

    `train` is what the examples are called. Errors as of `fit_baseline`.
    """
    notes = ()
    if names is None:
        names = BASELINES if examples else UNTRAINED
        if not examples:
            notes = ("without a training split no majority and no learned baseline was fitted",)
    return Beside({name: fit_baseline(name, examples) for name in names}, train, notes)


def account(
    answered: Mapping[str, Answered],
    beside: Beside,
    *,
    settings: Mapping[str, Any],
    config: MetricsConfig | None = None,
) -> dict[str, Any]:
    """What metrics.json says of a model on benchmarks; `settings` name the `model` and its `mode`.

    ValueError where rows are not those of the examples, as `measure` says.
    """
    return {
        "version": VERSION,
        "model": settings["model"],
        "mode": settings["mode"],
        "settings": dict(settings),
        "train": beside.train,
        "benchmarks": {
            name: _benchmark(name, each, beside, settings["model"], config or MetricsConfig())
            for name, each in answered.items()
        },
    }


def summary(content: Mapping[str, Any]) -> str:
    """The model and the baselines beside it, a plain table for each benchmark."""
    tables = []
    for name, benchmark in content["benchmarks"].items():
        rows = [(entry, _flat(each["metrics"])) for entry, each in benchmark["entries"].items()]
        gaps = [_gap(name, each, benchmark["rows"]) for each in benchmark["differences"]]
        said = [verdict_line(rows, gaps)] if gaps else []
        head = f"{name}, {benchmark['rows']} rows"
        tables.append("\n".join([head, *said, results_table(rows, gaps)]))
    return "\n\n".join(tables)


def _benchmark(name, answered, beside, model, config):
    rows = {model: answered.results}
    for baseline, fitted in beside.fitted.items():
        found = results_of(fitted, answered.examples, benchmark=name)
        rows.setdefault(f"{BASELINE}{baseline}", found)
    reference = rows.get(COUNTRY_MAJORITY)
    measured = {
        entry: measure(each, reference=reference, config=config) for entry, each in rows.items()
    }
    theirs = [(entry, each) for entry, each in rows.items() if entry != model]
    differences = [
        {"of": model, "minus": entry, "metric": "accuracy"}
        | dataclasses.asdict(accuracy_difference(answered.results, each, config=config.interval))
        for entry, each in theirs
    ]
    return {
        "rows": len(answered.results),
        "archetypes": int(answered.results["archetype"].nunique()),
        "digest": digest(answered.examples),
        "entries": {entry: _entry(each) for entry, each in measured.items()},
        "differences": differences,
        "failures": failures_by_kind(answered.results.to_dict(orient="records")),
        "notes": list(beside.notes),
        "probes": answered.probes,
    }


def _entry(measured: Measured) -> dict[str, Any]:
    metrics = {name: _estimate(interval) for name, interval in measured.metrics.items()}
    return {"metrics": metrics, "notes": measured.notes}


def _estimate(interval: Interval) -> dict[str, float | None]:
    """An end that is undefined in every resample is none."""
    found = dataclasses.asdict(interval)
    return {name: None if math.isnan(value) else value for name, value in found.items()}


def _gap(benchmark: str, difference: Mapping[str, Any], rows: int) -> Gap:
    estimate = Estimate(difference["value"], difference["low"], difference["high"])
    return Gap(benchmark, difference["of"], difference["minus"], estimate, difference["p"], rows)


def _flat(metrics: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    """Values by name, and the ends of the accuracy's interval."""
    values = {name: each["value"] for name, each in metrics.items()}
    accuracy = metrics["accuracy"]
    ends = {f"accuracy/{end}": accuracy[end] for end in ("low", "high")}
    return values | ends
