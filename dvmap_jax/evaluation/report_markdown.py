"""A comparison of models as Markdown: tables that read well in a terminal, too."""

from collections.abc import Iterable, Mapping, Sequence

from dvmap_jax.evaluation.comparison import (
    COUNTRY_MAJORITY,
    Comparison,
    Estimate,
    Gap,
    Line,
    told_notes,
    verdict,
)
from dvmap_jax.records import leaves

ABSENT = "–"
HEADLINES = (  # columns of a benchmark's first table
    *("accuracy", "accuracy/macro", "accuracy/unsaturated", "format", "ordinal_agreement"),
    *("macro_f1", "nll", "calibration_error", "wasserstein", "dispersion_retention"),
    *("over_determination", "skill/country_majority", "ceiling/share"),
)
BY_PLACE = ("accuracy/country/", "accuracy/question/")  # shown as a map of the page


def report_markdown(comparison: Comparison) -> str:
    """The whole of report.md."""
    parts = ["# Evaluation report", _models(comparison), summary_markdown(comparison)]
    parts += [_benchmark(comparison, benchmark) for benchmark in comparison.benchmarks]
    parts += [_probes(comparison), _notes(comparison)]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary_markdown(comparison: Comparison) -> str:
    """What a person should see first: the country majority, and how far each model carries."""
    parts = ["## Against the majority of each country", *_verdicts(comparison)]
    if comparison.generalisation():
        parts += [
            "## Generalisation",
            "Accuracy with its 95 % interval, by what training did not have.",
            generalisation_table(comparison),
        ]
    if comparison.gaps:
        parts += [
            "## Differences of models",
            "Accuracy of one less that of another on the same rows, paired; a call that failed "
            "counts as a wrong answer.",
            _gap_table(comparison.gaps),
        ]
    return "\n\n".join(parts)


def generalisation_table(comparison: Comparison) -> str:
    """The corpus's splits by what they hold out, models and the country majority side by side."""
    models = comparison.models
    names = list(dict.fromkeys([*models, COUNTRY_MAJORITY]))
    first = [f"{name} − {models[0]}" for name in models[1:]]
    rows = []
    for held_out, benchmark in comparison.generalisation():
        lines = [comparison.line(benchmark, name) for name in names]
        gaps = [comparison.gap(benchmark, of=name, minus=models[0]) for name in models[1:]]
        rows.append(
            [
                f"{held_out} ({benchmark})",
                *(estimate_text(line and line.metrics.get("accuracy")) for line in lines),
                *(gap_text(gap) for gap in gaps),
            ]
        )
    return markdown_table(["held out", *names, *first], rows)


def verdict_text(gap: Gap) -> str:
    """One sentence on a model and the country majority."""
    return (
        f"{gap.of} {verdict(gap)} the country majority on {gap.benchmark}: "
        f"{gap_text(gap)}, {gap.rows:,} rows."
    )


def estimate_text(estimate: Estimate | None) -> str:
    """`0.512 (0.487 to 0.550)`, or a dash."""
    if estimate is None:
        return ABSENT
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def gap_text(gap: Gap | None) -> str:
    """`+0.031 (+0.010 to +0.052), p = 0.004`, or a dash."""
    if gap is None:
        return ABSENT
    estimate, p = gap.estimate, "" if gap.p is None else f", {p_text(gap.p)}"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:+.3f}{p}"
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f}){p}"


def p_text(p: float) -> str:
    """`p = 0.004`, and a bound where it is smaller than is printed."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table padded to its widest cells; bars and line ends in a cell are made harmless."""
    cells = [[_cell(text) for text in row] for row in (columns, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(columns))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_row(row, widths) for row in (cells[0], rule, *cells[1:]))


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
    return f"| {' | '.join(padded)} |"


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _models(comparison: Comparison) -> str:
    rows = [
        [
            each.name,
            each.metrics["mode"],
            each.metrics["train"] or "nothing",
            ", ".join(f"{name}={value}" for name, value in _flat(each.metrics["settings"])),
        ]
        for each in comparison.evaluations
    ]
    return markdown_table(["model", "mode", "baselines fitted on", "settings"], rows)


def _flat(settings: Mapping) -> list[tuple[str, object]]:
    """Settings by dotted names; what other columns and tables say is left out."""
    known = ("model", "mode", "benchmarks")
    return list(leaves({name: value for name, value in settings.items() if name not in known}))


def _verdicts(comparison: Comparison) -> list[str]:
    if set(comparison.models) == {COUNTRY_MAJORITY}:
        return ["This is the country majority itself."]
    if not comparison.majority_gaps:
        return [
            "The metrics have no country majority: evaluate with a training split, on which it "
            "can be fitted. Without it no accuracy says much."
        ]
    lines = [
        f"- {verdict_text(gap)}" if verdict(gap) == "beats" else f"- **{verdict_text(gap)}**"
        for gap in comparison.majority_gaps
    ]
    return ["\n".join(lines)]


