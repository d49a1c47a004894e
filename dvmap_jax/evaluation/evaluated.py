"""Evaluated models as their folders tell: `results.jsonl` and `metrics.json` in, records out."""

import dataclasses
import json
import pathlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from dvmap_jax.evaluation.metrics_file import FILE as METRICS_FILE
from dvmap_jax.evaluation.metrics_file import read_metrics_file

RESULTS_FILE = "results.jsonl"
KEY = ["benchmark", "number"]
SAME = ("question_id", "country", "archetype", "options", "answer")  # of a row, whoever answers it
KINDS = {
    "benchmark": str,
    "number": int,
    "question_id": str,
    "country": str,
    "archetype": str,
    "attributes": dict,
    "options": list,
    "answer": str,
    "correct": (int, float),
}

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One evaluated model: its folder, what it is called here, what was measured, and its rows.

    `metrics` is what metrics.json says; `rows` are sorted by benchmark and number, each with the
    `line` of results.jsonl that it stands in.
    """

    folder: pathlib.Path
    name: str
    metrics: Mapping[str, Any]
    rows: pd.DataFrame

    def benchmark(self, name: str) -> Mapping[str, Any]:
        """What was measured on one benchmark."""
        return self.metrics["benchmarks"][name]

    def rows_of(self, benchmark: str) -> pd.DataFrame:
        """The rows of one benchmark, by their numbers."""
        return self.rows[self.rows["benchmark"] == benchmark].reset_index(drop=True)


def read_evaluations(folders: Sequence[pathlib.Path]) -> tuple[Evaluation, ...]:
    """The models evaluated in `folders`, in their order; of one benchmark all must have one text.

    Raises ValueError naming file, line or field where a file is missing or damaged, a row is there
    twice, rows and metrics do not belong together, or two folders asked other questions under one
    benchmark's name.
    """
    if not folders:
        raise ValueError("no folder of results is named; give one or more")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError(f"a folder is named twice: {', '.join(map(str, folders))}")
    metrics = [read_metrics_file(folder / METRICS_FILE) for folder in folders]
    evaluations = []
    for folder, name, own in zip(folders, _names(folders, metrics), metrics, strict=True):
        evaluations.append(Evaluation(folder, name, own, _rows(folder, own)))
        _check_same(evaluations)
    return tuple(evaluations)


def _names(folders, metrics) -> list[str]:
    """The models' names, with the folder beside those that several share."""
    count = Counter(each["model"] for each in metrics)
    return [
        each["model"] if count[each["model"]] == 1 else f"{each['model']} ({folder})"
        for folder, each in zip(folders, metrics, strict=True)
    ]


def _rows(folder: pathlib.Path, metrics: Mapping[str, Any]) -> pd.DataFrame:
    path = folder / RESULTS_FILE
    if not path.is_file():
        raise ValueError(f"{path} is missing; scripts/evaluate.py writes it beside {METRICS_FILE}")
    lines: dict[tuple[str, int], int] = {}
    rows = []
    for line, row in _parsed(path):
        problem = _problem(row)
        if problem:
            raise ValueError(f"{path} line {line}: {problem}")
        key = row["benchmark"], row["number"]
        if key in lines:
            raise ValueError(
                f"{path} line {line} repeats row {key[1]} of benchmark {key[0]!r}, which line "
                f"{lines[key]} has; remove one of them"
            )
        lines[key] = line
        rows.append({**row, "line": line})
    _check_counts(path, lines, metrics)
    return pd.DataFrame(rows).sort_values(KEY, ignore_index=True)


def _parsed(path: pathlib.Path) -> Iterator[tuple[int, Any]]:
    """Each line's number and value; an empty one is none."""
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line, parse_constant=_no_number)
            except ValueError as error:
                raise ValueError(
                    f"{path} line {number} is not JSON: {error}; evaluate the model again"
                ) from error


