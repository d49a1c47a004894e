"""Answers as they come, appended to a file, so that a stopped evaluation goes on where it was."""

import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dvmap_jax.files import full_disk_named
from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES
from dvmap_jax.survey.corpus import Example

FILE = "answers.jsonl"

Row = dict[str, Any]


class Journal:
    """Rows of `answers.jsonl`, each there exactly once by its benchmark and number.

    The file's first line says what the evaluation is. A last line that was cut off is dropped
    when the file is opened; every `add` is on the disk when it returns.
    """

    def __init__(self, folder: pathlib.Path, evaluation: Mapping[str, Any]):
        """Raises ValueError where the file in `folder` is of another evaluation or is damaged."""
        self._path = folder / FILE
        head = json.loads(json.dumps(dict(evaluation)))
        self._rows: dict[tuple[str, int], Row] = {}
        if self._path.exists() and self._read(head):
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._append([head], mode="w")

    def has(self, benchmark: str, number: int) -> bool:
        """Whether the row of this example is there."""
        return (benchmark, number) in self._rows

    def rows(self, benchmark: str | None = None) -> list[Row]:
        """All rows, by benchmark and number, or those of one benchmark."""
        keys = (key for key in self._rows if benchmark in (None, key[0]))
        return [self._rows[key] for key in sorted(keys)]

    def add(self, rows: Iterable[Row]) -> None:
        """Appends rows; ValueError where one is there already."""
        new: dict[tuple[str, int], Row] = {}
        for row in rows:
            key = _key(row)
            if key in self._rows or key in new:
                raise ValueError(f"row {key[1]} of benchmark {key[0]!r} is in {self._path} already")
            new[key] = row
        self._append(new.values(), mode="a")
        self._rows |= new

    def _append(self, lines: Iterable[Mapping[str, Any]], *, mode: str) -> None:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        with full_disk_named(self._path), self._path.open(mode, encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def _read(self, head: Mapping[str, Any]) -> bool:
        """Takes over the rows that are there; False where not even the first line is whole."""
        whole, _, cut = self._path.read_bytes().rpartition(b"\n")
        if not whole:
            return False
        lines = whole.split(b"\n")
        self._check(_parsed(lines[0], self._path, 0), head)
        for place, line in enumerate(lines[1:], start=1):
            row = _parsed(line, self._path, place)
            if "benchmark" not in row or "number" not in row:
                raise ValueError(f"{self._path} line {place + 1} has no benchmark or no number")
            if self.has(*_key(row)):
                raise ValueError(
                    f"{self._path} line {place + 1} repeats row {row['number']} of benchmark "
                    f"{row['benchmark']!r}; remove one of them"
                )
            self._rows[_key(row)] = row
        if cut:
            with self._path.open("r+b") as file:
                file.truncate(len(whole) + 1)
        return True

    def _check(self, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        for name in [*wanted, *found]:
            if found.get(name) != wanted.get(name):
                raise ValueError(
                    f"{self._path} belongs to another evaluation: its {name} is "
                    f"{found.get(name)!r}, not {wanted.get(name)!r}; name another --output, or "
                    "remove the file"
                )


def identity(example: Example, *, benchmark: str, number: int) -> Row:
    """The fields that every row of results has, whoever answered.

    `attributes` is empty where the example was asked of nobody in particular; `answer_counts`
    are there where the example has them, whole ones as whole numbers.
    """
    counts = example.answer_counts
    known = {} if counts is None else {"answer_counts": [_plain(count) for count in counts]}
    names = ATTRIBUTE_NAMES if example.attributes else ()
    return {
        "benchmark": benchmark,
        "number": int(number),
        "question_id": example.question_id,
        "country": example.country,
        "archetype": example.archetype,
        "attributes": dict(zip(names, example.attributes, strict=True)),
        "options": list(example.option_list),
        "answer": example.answer,
        **known,
    }


def digest(examples: Sequence[Example]) -> str:
    """Names the examples by what they ask and whose answers they hold, in their order."""
    told = hashlib.sha256()
    for e in examples:
        fields = [e.question_id, e.country, e.archetype, e.question, e.options, e.answer]
        fields += [] if e.answer_counts is None else [e.answer_counts]
        told.update(json.dumps(fields).encode())
    return told.hexdigest()[:16]


def _plain(count: float) -> float | int:
    return int(count) if float(count).is_integer() else count


def _key(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["benchmark"], row["number"]


def _parsed(line: bytes, path: pathlib.Path, place: int) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(
            f"{path} line {place + 1} is not JSON: {error}; restore the file or remove it"
        ) from error
    if not isinstance(row, dict):
        raise ValueError(f"{path} line {place + 1} is no row but {type(row).__name__}")
    return row
