"""The table a run ends in: metrics of models and baselines in, plain text out."""

from collections.abc import Mapping, Sequence

HEADINGS = ("model", "accuracy", "95 % interval", "macro", "reward", "95 % interval", "rows")
ABSENT = "-"


def results_table(rows: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    """A line for each (name, metrics) under the headings; what was not measured is a dash.

    Reads `accuracy`, `accuracy/macro`, `reward`, their `/low` and `/high`, and `num_rows`.
    """
    cells = [HEADINGS] + [(name, *_cells(metrics)) for name, metrics in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADINGS))]
    lines = [_line(line, widths) for line in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _cells(metrics: Mapping[str, float]) -> tuple[str, ...]:
    rows = f"{metrics['num_rows']:.0f}" if "num_rows" in metrics else ABSENT
    return (
        _number(metrics, "accuracy"),
        _interval(metrics, "accuracy"),
        _number(metrics, "accuracy/macro"),
        _number(metrics, "reward"),
        _interval(metrics, "reward"),
        rows,
    )


def _number(metrics: Mapping[str, float], name: str) -> str:
    return f"{metrics[name]:.3f}" if name in metrics else ABSENT


def _interval(metrics: Mapping[str, float], name: str) -> str:
    low, high = f"{name}/low", f"{name}/high"
    if low not in metrics or high not in metrics:
        return ABSENT
    return f"{metrics[low]:.3f} to {metrics[high]:.3f}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The name to the left, numbers to the right."""
    name, *numbers = cells
    aligned = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
    return "  ".join([name.ljust(widths[0]), *aligned])
