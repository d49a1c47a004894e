"""Records as columns: dataclass records in; a sequence of them that holds each value once out."""

import dataclasses
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

import numpy as np

Record = TypeVar("Record")


class RecordTable(Sequence, Generic[Record]):
    """Records of one frozen dataclass, made anew whenever one is asked for.

    Of each field the different values are kept once, and for each row one to four bytes that say
    which. A slice is a table of the same values. Equal to any sequence of equal records.
    """

    def __init__(
        self, kind: type[Record], values: dict[str, Sequence], codes: dict[str, np.ndarray]
    ):
        """`values` by field, and `codes`, integers [rows], the place of each row's among them."""
        self._kind, self._values, self._codes = kind, values, codes
        self._rows = len(next(iter(codes.values())))

    @classmethod
    def of(cls, kind: type[Record], records: Iterable[Record]) -> "RecordTable[Record]":
        """The records of an iterable, of which one at a time is held."""
        names = [field.name for field in dataclasses.fields(kind)]
        places: list[dict[Any, int]] = [{} for _ in names]
        codes = [array("i") for _ in names]
        for record in records:
            for name, known, column in zip(names, places, codes, strict=True):
                column.append(known.setdefault(getattr(record, name), len(known)))
        values = {name: list(known) for name, known in zip(names, places, strict=True)}
        kept = {}
        for name in reversed(names):  # each is freed when its narrow copy is there
            kept[name] = narrow(np.frombuffer(codes.pop(), np.int32), values[name])
        return cls(kind, values, {name: kept[name] for name in names})

    def values(self, field: str) -> Sequence:
        """The values that a field may have, each once; some may be of no row."""
        return self._values[field]

    def codes(self, field: str) -> np.ndarray:
        """For each row the place of its value among `values`, integers [rows]."""
        return self._codes[field]

    def select(self, rows: np.ndarray) -> "RecordTable[Record]":
        """The rows of these numbers (or where a mask is true), in their order."""
        codes = {name: column[rows] for name, column in self._codes.items()}
        return RecordTable(self._kind, self._values, codes)

    def replaced(self, field: str, column: np.ndarray) -> "RecordTable[Record]":
        """The same records with other numbers in a field, one a row."""
        values, codes = np.unique(column, return_inverse=True)
        return RecordTable(
            self._kind,
            self._values | {field: values.tolist()},
            self._codes | {field: narrow(codes.reshape(-1), values)},
        )

    def __len__(self) -> int:
        return self._rows

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> "RecordTable[Record]": ...
    def __getitem__(self, place):
        if isinstance(place, slice):
            return self.select(np.arange(len(self))[place])
        row = range(len(self))[place]
        return self._kind(
            *(self._values[name][column[row]] for name, column in self._codes.items())
        )

    def __iter__(self) -> Iterator[Record]:
        columns = (
            map(self._values[name].__getitem__, column) for name, column in self._codes.items()
        )
        return (self._kind(*row) for row in zip(*columns, strict=True))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        same = (ours == theirs for ours, theirs in zip(self, other, strict=False))
        return len(self) == len(other) and all(same)

    __hash__ = None

    def __repr__(self) -> str:
        return f"RecordTable({len(self)} {self._kind.__name__})"


def narrow(codes: np.ndarray, values: Sequence) -> np.ndarray:
    """A copy of the codes of these values in as few bytes as hold them."""
    return codes.astype(np.min_scalar_type(max(0, len(values) - 1)))
