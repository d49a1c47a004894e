"""Examples, their files (parquet or Arrow) in and out, and the config of a run's corpus."""

import dataclasses
import functools
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dvmap_jax.files import whole_file
from dvmap_jax.paths import AnyPath, as_path
from dvmap_jax.survey.answers import parse_options
from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES, nearest_names
from dvmap_jax.survey.table import RecordTable

COLUMNS = ("Q_id", *ATTRIBUTE_NAMES, "frequency", "Category", "Question", "Options", "answer")
COUNTS = "answer_counts"
EXAMPLES_FILE = "examples.parquet"
SYNTHETIC = "synthetic"  # the path of the invented survey
READ_TOGETHER = 8192  # rows
DATA_SOURCE = "wvs"  # the released column of this name holds nothing else


@dataclasses.dataclass(frozen=True)
class Example:
    """An archetype, a question and the archetype's answer.

    `attributes` are in the order of the codebook, `options` comma-joined in codebook order.
    `frequency` is the share of the answer among archetypes of the same country and question
    in the same split. `support`, `entropy` and `consensus_share` describe the respondents
    behind the answer, where they are known; `answer_counts` are theirs by option, weighted ones
    no whole numbers.
    """

    question_id: str
    country: str
    attributes: tuple[str, ...]
    category: str
    question: str
    options: str
    answer: str
    frequency: float
    prompt: str = ""
    support: int | None = None
    entropy: float | None = None
    consensus_share: float | None = None
    answer_counts: tuple[float, ...] | None = None

    @functools.cached_property
    def archetype(self) -> str:
        """The attributes joined: equal for all examples of an archetype."""
        return joined(self.attributes)

    @functools.cached_property
    def option_list(self) -> tuple[str, ...]:
        """The options one by one."""
        return parse_options(self.options)

    @property
    def answer_index(self) -> int:
        """Place of the answer among the options."""
        return self.option_list.index(self.answer)

    @property
    def answer_shares(self) -> np.ndarray:
        """Shares of the options among its respondents, [K]; all on the answer where not known."""
        if self.answer_counts is None:
            return np.eye(len(self.option_list))[self.answer_index]
        counts = np.asarray(self.answer_counts, float)
        return counts / counts.sum()


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
    """Where examples come from and which are held out.

    `path` is a file or folder that `read_examples` reads, or "synthetic". With `heldout_path`
    the held-out examples are those of another file; else they are split off by archetype.
    """

    path: str = SYNTHETIC
    heldout_path: str = ""
    heldout_fraction: float = 0.2
    heldout_countries: tuple[str, ...] = ()
    heldout_questions: tuple[str, ...] = ()
    split_seed: int = 0
    synthetic_archetypes: int = 600
    synthetic_seed: int = 0

    def __post_init__(self):
        if not self.path:
            raise ValueError(f"corpus.path is empty; give a file, a folder or {SYNTHETIC!r}")
        if not 0 <= self.heldout_fraction < 1:
            raise ValueError(
                f"corpus.heldout_fraction is {self.heldout_fraction}; it must be at least 0 and "
                "below 1"
            )
        if self.synthetic_archetypes < 2:
            raise ValueError(
                f"corpus.synthetic_archetypes is {self.synthetic_archetypes}; it must be at least 2"
            )


@dataclasses.dataclass(frozen=True)
class Corpus:
    """What a run learns from, and what it is measured on."""

    train: Sequence[Example]
    heldout: Sequence[Example]


def joined(attributes: Sequence[str]) -> str:
    """The name of an archetype, of its attributes' labels."""
    return " | ".join(attributes)


def read_examples(path: str | Path) -> RecordTable[Example]:
    """Reads a parquet file, an Arrow folder or a corpus folder holding `examples.parquet`.

    The path may be that of a bucket (`gs://`). Some thousand rows are held at a time as they are
    in the file, all of them as a table.
    Raises FileNotFoundError where there is none of these, and ValueError naming the file, the
    row and the column where the content is not that of a corpus.
    """
    return RecordTable.of(Example, _read(as_path(path)))


def write_examples(examples: Sequence[Example], path: str | Path) -> None:
    """Writes the released columns as parquet; the file appears whole or not at all."""
    with whole_file(Path(path)) as draft:
        pq.write_table(pa.table(_columns(examples)), draft, compression="zstd")


