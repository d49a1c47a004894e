"""Results as numbers: a table of rows in; options, answers and shares as arrays out, as asked for.

A column that is not there is asked for by a metric that needs it, which is then left out with a
note; what contradicts itself (a prediction that is no option, a row twice) raises ValueError.
"""

import functools
from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd

NOBODY = -1  # index of a prediction that could not be read


class LeftOutError(Exception):
    """What was asked for is not in these results; the message is the reason, for a note."""


class Outcomes:
    """Results of one benchmark, N rows whose archetypes are C clusters; M options at most.

    `reference` holds the results of a baseline on the same rows.
    """

    def __init__(self, results: pd.DataFrame, reference: pd.DataFrame | None = None):
        """Raises ValueError where there is no row, one is there twice, or benchmarks are mixed."""
        self.results = results.reset_index(drop=True)
        _check_rows(self.results)
        self.clusters, names = pd.factorize(self._required("archetype"))
        self.num_clusters = len(names)
        self._reference = reference

    def __len__(self) -> int:
        return len(self.results)

    def has(self, name: str) -> bool:
        """Whether there is such a column, and something in it."""
        return name in self.results and not self.results[name].isna().all()

    def column(self, name: str) -> pd.Series:
        """The column; LeftOutError where there is none, or nothing in it."""
        if not self.has(name):
            raise LeftOutError(f"the results have no column {name!r}")
        return self.results[name]

    def share(self, name: str) -> np.ndarray:
        """A column of shares, [N]; nothing where a call failed."""
        return _checked_shares(self.column(name), self.failed, name)

    def sums(self, *columns: np.ndarray) -> np.ndarray:
        """Sums by cluster of columns [N], [C, columns]."""
        return np.stack([self.by(None, 1, values)[:, 0] for values in columns], axis=1)

    def by(self, codes: np.ndarray | None, size: int, values: np.ndarray | None = None):
        """Sums (counts without values) by cluster and code, [C, size]; a code below 0 is none."""
        codes = np.zeros(len(self), int) if codes is None else codes
        chosen = codes >= 0
        keys = (self.clusters * size + codes)[chosen]
        weights = None if values is None else values[chosen]
        counted = np.bincount(keys, weights=weights, minlength=self.num_clusters * size)
        return counted.reshape(self.num_clusters, size).astype(float)

    @functools.cached_property
    def failed(self) -> np.ndarray:
        """Which rows are of a call that failed, [N]."""
        if "failure" not in self.results:
            return np.zeros(len(self), bool)
        return self.results["failure"].notna().to_numpy()

    @functools.cached_property
    def correct(self) -> np.ndarray:
        """The share of a row's answers that are right, [N]; nothing where a call failed."""
        return _checked_shares(self._required("correct"), self.failed, "correct")

    @functools.cached_property
    def reference_correct(self) -> np.ndarray:
        """The same of the reference, [N]."""
        if self._reference is None:
            raise LeftOutError("no results of a baseline to measure it against")
        return paired_correct(self.results, self._reference)

    @functools.cached_property
    def questions(self) -> tuple[np.ndarray, list[str]]:
        """Codes of the questions, [N], and their names in order."""
        return _coded(self.column("question_id"))

    @functools.cached_property
    def countries(self) -> tuple[np.ndarray, list[str]]:
        """Codes of the countries, [N], and their names in order."""
        return _coded(self.column("country"))

    @functools.cached_property
    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Codes of the pairs of country and question, [N], and the options of each, [cells]."""
        question, names = self.questions
        country, _ = self.countries
        _, first, codes = np.unique(
            country * len(names) + question, return_index=True, return_inverse=True
        )
        return codes, self.ordered[first]

    @functools.cached_property
    def options(self) -> list[tuple[str, ...]]:
        """Each row's options; ValueError where there is one or none, or one twice."""
        lists = [tuple(options) for options in self.column("options")]
        for options in set(lists):
            if len(set(options)) < max(2, len(options)):
                row = self._named(lists.index(options))
                raise ValueError(f"{row} has the options {options}; give two or more distinct ones")
        return lists

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """How many options each row has, [N]."""
        return np.array([len(options) for options in self.options])

    @functools.cached_property
    def ordered(self) -> np.ndarray:
        """The same; LeftOutError where rows of a question differ in its options or their order."""
        _, names = self.questions
        pairs = set(zip(self.results["question_id"], self.options, strict=True))
        if len(pairs) > len(names):
            raise LeftOutError("rows of one question have other options, or in another order")
        return self.sizes

    @functools.cached_property
    def answers(self) -> np.ndarray:
        """Place of the answer among the options, [N]."""
        return self._places(self.column("answer"), "answer")

    @functools.cached_property
    def predicted(self) -> np.ndarray:
        """Place of the prediction among the options, [N]; NOBODY where none could be read."""
        return self._places(self.column("predicted"), "predicted", absent=True)

    @functools.cached_property
    def right(self) -> np.ndarray:
        """Whether the prediction is the answer, [N], as 0 and 1."""
        return (self.predicted == self.answers).astype(float)

    @functools.cached_property
    def predictions(self) -> np.ndarray:
        """Each sample's prediction, [N, samples]; NOBODY where unreadable, or the call failed."""
        column = self.column("predictions")
        rows = [each if isinstance(each, list | tuple | np.ndarray) else [] for each in column]
        found = np.full((len(self), max(map(len, rows))), NOBODY)
        for place in range(found.shape[1]):
            drawn = pd.Series([row[place] if place < len(row) else None for row in rows])
            found[:, place] = self._places(drawn, "predictions", absent=True)
        return found

    @functools.cached_property
    def samples(self) -> np.ndarray:
        """Predictions of rows that have several; LeftOutError where no row has."""
        if self.predictions.shape[1] < 2:
            raise LeftOutError("no row has more than one sample")
        return self.predictions

    @functools.cached_property
    def told(self) -> np.ndarray:
        """Which rows have probabilities, [N]."""
        return self.column("probabilities").notna().to_numpy()

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        """Shares of the options, [N, M]; even where a row has none, 0 beyond its options."""
        return self._over_options("probabilities", even=True)

    @functools.cached_property
    def respondents(self) -> np.ndarray:
        """How many of the archetype's respondents gave each option, [N, M]; 0 where not known."""
        return self._over_options("answer_counts", even=False)

    def _over_options(self, name: str, *, even: bool) -> np.ndarray:
        sizes, column = self.sizes, self.column(name)
        found = np.zeros((len(self), sizes.max()))
        for row, (values, size) in enumerate(zip(column, sizes, strict=True)):
            if isinstance(values, list | tuple | np.ndarray):
                found[row, :size] = self._checked(values, row, name)
            elif even:
                found[row, :size] = 1 / size
        off = np.abs(found.sum(axis=1) - 1) > 1e-3  # as of probabilities kept in three digits
        if even and off.any():
            row = int(np.argmax(off))
            raise ValueError(f"{self._named(row)}: {name} add up to {found[row].sum()}, not to 1")
        return found

    def _checked(self, values: Sequence[float], row: int, name: str) -> Sequence[float]:
        numbers = np.asarray(values, float)
        if numbers.shape != (self.sizes[row],) or not np.all(np.isfinite(numbers) & (numbers >= 0)):
            raise ValueError(
                f"{self._named(row)}: {name} are {list(values)}; give a number of 0 or more for "
                f"each of {self.options[row]}"
            )
        return numbers

    def _places(self, values: pd.Series, name: str, *, absent: bool = False) -> np.ndarray:
        """Where each value stands among its row's options."""
        known = {options: {o: i for i, o in enumerate(options)} for options in set(self.options)}
        found = np.full(len(self), NOBODY)
        for row, (value, options) in enumerate(zip(values, self.options, strict=True)):
            none = value is None or value != value  # NaN, which pandas makes of None
            place = known[options].get(value) if isinstance(value, Hashable) else None
            if place is None and not (absent and none):
                raise ValueError(
                    f"{self._named(row)}: {name} {value!r} is not among the options {options}; "
                    "these are the results of another benchmark or are damaged"
                )
            found[row] = NOBODY if place is None else place
        return found

    def _required(self, name: str) -> pd.Series:
        if name not in self.results:
            raise ValueError(
                f"the results have no column {name!r}; they have {', '.join(self.results.columns)}"
            )
        return self.results[name]

    def _named(self, row: int) -> str:
        return named_row(self.results, row)