def _gap_table(gaps: Sequence[Gap]) -> str:
    rows = [
        [gap.benchmark, f"{gap.of} − {gap.minus}", gap_text(gap), str(gap.rows)] for gap in gaps
    ]
    return markdown_table(["benchmark", "models", "difference of accuracy", "rows"], rows)


def _benchmark(comparison: Comparison, benchmark: str) -> str:
    there = [each for each in comparison.evaluations if benchmark in each.metrics["benchmarks"]]
    own = there[0].benchmark(benchmark)
    lines = comparison.lines[benchmark]
    parts = [
        f"## {benchmark}",
        f"{own['rows']:,} rows of {own['archetypes']:,} archetypes; 95 % intervals in brackets.",
        _metric_table(lines, [name for name in HEADLINES if _measured(name, lines)]),
    ]
    rest = [name for name in _names(lines) if name not in HEADLINES]
    if rest:
        parts.append(_metric_rows(lines, rest))
    failures = [
        f"- {each.name}: {count:,} calls failed ({kind}), counted as wrong"
        for each in there
        for kind, count in each.benchmark(benchmark)["failures"].items()
    ]
    return "\n\n".join([*parts, "\n".join(failures)] if failures else parts)


def _metric_table(lines: Sequence[Line], names: Sequence[str]) -> str:
    rows = [
        [line.name, *(estimate_text(line.metrics.get(name)) for name in names)] for line in lines
    ]
    return markdown_table(["", *names], rows)


def _metric_rows(lines: Sequence[Line], names: Sequence[str]) -> str:
    """As `_metric_table`, turned: of many metrics a row each."""
    rows = [[name, *(estimate_text(line.metrics.get(name)) for line in lines)] for name in names]
    return markdown_table(["", *(line.name for line in lines)], rows)


def _measured(name: str, lines: Sequence[Line]) -> bool:
    return any(name in line.metrics for line in lines)


def _names(lines: Sequence[Line]) -> list[str]:
    found = dict.fromkeys(name for line in lines for name in line.metrics)
    return [name for name in found if not name.startswith(BY_PLACE)]


def _probes(comparison: Comparison) -> str:
    parts = []
    for evaluation in comparison.evaluations:
        for benchmark, own in evaluation.metrics["benchmarks"].items():
            if own["probes"]:
                title = f"### {evaluation.name} on {benchmark}"
                parts += [title, *_probe_tables(own["probes"])]
    heading = "## Does it use the demographics, and is it robust?"
    return "\n\n".join([heading, *parts]) if parts else ""


def _probe_tables(probes: Mapping) -> list[str]:
    """A table for each kind of probe that was made, and notes."""
    tables = [probes["about"]] if probes.get("about") else []
    if probes.get("permutation"):
        rows = [
            [each["name"], f"{each['observed']:.3f}", f"{each['shuffled']:.3f}", _signed(each)]
            for each in probes["permutation"]
        ]
        tables.append(markdown_table(["shuffled", "accuracy", "after it", "difference"], rows))
    if probes.get("dropped"):
        rows = [[each["attribute"], _signed(each)] for each in probes["dropped"]]
        tables.append(markdown_table(["attribute left out", "accuracy changes by"], rows))
    shares = [(name, each) for name, each in probes.get("attribution", {}).items()]
    if shares:
        rows = [[name, _number(each)] for name, each in shares]
        tables.append(markdown_table(["what the model is told", "accuracy"], rows))
    for curve in probes.get("curves", ()):
        rows = [
            [str(point["x"]), _point(point), _number(point.get("agreement"))]
            for point in curve["points"]
        ]
        tables.append(markdown_table([curve["name"], "accuracy", "same answer as before"], rows))
    notes = "\n".join(f"- {note}" for note in probes.get("notes", ()))
    return [*tables, notes] if notes else tables


def _signed(each: Mapping) -> str:
    estimate = Estimate(each["value"], each["low"], each["high"])
    return gap_text(Gap("", "", "", estimate, each.get("p"), 0))


def _point(each: Mapping) -> str:
    return estimate_text(Estimate(each["value"], each["low"], each["high"]))


def _number(value: float | Mapping | None) -> str:
    """A number or an estimate, as the files have either."""
    if isinstance(value, Mapping):
        return _point(value)
    return ABSENT if value is None else f"{value:.3f}"


def _notes(comparison: Comparison) -> str:
    lines = [f"- {note} ({'; '.join(about)})" for note, about in told_notes(comparison)]
    return "\n".join(["## Notes", "", *lines]) if lines else ""
