"""Respondents: a survey file and its codebook in, one row of codes a respondent out."""

import contextlib
import csv
import dataclasses
import gzip
import io
import pathlib
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
from jaxtyping import Float, Int

from dvmap_jax.survey.codebook import Attribute, Codebook, Question, check_names

SEPARATORS = ",;\t"
BLOCK_BYTES = 1 << 24
BLANK = -99  # an empty cell; no survey code
SHOWN = 8  # unknown codes an error lists
NO_LABEL = -1  # an attribute's label index where there is no label
UNREADABLE = (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError)


@dataclasses.dataclass(frozen=True)
class Respondents:
    """Everybody who was read, and what they said.

    `attributes` are indices into the labels of the codebook's attributes, -1 where there is no
    answer. `answers` are raw codes by question, negative where there is none, so that kinds of
    missing answers stay apart. `waves` is 0 and `weights` 1 where the survey has none.
    """

    codebook: Codebook
    questions: tuple[Question, ...]
    attributes: Int[np.ndarray, "R A"]
    answers: dict[str, Int[np.ndarray, " R"]]
    weights: Float[np.ndarray, " R"]
    waves: Int[np.ndarray, " R"]

    def __len__(self) -> int:
        return len(self.attributes)


def read_respondents(
    path: pathlib.Path,
    codebook: Codebook,
    *,
    questions: Sequence[Question],
    countries: Sequence[str] = (),
    waves: Sequence[int] = (),
    unknown: str = "error",
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> Respondents:
    """Reads the needed columns of a `.csv`, `.csv.gz` or `.zip` file, in their order in the file.

    `countries` and `waves` keep only theirs, all where empty. Codes the codebook does not know
    are an error that lists them, or, with `unknown="missing"`, no answer. `progress` is told
    bytes read and the file's size. Raises FileNotFoundError, and ValueError naming the file and
    the line, column or code that is wrong.
    """
    wanted = _Wanted(path, codebook, tuple(questions), tuple(countries), tuple(waves))
    parts = [_Part(wanted, batch) for batch in _batches(path, wanted.columns, progress)]
    if not parts:
        raise ValueError(f"{path} has a first line and no respondent below it")
    if unknown == "error":
        _refuse_unknown(path, parts)
    ids = pd.Series(np.concatenate([part.ids for part in parts]))
    twice = ids.duplicated()
    if twice.any():
        raise ValueError(
            f"{path}: {codebook.respondent} {ids[twice].iloc[0]!r} occurs more than once "
            f"({int(twice.sum())} such rows); a file must hold each respondent once"
        )
    if not any(part.kept.any() for part in parts):
        raise ValueError(f"{path} has no respondent left: {wanted.filters}")
    return _joined(codebook, tuple(questions), parts)


class _Wanted:
    """The columns of a file that are needed, and which rows."""

    def __init__(self, path, codebook, questions, countries, waves):
        known = {label: code for code, label in codebook.country.labels}
        check_names("no country is called", countries, known)
        if waves and not codebook.wave:
            raise ValueError(f"the codebook {codebook.name!r} names no wave variable to choose by")
        self.codebook, self.questions, self.path = codebook, questions, path
        self.countries, self.waves = [known[name] for name in countries], list(waves)
        self.filters = f"countries {list(countries) or 'all'}, waves {list(waves) or 'all'}"
        variables = [a.variable for a in codebook.attributes] + [q.id for q in questions]
        named = [codebook.respondent, codebook.wave, codebook.weight]
        self.columns = tuple(dict.fromkeys(name for name in [*named, *variables] if name))


class _Part:
    """A block of rows as codes, with the codes that no codebook entry knows."""

    def __init__(self, wanted: _Wanted, batch: pa.RecordBatch):
        codebook, self.unknown = wanted.codebook, {}
        self.ids = np.asarray(batch.column(codebook.respondent).cast(pa.string()))
        columns = {
            name: _codes(batch.column(name), f"{wanted.path}: column {name}")
            for name in wanted.columns
            if name not in (codebook.respondent, codebook.weight)
        }
        missing = set(codebook.missing_codes) | {BLANK}
        self.waves = columns[codebook.wave] if codebook.wave else np.zeros(len(self.ids), int)
        self.weights = np.ones(len(self.ids))
        if codebook.weight:
            self.weights = _numbers(batch.column(codebook.weight), wanted.path, codebook.weight)
        self.kept = np.ones(len(self.ids), bool)
        if wanted.countries:
            self.kept &= np.isin(columns[codebook.country.variable], wanted.countries)
        if wanted.waves:
            self.kept &= np.isin(self.waves, wanted.waves)
        labelled = [self._label(a, columns[a.variable], missing) for a in codebook.attributes]
        self.attributes = np.stack(labelled, axis=1).astype(np.int16)
        self.answers = {
            question.id: self._answers(question, columns[question.id], missing)
            for question in wanted.questions
        }

    def _label(self, attribute: Attribute, codes, missing):
        """The label's index for each code, the first of equal labels.

        Where the attribute is binned, the lower end of the interval decides.
        """
        same = np.array([attribute.values.index(label) for label in attribute.values])
        ends = np.array([code for code, _ in attribute.labels])
        order = np.argsort(ends)
        place = np.searchsorted(ends[order], codes, side="right") - 1
        found = np.where(place >= 0, order[np.maximum(place, 0)], NO_LABEL)
        if attribute.binned:
            return np.where((codes < 0) | (place < 0), NO_LABEL, same[found])
        exact = (place >= 0) & (ends[found] == codes)
        self._note(attribute.variable, codes, exact, missing)
        return np.where(exact, same[found], NO_LABEL)

    def _answers(self, question: Question, codes, missing):
        known = np.isin(codes, question.raw_codes)
        missing = missing | set(question.missing)
        self._note(question.id, codes, known, missing)
        return np.where(known | np.isin(codes, list(missing)), codes, BLANK).astype(np.int16)

    def _note(self, name, codes, known, missing):
        strange = codes[~known & self.kept]
        strange = strange[~np.isin(strange, list(missing))]
        if strange.size:
            self.unknown[name] = Counter(strange.tolist())


def _joined(codebook, questions, parts: list[_Part]) -> Respondents:
    def column(take):
        return np.concatenate([take(part)[part.kept] for part in parts])

    return Respondents(
        codebook=codebook,
        questions=questions,
        attributes=column(lambda part: part.attributes),
        answers={q.id: column(lambda part, q=q: part.answers[q.id]) for q in questions},
        weights=column(lambda part: part.weights),
        waves=column(lambda part: part.waves),
    )


def _refuse_unknown(path: pathlib.Path, parts: list[_Part]) -> None:
    found: dict[str, Counter] = {}
    for part in parts:
        for name, counts in part.unknown.items():
            found.setdefault(name, Counter()).update(counts)
    if not found:
        return
    listed = [
        f"{name} {code} ({count} times)"
        for name, counts in found.items()
        for code, count in sorted(counts.items())
    ]
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    raise ValueError(
        f"{path} has codes that the codebook does not know: {', '.join(listed[:SHOWN])}{more}; "
        "add them to the codebook, or take them as no answer with --unknown=missing"
    )


def _codes(column: pa.Array, where: str) -> Int[np.ndarray, " R"]:
    """Integers of a column of texts; each different text is read once."""
    encoded = column.dictionary_encode() if pa.types.is_string(column.type) else column
    texts = encoded.dictionary.to_pylist()
    values = np.array([_integer(text, where) for text in texts] + [BLANK], np.int64)
    return values[np.asarray(encoded.indices.fill_null(len(texts)))]


def _integer(text: str, where: str) -> int:
    if not text.strip():
        return BLANK
    try:
        value = float(text)
        if value.is_integer():
            return int(value)
    except ValueError:
        pass
    raise ValueError(f"{where} holds {text!r}, which is no code; codes are whole numbers")


def _numbers(column: pa.Array, path: pathlib.Path, name: str) -> Float[np.ndarray, " R"]:
    texts = column.cast(pa.string())
    try:
        numbers = np.asarray(texts.cast(pa.float64()))
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path}: column {name} holds a weight that is no number: {error}"
        ) from error
    if not (numbers >= 0).all():
        raise ValueError(f"{path}: column {name} holds a weight that is negative or absent")
    return numbers