def named_row(results: pd.DataFrame, row: int) -> str:
    """A row as messages call it, by benchmark and number where it has them."""
    there = results.iloc[row]
    benchmark = f"benchmark {there['benchmark']!r} " if "benchmark" in results else ""
    return f"{benchmark}row {there['number'] if 'number' in results else row}"


def paired_correct(results: pd.DataFrame, other: pd.DataFrame) -> np.ndarray:
    """`correct` of another model's results, in the order of ours, [N].

    Rows are paired by their number; ValueError where one is missing or asks something else.
    """
    _check_rows(other)
    keys = ["number"]
    told = [name for name in ("benchmark", "question_id", "archetype", "answer") if name in results]
    for table in (results, other):
        for name in (*keys, *told, "correct"):
            if name not in table:
                raise ValueError(f"results cannot be paired: one has no column {name!r}")
    theirs = other.set_index("number").reindex(results["number"])
    absent = theirs["correct"].isna().to_numpy()
    if absent.any() or len(other) != len(results):
        raise ValueError(
            f"results cannot be paired: {len(results)} rows with {len(other)}, {absent.sum()} of "
            "them without a partner of that number; give results of the same examples"
        )
    for name in told:
        differs = theirs[name].to_numpy() != results[name].to_numpy()
        if differs.any():
            row = int(np.argmax(differs))
            raise ValueError(
                f"results cannot be paired: {named_row(results, row)} has {name} "
                f"{results[name].iloc[row]!r} in one and {theirs[name].iloc[row]!r} in the other; "
                "give results of the same benchmark"
            )
    return theirs["correct"].to_numpy(float)


def _check_rows(results: pd.DataFrame) -> None:
    if results.empty:
        raise ValueError("the results have no rows; there is nothing to measure")
    if "benchmark" in results and results["benchmark"].nunique() > 1:
        names = ", ".join(map(repr, sorted(results["benchmark"].unique())))
        raise ValueError(f"the results are of several benchmarks ({names}); measure each by itself")
    if "number" in results and results["number"].duplicated().any():
        row = int(np.argmax(results["number"].duplicated()))
        raise ValueError(f"{named_row(results, row)} is there twice; remove one of them")


def _checked_shares(values: pd.Series, failed: np.ndarray, name: str) -> np.ndarray:
    numbers = np.where(failed, 0, pd.to_numeric(values, errors="coerce"))
    wrong = ~((numbers >= 0) & (numbers <= 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"row {row}: {name} is {values.iloc[row]}; it must be a share, 0 to 1")
    return numbers


def _coded(values: pd.Series) -> tuple[np.ndarray, list[str]]:
    codes, names = pd.factorize(values, sort=True)
    return codes, list(names)
