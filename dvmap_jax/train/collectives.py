"""Collectives of a compiled program: its text in, kinds, times and bytes out."""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterator

COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
CALLED = re.compile(r"(condition|body|calls|to_apply|called_computations)=\{?(%?[\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
TRIP_COUNT = re.compile(r'known_trip_count":\{"n":"(\d+)"')
CONSTANT = re.compile(r"= s32\[\]\S* constant\((\d+)\)")
COLLECTIVE = re.compile(
    r"= (.*?) (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)
CHANNEL = re.compile(r"channel_id=(\d+)")
SHAPE = re.compile(r"\b(pred|[a-z]+\d+(?:e\d+m\d+\w*)?)\[([\d,]*)\]")
SCATTERED = "all-reduce-scatter"  # TPU's name for an all-reduce of which each device keeps a part


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective of a program: how often it runs, and the bytes a device sends each time."""

    kind: str
    shape: str
    times: int
    num_bytes: int


def collectives(text: str) -> list[Collective]:
    """The collectives in the text of a compiled program, the largest traffic first.

    What stands in a loop counts as often as the loop runs; a loop without a stated number of
    rounds runs as often as the largest constant of its condition. A device sends about the bytes
    of the larger side of a gather, scatter, exchange or shift, and twice those of an all-reduce.
    """
    computations = _computations(text)
    times = _times(computations)
    found: dict[tuple, list[Collective]] = {}
    for name, lines in computations.items():
        for line in lines:
            match = COLLECTIVE.search(line)
            if match and times[name]:
                one = _collective(match, line, name, times[name])
                channel = CHANNEL.search(line)
                key = (channel[1], one.kind, one.shape) if channel else (name, line)
                found.setdefault(key, []).append(one)
    # An asynchronous one stands in a start, an end and pieces between them, under one channel; the
    # pieces may lie in an inner loop and run more often than it does.
    once = [min(places, key=lambda one: one.times) for places in found.values()]
    return sorted(once, key=lambda one: -one.times * one.num_bytes)


def shapes(text: str) -> set[tuple[str, tuple[int, ...]]]:
    """Element type and sizes of every array that a compiled program's text mentions."""
    return {(kind, _sizes(sizes)) for kind, sizes in SHAPE.findall(text)}


def _collective(match: re.Match, line: str, computation: str, times: int) -> Collective:
    operands = line[match.end() :].split(")", 1)[0]
    sides = [_num_bytes(match[1]), _num_bytes(operands)]
    kind = match[2]
    if kind == "all-reduce" and SCATTERED in computation:
        kind = "reduce-scatter"
    size = max(sides) * (2 if kind == "all-reduce" else 1)
    return Collective(kind, match[1].split("{")[0].strip("( "), times, size)


def _computations(text: str) -> dict[str, list[str]]:
    """The lines of every computation, by its name; the entry's name is "ENTRY"."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        match = COMPUTATION.match(line)
        if match:
            name = "ENTRY" if line.startswith("ENTRY") else match[1]
            lines = found.setdefault(name, [])
        else:
            lines.append(line)
    return found


def _times(computations: dict[str, list[str]]) -> Counter:
    """How often each computation runs in one run of the program."""
    times: Counter = Counter()

    def run(name: str, number: int) -> None:
        times[name] += number
        for line in computations.get(name, ()):
            for called, rounds in _calls(line, computations):
                run(called, number * rounds)

    run("ENTRY", 1)
    return times


def _calls(line: str, computations: dict[str, list[str]]) -> Iterator[tuple[str, int]]:
    """The computations a line runs, and how often."""
    called = {key: name.lstrip("%") for key, name in CALLED.findall(line)}
    rounds = 1
    if "body" in called:
        stated = TRIP_COUNT.search(line)
        limits = [int(n) for n in CONSTANT.findall("\n".join(computations[called["condition"]]))]
        rounds = int(stated[1]) if stated else max(limits, default=1)
    for name in called.values():
        yield name, rounds
    for names in BRANCHES.findall(line):
        for name in names.split(","):
            yield name.strip().lstrip("%"), 1


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(",") if size)


def _num_bytes(text: str) -> int:
    """Bytes of all arrays that a text mentions."""
    return sum(_width(kind) * math.prod(_sizes(sizes)) for kind, sizes in SHAPE.findall(text))


def _width(kind: str) -> int:
    digits = re.search(r"\d+", kind)
    return max(1, int(digits[0]) // 8) if digits else 1
