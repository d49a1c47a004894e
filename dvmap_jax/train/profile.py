"""Some steps of a run traced: what its operations cost, largest first, in a table for people."""

import contextlib
import pathlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from dvmap_jax.files import write_text

FOLDER, TABLE = "profile", "costs.txt"
WARM_STEPS = 2  # not traced: they compile and fill what is kept
LARGEST = 10
DEVICE_OPERATIONS = "XLA Ops"  # a TPU's line of operations; elsewhere they carry a stat `hlo_op`

MODULE = re.compile(r"^HloModule ([^\s,]+)")
NUMBERED = re.compile(r'^(\d+) (?:"(.*)"|\{(.*)\})$', re.MULTILINE)
INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = .*metadata=\{(.*?)\}", re.MULTILINE)
NUMBER = re.compile(r"(\w+)=(\d+)")
OP_NAME = re.compile(r'op_name="([^"]*)"')


class Place(NamedTuple):
    """Where an operation comes from: jax's name of it, and a line of a source file."""

    name: str = ""
    line: str = ""


class Cost(NamedTuple):
    """What an operation of a program costs in all the traced time, without those inside it."""

    program: str
    operation: str
    seconds: float
    times: int
    place: Place


class Profile:
    """Traces `num_steps` steps into `folder`, after the first two, where any are left then."""

    def __init__(self, folder: pathlib.Path, num_steps: int, texts: Callable[[], dict[str, str]]):
        """`texts` gives the compiled programs of a step, by their names."""
        self._folder, self._num_steps, self._texts = folder, num_steps, texts

    def over(self, steps: Iterable[int], settle: Callable[[], None]) -> Iterator[int]:
        """The steps themselves, some of them traced; `settle` waits until all is computed."""
        steps = list(steps)
        traced = steps[WARM_STEPS : WARM_STEPS + self._num_steps]
        yield from steps[:WARM_STEPS]
        if traced:
            settle()
            with self._trace():
                yield from traced
                settle()
            self._write(len(traced))
        yield from steps[WARM_STEPS + len(traced) :]

    def _trace(self) -> contextlib.AbstractContextManager:
        if jax.process_index():  # one process's devices tell enough
            return contextlib.nullcontext()
        return jax.profiler.trace(str(self._folder))

    def _write(self, num_steps: int) -> None:
        if jax.process_index():
            return
        newest = max(self._folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
        found = costs(jax.profiler.ProfileData.from_file(str(newest)), self._texts())
        write_text(self._folder / TABLE, table(found, num_steps) + "\n")


def costs(data: jax.profiler.ProfileData, texts: Mapping[str, str]) -> list[Cost]:
    """What each operation of a trace cost a device, the largest first.

    `texts` are compiled programs by the names they are to be called; they tell where an operation
    comes from. Operations that run beside one another on threads of a CPU add up.
    """
    known = {module_name(text): (name, places(text)) for name, text in texts.items()}
    seconds, times, planes = Counter(), Counter(), 0
    for plane in data.planes:
        found = list(_operations(plane))
        planes += bool(found)
        for key, own in found:
            seconds[key] += own
            times[key] += 1
    rows = []
    for (module, operation), spent in seconds.most_common():
        program, known_places = known.get(module, (module, {}))
        place = known_places.get(operation, Place())
        count = times[module, operation]
        rows.append(Cost(program, operation, spent / planes, count, place))
    return rows


def table(found: Sequence[Cost], num_steps: int, largest: int = LARGEST) -> str:
    """The largest costs as a table, in seconds a step and their share of all operations'."""
    whole = sum(cost.seconds for cost in found) or 1.0
    head = ("s/step", "share", "times", "program", "operation", "line", "name")
    lines = [head]
    for cost in found[:largest]:
        numbers = (f"{cost.seconds / num_steps:.4f}", f"{100 * cost.seconds / whole:.1f} %")
        named = (cost.program, cost.operation, cost.place.line or "-", cost.place.name or "-")
        lines.append((*numbers, f"{cost.times / num_steps:.0f}", *named))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rows = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    said = f"{num_steps} steps traced; all operations {whole / num_steps:.4f} s a step"
    return "\n".join([said, *rows])


def _operations(plane: Any) -> Iterator[tuple[tuple[str, str], float]]:
    """Program and name of every operation on a plane, with the seconds that are its own."""
    lines = list(plane.lines)
    on_device = [line for line in lines if line.name == DEVICE_OPERATIONS]
    for line in on_device or lines:
        spans = []
        for event in line.events:
            stats = dict(event.stats)
            if on_device or "hlo_op" in stats:
                key = (str(stats.get("hlo_module", "")), _operation(event.name))
                spans.append((event.start_ns, event.duration_ns, key))
        yield from own_seconds(spans)


def _operation(name: str) -> str:
    """The name alone, where a device tells the whole instruction."""
    return name.split(" = ")[0].lstrip("%")


def own_seconds(
    spans: Iterable[tuple[float, float, Any]],
) -> Iterator[tuple[Any, float]]:
    """Each span's key with its seconds, less those of the spans within it; in: nanoseconds."""
    stack: list[list] = []  # [end, key, own]
    for start, duration, key in sorted(spans, key=lambda span: (span[0], -span[1])):
        while stack and stack[-1][0] <= start:
            yield tuple(stack.pop()[1:])
        if stack:
            stack[-1][2] -= duration / 1e9
        stack.append([start + duration, key, duration / 1e9])
    for _, key, own in stack:
        yield key, own


def module_name(text: str) -> str:
    """The name of a compiled program's module."""
    match = MODULE.match(text)
    return match[1] if match else ""


def places(text: str) -> dict[str, Place]:
    """Where each instruction of a compiled program's text comes from."""
    files, locations, frames = (
        _numbered(text, title) for title in ("FileNames", "FileLocations", "StackFrames")
    )
    found = {}
    for instruction, metadata in INSTRUCTION.findall(text):
        name = OP_NAME.search(metadata)
        numbers = dict(NUMBER.findall(metadata))
        frame = dict(NUMBER.findall(frames.get(numbers.get("stack_frame_id", ""), "")))
        location = dict(NUMBER.findall(locations.get(frame.get("file_location_id", ""), "")))
        file = files.get(location.get("file_name_id", ""), "")
        line = f"{'/'.join(pathlib.PurePath(file).parts[-2:])}:{location['line']}" if file else ""
        found[instruction] = Place(name[1] if name else "", line)
    return found


def _numbered(text: str, title: str) -> dict[str, str]:
    """The rows of one of the tables that stand before a program's instructions."""
    part = text.partition(f"\n{title}\n")[2].partition("\n\n")[0]
    return {number: quoted or braced for number, quoted, braced in NUMBERED.findall(part)}
