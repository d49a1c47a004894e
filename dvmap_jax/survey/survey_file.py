"""Survey files: comma-, semicolon- or tab-separated values in, blocks of columns out."""

import contextlib
import csv
import gzip
import io
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import pyarrow.csv

from dvmap_jax.survey.codebook import check_names

SEPARATORS = ",;\t"
BLOCK_BYTES = 1 << 24
UNREADABLE = (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError)


def read_blocks(
    path: pathlib.Path,
    columns: Sequence[str],
    *,
    optional: Sequence[str] = (),
    progress: Callable[[int, int], None],
) -> Iterator[pa.RecordBatch]:
    """Blocks of rows with these columns, and the optional ones that are there, as texts.

    `progress` is told bytes read and the file's size. Raises FileNotFoundError, and ValueError
    naming the file and what is wrong with it, the line where one is.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no survey file at {path}")
    size = path.stat().st_size
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        try:
            stream = stack.enter_context(_decompressed(raw, path))
            separator, names = _header(stream.readline(), columns, path)
            stream.seek(0)
            present = [*columns, *(name for name in optional if name in names)]
            for batch in _reader(stream, separator, present):
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


def _header(line: bytes, columns: Sequence[str], path: pathlib.Path) -> tuple[str, list[str]]:
    """The separator under which the first line names the columns, and the names in it."""
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
    return separator, names


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
