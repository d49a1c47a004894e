"""What a terminal is shown: metrics of a model and of baselines in, a line and a table out."""

from collections.abc import Mapping, Sequence

from dvmap_jax.evaluation.comparison import BASELINE, Estimate, Gap, verdict

COLUMNS = {  # headings, and the metrics below them
    "accuracy": "accuracy",
    "NLL": "nll",
    "Wasserstein": "wasserstein/probabilities",
    "dispersion": "dispersion_retention",
    "reward": "reward",
}
LESS = "model minus this"  # in accuracy
ABSENT = "-"

Rows = Sequence[tuple[str, Mapping[str, float]]]


def verdict_line(rows: Rows, gaps: Sequence[Gap]) -> str:
    """Whether the model beats the strongest baseline, how surely, and its NLL beside uniform's.

    `gaps` are between the model and each baseline, one or more.
    """
    least = min(gaps, key=lambda gap: gap.estimate.value)
    value, low, high = least.estimate.value, least.estimate.low, least.estimate.high
    said = (
        f"{least.of} {verdict(least)} the strongest baseline, {least.minus}: accuracy {value:+.3f} "
        f"(95 % interval {low:+.3f} to {high:+.3f}, p {least.p:.2g})"
    )
    losses = {name.removeprefix(BASELINE): each["nll"] for name, each in rows if "nll" in each}
    model = least.of.removeprefix(BASELINE)
    if model not in losses or "uniform" not in losses:
        return said
    compared = "below" if losses[model] < losses["uniform"] else "not below"
    return f"{said}; NLL {losses[model]:.3f}, {compared} uniform's {losses['uniform']:.3f}"


def results_table(rows: Rows, gaps: Sequence[Gap] = ()) -> str:
    """A line for each (name, metrics), with the 95 % interval over archetypes where it is known.

    What was not measured is a dash, and a column of nothing else is left out. Ends of an interval
    are called as the metric and `/low` and `/high`; `gaps` are between the model and other lines.
    """
    less = {gap.minus: gap.estimate for gap in gaps}
    columns = [["model", *(name for name, _ in rows)]]
    columns += [
        [heading, *(_measured(metrics, name) for _, metrics in rows)]
        for heading, name in COLUMNS.items()
    ]
    columns.append([LESS, *(_gap(less[name]) if name in less else ABSENT for name, _ in rows)])
    shown = [each for each in columns if set(each[1:]) != {ABSENT}]
    widths = [max(map(len, each)) for each in shown]
    heading, *lines = [_line(cells, widths) for cells in zip(*shown, strict=True)]
    return "\n".join([heading, "  ".join("-" * width for width in widths), *lines])


def _measured(metrics: Mapping[str, float], name: str) -> str:
    if name not in metrics:
        return ABSENT
    low, high = f"{name}/low", f"{name}/high"
    ends = f" ({metrics[low]:.3f} to {metrics[high]:.3f})" if {low, high} <= metrics.keys() else ""
    return f"{metrics[name]:.3f}{ends}"


def _gap(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The name to the left, numbers to the right."""
    name, *numbers = cells
    aligned = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
    return "  ".join([name.ljust(widths[0]), *aligned])
