"""Evaluated models beside one another: their folders in; tables and paired differences out."""

import dataclasses
import itertools
import pathlib
from collections.abc import Mapping, Sequence

from dvmap_jax.evaluation.evaluated import Evaluation, read_evaluations
from dvmap_jax.evaluation.intervals import IntervalConfig, paired_difference

BASELINE = "baseline:"  # what an entry's name begins with where it is one
COUNTRY_MAJORITY = f"{BASELINE}majority_country_question"
# What is held out of training, and the corpus's splits that hold it out, in the table's order.
GENERALISATION = (
    ("in distribution", ("test", "dev")),
    ("unseen archetypes", ("cross_demographic",)),
    ("unseen countries", ("cross_country",)),
    ("unseen questions", ("cross_value",)),
)
ORDER = tuple(name for _, names in GENERALISATION for name in names)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value, and the ends of its 95 % interval where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class Line:
    """A model or a baseline on one benchmark: what was measured of it, and notes."""

    name: str
    is_model: bool
    metrics: Mapping[str, Estimate]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Gap:
    """The accuracy of one less that of another on the same `rows`; `p` is that of no difference.

    Both ends and `p` are None where the files give no more than two values.
    """

    benchmark: str
    of: str
    minus: str
    estimate: Estimate
    p: float | None
    rows: int


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All that a report says of models: `lines` are by benchmark, models before baselines.

    `gaps` are between models, later less earlier; `majority_gaps` are between each model and the
    majority of (country, question) in training, where the files have it.
    """

    evaluations: tuple[Evaluation, ...]
    benchmarks: tuple[str, ...]
    lines: Mapping[str, tuple[Line, ...]]
    gaps: tuple[Gap, ...]
    majority_gaps: tuple[Gap, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """What the models are called."""
        return tuple(each.name for each in self.evaluations)

    def line(self, benchmark: str, name: str) -> Line | None:
        """The line of a model or baseline, None where it was not evaluated on this benchmark."""
        return next((each for each in self.lines[benchmark] if each.name == name), None)

    def gap(self, benchmark: str, *, of: str, minus: str) -> Gap | None:
        """One of the differences, in the direction in which it is there."""
        found = (
            each
            for each in (*self.gaps, *self.majority_gaps)
            if (each.benchmark, each.of, each.minus) == (benchmark, of, minus)
        )
        return next(found, None)

    def generalisation(self) -> tuple[tuple[str, str], ...]:
        """(what is held out, benchmark) of the corpus's own splits that were evaluated."""
        return tuple(
            (held_out, name)
            for held_out, names in GENERALISATION
            for name in names
            if name in self.benchmarks
        )


def compare(folders: Sequence[pathlib.Path], *, config: IntervalConfig | None = None) -> Comparison:
    """Reads evaluation folders and compares their models; errors as of `read_evaluations`."""
    evaluations = read_evaluations(folders)
    named = {name for each in evaluations for name in each.metrics["benchmarks"]}
    known = [name for name in ORDER if name in named]
    benchmarks = (*known, *sorted(named - set(known)))
    return Comparison(
        evaluations,
        benchmarks,
        {name: _lines(evaluations, name) for name in benchmarks},
        tuple(_gaps(evaluations, benchmarks, config or IntervalConfig())),
        tuple(_majority_gaps(evaluations, benchmarks)),
    )


def verdict(gap: Gap) -> str:
    """What a difference says: "beats", "is below", or does neither for certain."""
    low, high = gap.estimate.low, gap.estimate.high
    if low is None or high is None:
        return "has no interval beside"
    if low <= 0 <= high:
        return "does not beat"
    return "beats" if low > 0 else "is below"


def told_notes(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Every note of the files once, with the models and benchmarks that it is about."""
    about: dict[str, dict[str, None]] = {}
    for evaluation in comparison.evaluations:
        for benchmark, own in evaluation.metrics["benchmarks"].items():
            told = [(evaluation.name, own["notes"])]
            told += [(name, entry["notes"]) for name, entry in own["entries"].items()]
            for note, name in ((note, name) for name, notes in told for note in notes):
                about.setdefault(note, {})[f"{name} on {benchmark}"] = None
    return [(note, list(subjects)) for note, subjects in about.items()]


def _lines(evaluations: Sequence[Evaluation], benchmark: str) -> tuple[Line, ...]:
    models, baselines = [], []
    for evaluation in evaluations:
        entries = evaluation.metrics["benchmarks"].get(benchmark, {"entries": {}})["entries"]
        for name, entry in entries.items():
            is_model = name == evaluation.metrics["model"]
            line = _line(evaluation.name if is_model else name, entry, is_model=is_model)
            (models if is_model else baselines).append((evaluation, line))
    return tuple([line for _, line in models] + _distinct(baselines))


def _line(name: str, entry: Mapping, *, is_model: bool) -> Line:
    metrics = {
        metric: Estimate(each["value"], each["low"], each["high"])
        for metric, each in entry["metrics"].items()
    }
    return Line(name, is_model, metrics, tuple(entry["notes"]))


def _distinct(baselines: Sequence[tuple[Evaluation, Line]]) -> list[Line]:
    """Each baseline once; one that was fitted on something else has that beside its name."""
    kept: dict[str, Line] = {}
    for evaluation, line in baselines:
        first = kept.setdefault(line.name, line)
        if first.metrics != line.metrics:
            name = f"{line.name} (as in {evaluation.folder})"
            kept[name] = dataclasses.replace(line, name=name)
    return list(kept.values())


def _gaps(evaluations, benchmarks, config):
    for benchmark in benchmarks:
        there = [each for each in evaluations if benchmark in each.metrics["benchmarks"]]
        for first, second in itertools.combinations(there, 2):
            ours, theirs = second.rows_of(benchmark), first.rows_of(benchmark)
            found = paired_difference(
                ours["correct"], theirs["correct"], clusters=ours["archetype"], config=config
            )
            estimate = Estimate(found.value, found.low, found.high)
            yield Gap(benchmark, second.name, first.name, estimate, found.p, len(ours))


def _majority_gaps(evaluations, benchmarks):
    for benchmark in benchmarks:
        for evaluation in evaluations:
            own = evaluation.metrics["benchmarks"].get(benchmark)
            gap = own and _majority_gap(evaluation, benchmark, own)
            if gap:
                yield gap


def _majority_gap(evaluation: Evaluation, benchmark: str, own: Mapping) -> Gap | None:
    """The file's own difference, or that of both values where it gives none."""
    model, rows = evaluation.metrics["model"], own["rows"]
    if model == COUNTRY_MAJORITY:
        return None
    names = benchmark, evaluation.name, COUNTRY_MAJORITY
    for each in own["differences"]:
        if (each["of"], each["minus"], each["metric"]) == (model, COUNTRY_MAJORITY, "accuracy"):
            estimate = Estimate(each["value"], each["low"], each["high"])
            return Gap(*names, estimate, each["p"], rows)
    values = [
        own["entries"].get(name, {"metrics": {}})["metrics"].get("accuracy")
        for name in (model, COUNTRY_MAJORITY)
    ]
    if None in values:
        return None
    return Gap(*names, Estimate(values[0]["value"] - values[1]["value"]), None, rows)