def _batches(
    path: pathlib.Path, columns: Sequence[str], progress: Callable[[int, int], None]
) -> Iterator[pa.RecordBatch]:
    """Blocks of rows with these columns as texts."""
    if not path.is_file():
        raise FileNotFoundError(f"no survey file at {path}")
    size = path.stat().st_size
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        try:
            stream = stack.enter_context(_decompressed(raw, path))
            separator = _separator(stream.readline(), columns, path)
            stream.seek(0)
            for batch in _reader(stream, separator, columns):
                yield batch
                progress(min(raw.tell(), size), size)
        except UNREADABLE as error:
            raise ValueError(f"{path} is damaged or incomplete: {error}; fetch it again") from error
        except pa.ArrowInvalid as error:
            line = " ".join(str(error).split())
            raise ValueError(f"{path} is not a table of comma-separated values: {line}") from error


def _decompressed(raw: io.BufferedReader, path: pathlib.Path):
    if path.suffix == ".gz":
        return gzip.open(raw)
    if path.suffix != ".zip":
        return contextlib.nullcontext(raw)
    archive = zipfile.ZipFile(raw)
    tables = [name for name in archive.namelist() if name.lower().endswith(".csv")]
    if len(tables) != 1:
        raise ValueError(f"{path} holds {len(tables)} csv files {tables}; it must hold one")
    return archive.open(tables[0])


def _separator(line: bytes, columns: Sequence[str], path: pathlib.Path) -> str:
    """The separator under which the first line names the columns; ValueError where none does."""
    try:
        header = line.decode("utf-8-sig").strip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a csv file: its first line is no text") from error
    readings = {s: next(csv.reader([header], delimiter=s), []) for s in SEPARATORS}
    separator = max(SEPARATORS, key=lambda s: len(readings[s]))
    names = readings[separator]
    if len(names) < 2:
        raise ValueError(
            f"{path} has the first line {header[:80]!r}: one column; columns must be separated by "
            "a comma, a semicolon or a tab"
        )
    check_names(f"{path}: the first line has no column", columns, names)
    return separator


def _reader(stream, separator: str, columns: Sequence[str]):
    return pyarrow.csv.open_csv(
        pa.PythonFile(stream, mode="r"),
        # One thread: with more, an error does not know its line.
        read_options=pyarrow.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(delimiter=separator),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=list(columns),
            column_types=dict.fromkeys(columns, pa.dictionary(pa.int32(), pa.string())),
            strings_can_be_null=True,
        ),
    )
