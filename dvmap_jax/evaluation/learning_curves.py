"""What a run wrote down as it learned: its workdir's `metrics.jsonl` in, curves over steps out."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

FILE = "metrics.jsonl"
PHASES = (("warm start", "warm_start"), ("run", "."))  # and their folders in a workdir
ENDS = ("/low", "/high")
MAX_POINTS = 400  # of a curve; more cannot be told apart on a screen


@dataclasses.dataclass(frozen=True)
class LearningCurve:
    """A metric over the steps of a phase, with the ends of its intervals where it has them."""

    phase: str
    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None


def learning_curves(workdir: pathlib.Path) -> list[LearningCurve]:
    """Every metric of two steps or more, phase by phase; of long curves evenly chosen steps.

    Raises ValueError naming file and line where there is no such file or a line is damaged; a
    last line that a running process has not ended is left out.
    """
    files = [(phase, workdir / folder / FILE) for phase, folder in PHASES]
    there = [(phase, path) for phase, path in files if path.is_file()]
    if not there:
        raise ValueError(
            f"{workdir / FILE} is missing; name the --workdir that scripts/train.py was given"
        )
    return [curve for phase, path in there for curve in _curves(phase, path)]


def _curves(phase: str, path: pathlib.Path) -> Iterator[LearningCurve]:
    found: dict[str, dict[int, float]] = {}
    for row in _rows(path):
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                found.setdefault(name, {})[row["step"]] = value
    for name, values in found.items():
        if len(values) > 1 and not name.endswith(ENDS):
            steps = _thinned(sorted(values))
            ends = [_at(found.get(name + end, {}), steps) for end in ENDS]
            yield LearningCurve(phase, name, steps, tuple(values[step] for step in steps), *ends)


def _rows(path: pathlib.Path) -> Iterator[Mapping[str, Any]]:
    whole = path.read_text(encoding="utf-8").split("\n")[:-1]
    for number, line in enumerate(whole, start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path} line {number} is not JSON: {error}") from error
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise ValueError(f"{path} line {number} has no step; it is no row of a run")
        yield row


def _thinned(steps: list[int]) -> tuple[int, ...]:
    """At most `MAX_POINTS` of the steps, the first and the last among them."""
    if len(steps) <= MAX_POINTS:
        return tuple(steps)
    last = len(steps) - 1
    return tuple(steps[round(i * last / (MAX_POINTS - 1))] for i in range(MAX_POINTS))


def _at(values: Mapping[int, float], steps: tuple[int, ...]) -> tuple[float, ...] | None:
    return tuple(values[step] for step in steps) if all(s in values for s in steps) else None
