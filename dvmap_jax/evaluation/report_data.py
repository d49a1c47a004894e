"""What the report's page is told: a comparison in; plain lists and mappings, by column, out."""

import dataclasses
import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from dvmap_jax.evaluation.comparison import (
    COUNTRY_MAJORITY,
    Comparison,
    Estimate,
    Gap,
    Line,
    told_notes,
    verdict,
)
from dvmap_jax.evaluation.evaluated import Evaluation
from dvmap_jax.evaluation.learning_curves import LearningCurve
from dvmap_jax.evaluation.suite import metric_of
from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES

SCALE = 10_000  # shares are sent as whole ten-thousandths
ABSENT = -1


class Codes(dict):
    """Numbers things in the order in which they come."""

    def __missing__(self, key: Hashable) -> int:
        self[key] = len(self)
        return self[key]


def report_data(comparison: Comparison, curves: Sequence[LearningCurve] = ()) -> dict[str, Any]:
    """Everything the page shows; rows are columns of numbers beside the texts they stand for."""
    return {
        "models": [_model(each) for each in comparison.evaluations],
        "benchmarks": [_benchmark(comparison, name) for name in comparison.benchmarks],
        "metrics": _metrics(comparison),
        "gaps": [_gap(gap) for gap in comparison.gaps],
        "majority": COUNTRY_MAJORITY,
        "majority_gaps": [_gap(gap) for gap in comparison.majority_gaps],
        "generalisation": comparison.generalisation(),
        "probes": _probes(comparison),
        "notes": told_notes(comparison),
        "learning": [dataclasses.asdict(curve) for curve in curves],
        **_rows(comparison),
    }


def _model(evaluation: Evaluation) -> dict[str, Any]:
    told = ("mode", "train", "settings")
    return {"name": evaluation.name} | {name: evaluation.metrics[name] for name in told}


def _benchmark(comparison: Comparison, name: str) -> dict[str, Any]:
    there = [each for each in comparison.evaluations if name in each.metrics["benchmarks"]]
    own = there[0].benchmark(name)
    return {
        "name": name,
        "rows": own["rows"],
        "archetypes": own["archetypes"],
        "lines": [_line(line) for line in comparison.lines[name]],
        "failures": [
            [each.name, kind, count]
            for each in there
            for kind, count in each.benchmark(name)["failures"].items()
        ],
    }


def _line(line: Line) -> dict[str, Any]:
    metrics = {name: _estimate(each) for name, each in line.metrics.items()}
    return {"name": line.name, "model": line.is_model, "metrics": metrics}


def _estimate(estimate: Estimate) -> list[float | None]:
    return [estimate.value, estimate.low, estimate.high]


def _gap(gap: Gap) -> dict[str, Any]:
    named = {"benchmark": gap.benchmark, "of": gap.of, "minus": gap.minus, "rows": gap.rows}
    return named | {"estimate": _estimate(gap.estimate), "p": gap.p, "verdict": verdict(gap)}


def _metrics(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Title, direction, formula and source of every metric that some line has."""
    lines = itertools.chain.from_iterable(comparison.lines.values())
    return {name: _described(name) for name in dict.fromkeys(n for e in lines for n in e.metrics)}


def _described(name: str) -> dict[str, Any]:
    try:
        metric = metric_of(name)
    except ValueError:  # of a file that a later version wrote
        return {"title": name, "higher": None, "best": None, "formula": "", "source": ""}
    before, _, after = metric.name.partition("*")
    label = name[len(before) : len(name) - len(after)] if before != metric.name else ""
    return {
        "title": f"{metric.title}: {label}" if label else metric.title,
        "higher": metric.higher_is_better,
        "best": metric.best,
        "formula": metric.formula,
        "source": metric.source,
    }


def _probes(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {"model": each.name, "benchmark": name, **own["probes"]}
        for each in comparison.evaluations
        for name, own in each.metrics["benchmarks"].items()
        if own["probes"]
    ]


def _rows(comparison: Comparison) -> dict[str, Any]:
    """Examples once, by benchmark, and of each model what it answered."""
    codes = {name: Codes() for name in ("questions", "countries", "options", "people", "failures")}
    examples = {}
    for benchmark in comparison.benchmarks:
        there = [e for e in comparison.evaluations if benchmark in e.metrics["benchmarks"]]
        examples[benchmark] = _examples(there[0].rows_of(benchmark), codes)
    answers = [
        {
            name: _answers(each.rows_of(name), codes["failures"])
            for name in each.metrics["benchmarks"]
        }
        for each in comparison.evaluations
    ]
    return {
        "questions": list(codes["questions"]),
        "countries": list(codes["countries"]),
        "options": [list(options) for options in codes["options"]],
        "failures": list(codes["failures"]),
        **_people(list(codes["people"])),
        "examples": examples,
        "answers": answers,
    }


def _examples(rows: pd.DataFrame, codes: Mapping[str, Codes]) -> dict[str, Any]:
    people = zip(rows["archetype"], rows["attributes"], strict=True)
    asked = zip(rows["options"], rows["answer"], strict=True)
    return {
        "question": [codes["questions"][each] for each in rows["question_id"]],
        "country": [codes["countries"][each] for each in rows["country"]],
        "options": [codes["options"][tuple(each)] for each in rows["options"]],
        "people": [codes["people"][name, tuple(told.items())] for name, told in people],
        "answer": [options.index(answer) for options, answer in asked],
        "counts": _counts(rows),
    }


def _counts(rows: pd.DataFrame) -> list[float] | None:
    """How many respondents chose each option, row after row; None where no row knows."""
    known = _lists(rows, "answer_counts")
    if not any(known):
        return None
    pairs = zip(known, rows["options"], strict=True)
    return [count for counts, options in pairs for count in counts or [0] * len(options)]


def _people(people: Sequence[tuple[str, tuple]]) -> dict[str, Any]:
    """Archetypes, and a column of label numbers for each attribute but the country."""
    named = dict.fromkeys(name for _, told in people for name, _ in told)
    columns = {}
    for name in named:
        if name != ATTRIBUTE_NAMES[0]:  # rows have the country themselves
            labels = Codes()
            found = [dict(told).get(name) for _, told in people]
            column = [ABSENT if label is None else labels[label] for label in found]
            columns[name] = {"labels": list(labels), "codes": column}
    return {"people": [name for name, _ in people], "attributes": columns}


def _answers(rows: pd.DataFrame, failures: Codes) -> dict[str, Any]:
    options = rows["options"]
    named = zip(options, _texts(rows, "predicted"), strict=True)
    told = zip(options, _lists(rows, "probabilities"), strict=True)
    return {
        "correct": _scaled(rows["correct"]),
        "predicted": [ABSENT if each is None else among.index(each) for among, each in named],
        "shares": [
            share
            for among, found in told
            for share in _scaled(found or [ABSENT / SCALE] * len(among))
        ],
        "failure": [ABSENT if each is None else failures[each] for each in _texts(rows, "failure")],
        "completions": [each or [] for each in _lists(rows, "completions")],
    }


def _texts(rows: pd.DataFrame, name: str) -> list[str | None]:
    """A column that not every file or row has."""
    found = rows[name] if name in rows else [None] * len(rows)
    return [each if isinstance(each, str) else None for each in found]


def _lists(rows: pd.DataFrame, name: str) -> list[list | None]:
    found = rows[name] if name in rows else [None] * len(rows)
    return [each if isinstance(each, list) else None for each in found]


def _scaled(shares: Iterable[float]) -> list[int]:
    return [round(share * SCALE) for share in shares]