def _no_number(name: str) -> None:
    """A NaN, which tables have where a row lacks a field, is no value."""


def _problem(row: Any) -> str:
    """What is wrong with a row by itself, in words; empty where nothing is."""
    if not isinstance(row, dict):
        return f"is no row but {type(row).__name__}"
    for name, kind in KINDS.items():
        if name not in row:
            return f"has no {name!r}"
        if not isinstance(row[name], kind) or isinstance(row[name], bool):
            return f"{name} is {row[name]!r}, which it cannot be"
    if not 0 <= row["correct"] <= 1:
        return f"correct is {row['correct']}; it must lie between 0 and 1"
    return _option_problem(row)


def _option_problem(row: Row) -> str:
    """As `_problem`, of what must fit the options."""
    options = row["options"]
    for name in ("answer", "predicted"):
        if row.get(name) is not None and row[name] not in options:
            return f"{name} is {row[name]!r}, which is none of the options {options!r}"
    for name in ("probabilities", "answer_counts"):
        if row.get(name) is not None and len(row[name]) != len(options):
            return f"{name} has {len(row[name])} values for {len(options)} options"
    return ""


def _check_counts(path, lines: Mapping[tuple[str, int], int], metrics: Mapping[str, Any]) -> None:
    """Rows and metrics belong together: every row of every benchmark is there, and no other."""
    found = Counter(benchmark for benchmark, _ in lines)
    measured = metrics["benchmarks"]
    for benchmark in found:
        if benchmark not in measured:
            raise ValueError(
                f"{path} has {found[benchmark]} rows of benchmark {benchmark!r}, of which "
                f"{METRICS_FILE} knows nothing; it knows {', '.join(measured)}"
            )
    for benchmark, own in measured.items():
        if found[benchmark] != own["rows"]:
            raise ValueError(
                f"{path} has {found[benchmark]} rows of benchmark {benchmark!r}, {METRICS_FILE} "
                f"counts {own['rows']}; they are not of one evaluation, so evaluate again"
            )
        if metrics["model"] not in own["entries"]:
            raise ValueError(
                f"{path.with_name(METRICS_FILE)}: benchmarks.{benchmark}.entries has no "
                f"{metrics['model']!r}, the model; it has {', '.join(own['entries'])}"
            )
    for (benchmark, number), line in lines.items():
        if not 0 <= number < found[benchmark]:
            raise ValueError(
                f"{path} line {line}: number is {number} in benchmark {benchmark!r} of "
                f"{found[benchmark]} rows, which are counted from 0"
            )


def _check_same(evaluations: Sequence[Evaluation]) -> None:
    """The last of the evaluations was asked what each earlier one was, where both were."""
    *earlier, new = evaluations
    for old in earlier:
        for benchmark in old.metrics["benchmarks"]:
            if benchmark in new.metrics["benchmarks"]:
                _check_benchmark(old, new, benchmark)


def _check_benchmark(old: Evaluation, new: Evaluation, benchmark: str) -> None:
    digests = [each.benchmark(benchmark)["digest"] for each in (old, new)]
    if digests[0] != digests[1]:
        raise ValueError(
            f"{new.folder / METRICS_FILE}: benchmark {benchmark!r} has the digest {digests[1]!r}, "
            f"in {old.folder / METRICS_FILE} {digests[0]!r}: the examples are not the same, so "
            "evaluate both models on one file, whole or cut at the same row"
        )
    ours, theirs = new.rows_of(benchmark), old.rows_of(benchmark)
    for field in SAME:
        pairs = zip(ours[field], theirs[field], ours["line"], theirs["line"], strict=True)
        for mine, other, line, other_line in pairs:
            if mine != other:
                raise ValueError(
                    f"{new.folder / RESULTS_FILE} line {line}: {field} is {mine!r}, but {other!r} "
                    f"in {old.folder / RESULTS_FILE} line {other_line}, the same row of "
                    f"{benchmark!r}; these are results of another benchmark"
                )