def as_table(examples: Sequence[Example]) -> RecordTable[Example]:
    """The examples as a table, themselves where they are one."""
    if isinstance(examples, RecordTable):
        return examples
    return RecordTable.of(Example, examples)


def with_frequency(examples: Sequence[Example]) -> RecordTable[Example]:
    """The examples with `frequency` counted among themselves: that of a split of its own."""
    table = as_table(examples)
    cells = _counted(table, "country", "question_id")
    return table.replaced("frequency", _counted(table, "country", "question_id", "answer") / cells)


def _counted(table: RecordTable[Example], *fields: str) -> np.ndarray:
    """For each row the number of rows that have its values in these fields."""
    keys = np.stack([table.codes(field) for field in fields], axis=1)
    _, places, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    return counts[places.reshape(-1)]


def _read(path: AnyPath) -> Iterator[Example]:
    """The examples of a corpus, as they are checked."""
    file, batches = _batches(path)
    rows = 0
    for batch in batches:
        frame = batch.to_pandas()
        frame.index = pd.RangeIndex(rows, rows + len(frame))
        _check_columns(frame, file)
        frame = frame.assign(Options=_joined_options(frame["Options"]))
        _check_values(frame, file)
        yield from _examples(frame)
        rows += len(frame)
    if not rows:
        raise ValueError(f"{file} has no rows; a corpus needs at least one example")


def _batches(path: AnyPath) -> tuple[AnyPath, Iterator[pa.RecordBatch]]:
    """What is read, and its rows in batches."""
    if not path.exists():
        raise FileNotFoundError(f"no corpus at {path}; give a parquet file or a corpus folder")
    file = path / EXAMPLES_FILE if path.is_dir() else path
    if path.is_dir() and not file.exists():
        files = _arrow_files(path)
        return path, (batch for each in files for batch in _arrow_batches(each))
    return file, _parquet_batches(file)


