"""The rows of one benchmark as they come: those a journal has already, and new ones kept in it."""

import json
from collections.abc import Iterable

import jax
import pandas as pd

from dvmap_jax.evaluation.journal import Journal, Row
from dvmap_jax.processes import all_succeed, exchange


class Answers:
    """What is answered of a benchmark, the same in every process; process 0 keeps the journal."""

    def __init__(self, benchmark: str, journal: Journal | None):
        """Takes over the journal's rows of the benchmark; all processes come here together.

        Only the journal given in process 0 is read and written.
        """
        self._journal = None if jax.process_index() else journal
        rows = self._journal and self._journal.rows(benchmark)
        found = json.loads(exchange(json.dumps(rows))[0])
        self._kept = found is not None
        self._rows: dict[int, Row] = {row["number"]: row for row in found or ()}

    def __len__(self) -> int:
        return len(self._rows)

    def has(self, number: int) -> bool:
        """Whether the row of this number is there."""
        return number in self._rows

    def have(self, numbers: Iterable[int]) -> bool:
        """Whether the rows of all these numbers are there."""
        return all(map(self.has, numbers))

    def add(self, rows: Iterable[Row]) -> None:
        """Takes new rows, in the journal when it returns; rows that are there are left as they are.

        Where process 0 cannot write, every process raises.
        """
        new = [row for row in rows if not self.has(row["number"])]
        if self._kept:
            all_succeed(lambda: self._journal.add(new) if self._journal else None)
        self._rows |= {row["number"]: row for row in new}

    def table(self) -> pd.DataFrame:
        """One row an example, by number."""
        return pd.DataFrame([self._rows[number] for number in sorted(self._rows)])