def _parquet_batches(file: AnyPath) -> Iterator[pa.RecordBatch]:
    try:
        with file.open("rb") as source:
            yield from pq.ParquetFile(source).iter_batches(READ_TOGETHER, use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{file} is not a readable parquet file: {_line(error)}") from error


def _arrow_files(folder: AnyPath) -> list[AnyPath]:
    """The files of a Hugging Face `save_to_disk` folder, which its state.json lists."""
    state = folder / "state.json"
    if not state.exists():
        raise ValueError(
            f"{folder} holds neither {EXAMPLES_FILE} nor state.json; give a corpus folder, an "
            "Arrow folder or a parquet file"
        )
    try:
        listed = json.loads(state.read_text(encoding="utf-8"))["_data_files"]
        files = [folder / entry["filename"] for entry in listed]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{state} does not list Arrow files under '_data_files'") from error
    if not files:
        raise ValueError(f"{state} lists no Arrow files under '_data_files'")
    return files


def _arrow_batches(file: AnyPath) -> Iterator[pa.RecordBatch]:
    if not file.exists():
        raise FileNotFoundError(f"{file} is missing, though {file.parent}/state.json lists it")
    try:
        with file.open("rb") as source:
            yield from pa.ipc.open_stream(source)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{file} is not a readable Arrow stream: {_line(error)}") from error


def _check_columns(frame: pd.DataFrame, file: AnyPath) -> None:
    for column in COLUMNS:
        if column not in frame:
            raise ValueError(
                f"{file} has no column {column!r} ({nearest_names(column, frame.columns)}); "
                f"a corpus needs {', '.join(COLUMNS)}"
            )


def _check_values(frame: pd.DataFrame, file: AnyPath) -> None:
    for column in COLUMNS:
        texts = frame[column]
        absent = texts.isna() | (texts.astype(str).str.strip() == "")
        _refuse(frame, absent, file, f"column {column!r} is empty")
    frequency = pd.to_numeric(frame["frequency"], errors="coerce")
    outside = ~frequency.between(0, 1)
    _refuse(frame, outside, file, "column 'frequency' is not a share between 0 and 1")
    options = {text: parse_options(text) for text in frame["Options"].unique()}
    poor = {text for text, each in options.items() if len(set(each)) < max(2, len(each))}
    _refuse(frame, frame["Options"].isin(poor), file, "'Options' need two or more distinct options")
    pairs = frame[["Options", "answer"]].drop_duplicates()
    known = {(o, a) for o, a in pairs.itertuples(index=False) if a in options[o]}
    keys = pd.Series(zip(frame["Options"], frame["answer"], strict=True), index=frame.index)
    _refuse(frame, ~keys.isin(known), file, "the answer is not among the options")
    if COUNTS in frame:
        lengths = frame["Options"].map({text: len(each) for text, each in options.items()})
        rows = zip(frame[COUNTS], lengths, strict=True)
        wrong = pd.Series([not _are_counts(*row) for row in rows], index=frame.index)
        _refuse(frame, wrong, file, f"{COUNTS!r} are not one count for each option")


def _are_counts(counts: Sequence[float] | None, options: int) -> bool:
    """Whether they are as many as options, finite, not negative and of somebody, or absent."""
    if counts is None or (isinstance(counts, float) and math.isnan(counts)):
        return True
    if isinstance(counts, str) or not np.iterable(counts) or len(counts) != options:
        return False
    try:
        known = np.asarray(counts, float)
    except (TypeError, ValueError):
        return False
    return bool(np.isfinite(known).all() and (known >= 0).all() and known.sum() > 0)


def _refuse(frame: pd.DataFrame, wrong: pd.Series, file: AnyPath, problem: str) -> None:
    """Raises ValueError for the first row, counted from 0, where `wrong` holds."""
    if not wrong.any():
        return
    number = int(wrong.to_numpy().argmax())
    row = frame.iloc[number]
    raise ValueError(
        f"{file} row {frame.index[number]} ({row['Q_id']}, {row['Country']}): {problem}; answer is "
        f"{row['answer']!r}, options are {row['Options']!r} ({int(wrong.sum())} such rows); "
        "correct or remove them"
    )


def _joined_options(options: pd.Series) -> pd.Series:
    """Options as one comma-joined text, also where the file stores a list of them."""
    return options.map(lambda each: each if isinstance(each, str) else _join(each))


def _join(options: Iterable[str] | None) -> str | None:
    return ", ".join(options) if options is not None and not isinstance(options, float) else None


def _examples(frame: pd.DataFrame) -> Iterator[Example]:
    fields = {
        "question_id": frame["Q_id"],
        "country": frame["Country"],
        "attributes": zip(*(map(sys.intern, frame[n]) for n in ATTRIBUTE_NAMES), strict=True),
        "category": frame["Category"],
        "question": frame["Question"],
        "options": frame["Options"],
        "answer": frame["answer"],
        "frequency": frame["frequency"].astype(float),
        "prompt": _optional(frame, "prompt", str, ""),
        "support": _optional(frame, "support", int, None),
        "entropy": _optional(frame, "entropy", float, None),
        "consensus_share": _optional(frame, "consensus_share", float, None),
        "answer_counts": _counts(frame),
    }
    rows = zip(*fields.values(), strict=True)
    return (Example(**dict(zip(fields, row, strict=True))) for row in rows)


def _optional(frame: pd.DataFrame, name: str, kind: type, absent: str | None) -> list:
    """A column's values as `kind`, and `absent` where there is none."""
    if name not in frame:
        return [absent] * len(frame)
    return [absent if pd.isna(value) else kind(value) for value in frame[name]]


def _counts(frame: pd.DataFrame) -> list[tuple[float, ...] | None]:
    if COUNTS not in frame:
        return [None] * len(frame)
    return [tuple(map(float, each)) if np.iterable(each) else None for each in frame[COUNTS]]


def _columns(examples: Sequence[Example]) -> dict[str, list]:
    columns = {"Q_id": [e.question_id for e in examples]}
    for place, name in enumerate(ATTRIBUTE_NAMES):
        columns[name] = [e.attributes[place] for e in examples]
    columns |= {
        "frequency": [e.frequency for e in examples],
        "Category": [e.category for e in examples],
        "Question": [e.question for e in examples],
        "prompt": [e.prompt for e in examples],
        "Options": [e.options for e in examples],
        "answer": [e.answer for e in examples],
        "data_source": [DATA_SOURCE] * len(examples),
    }
    audit = {
        "support": [e.support for e in examples],
        "entropy": [e.entropy for e in examples],
        "consensus_share": [e.consensus_share for e in examples],
        COUNTS: [e.answer_counts for e in examples],
    }
    return columns | {
        name: values for name, values in audit.items() if any(v is not None for v in values)
    }


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
