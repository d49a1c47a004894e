"""The command line of the scripts: flags in, records out, a person's mistakes in one line."""

import contextlib
import dataclasses
import logging
import pathlib
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import absl.logging
from absl import app, flags
from tqdm import tqdm

from dvmap_jax.records import Record, from_mapping

# What a person can get wrong: a flag, a value, a file, a rate too high to stay finite. Anything
# else shows where it happened.
MISTAKES = (ValueError, OSError, FloatingPointError, MemoryError)
CONFIG_MISTAKES = (flags.Error, AttributeError, KeyError, TypeError, *MISTAKES)
LINE_WIDTH = 600
FIELDS_PRESENT = re.compile(r' Other fields present: ".*?}"')  # by ml_collections; too long

TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where an error came from.")


def run_main(
    main: Callable[[], None],
    *,
    check: Callable[[list[str]], None] = lambda arguments: None,
    stopped: str = "stopped",
) -> NoReturn:
    """Runs a script: a person's mistake ends it with one line `error: ...` and a non-zero code.

    Bad flags exit with 2, also where `check` refuses them, bad values and files with 1;
    `--traceback` shows the whole story. Ctrl-C says `stopped` and exits with 130.
    """
    absl.logging.set_verbosity(absl.logging.WARNING)
    logging.getLogger("jax").setLevel(logging.WARNING)

    def guarded(_: list[str]) -> None:
        try:
            main()
        except MISTAKES as error:
            _fail(error, code=1)
        except KeyboardInterrupt:
            _say(stopped)
            raise SystemExit(130) from None

    app.run(guarded, flags_parser=lambda arguments: _parse(arguments, check))


class SeparatedParser(flags.ArgumentParser):
    """A flag of several values: names of countries hold commas, so that those take another."""

    def __init__(self, separator: str, kind: type = str):
        self.separator, self.kind = separator, kind
        self.syntactic_help = f"values separated by {separator}"

    def parse(self, argument: str | list) -> list:
        """The values, without the blanks around them."""
        if isinstance(argument, list):
            return argument
        parts = (part.strip() for part in argument.split(self.separator))
        return [self.kind(part) for part in parts if part]


class FolderParser(flags.ArgumentParser):
    """A flag of a folder to write: one on a disk, since nothing here writes into buckets."""

    syntactic_help = "a folder on a disk"

    def parse(self, argument: str) -> pathlib.Path:
        """The folder; as a plain path `gs://b/run` would be `gs:/b/run` below this folder."""
        if not argument or "://" in argument:
            raise ValueError(
                "must be a folder on a disk (buckets are only read); copy from there what you keep"
            )
        return pathlib.Path(argument)


def define_fields(kind: type, *names: str) -> None:
    """Defines flags named after fields of a config record, all of them where none is named."""
    defines = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }
    for field in dataclasses.fields(kind):
        if field.name in (names or (field.name,)):
            defines[field.type](field.name, field.default, f"As {kind.__name__} explains.")


def record_from_flags(kind: type[Record]) -> Record:
    """A config record whose fields are flags of the same names."""
    names = (field.name for field in dataclasses.fields(kind))
    return from_mapping(kind, values_from_flags(*names), "flags")


def values_from_flags(*names: str) -> dict[str, Any]:
    """The values of the flags of these names, by name."""
    return {name: flags.FLAGS[name].value for name in names}


@contextlib.contextmanager
def moving_bar(description: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar; what it gives is told how much is done, and of how much."""
    with tqdm(desc=description, unit=unit, unit_scale=True) as bar:

        def show(done: int, whole: int) -> None:
            bar.total = whole
            bar.update(done - bar.n)

        yield show


@contextlib.contextmanager
def late_bar(
    description: str, unit: str, *, shown: bool = True
) -> Iterator[Callable[[int, int], None]]:
    """As `moving_bar`, but first seen when something is done: an error before it is one line.

    Never seen where it is not `shown`, as in all processes of a run but one.
    """
    with contextlib.ExitStack() as stack:
        bars: list[Callable[[int, int], None]] = []

        def show(done: int, whole: int) -> None:
            if shown and not bars:
                bars.append(stack.enter_context(moving_bar(description, unit)))
            for bar in bars:
                bar(done, whole)

        yield show


def _parse(arguments: list[str], check: Callable[[list[str]], None]) -> list[str]:
    """Parses the flags of a script, or exits with one line that says what is wrong with them."""
    try:
        check(arguments[1:])
        rest = flags.FLAGS(arguments)
        if len(rest) > 1:
            raise ValueError(f"{rest[1]!r} is not a flag; flags look like --name=value")
        return rest
    except CONFIG_MISTAKES as error:
        _fail(error, code=2)


def _fail(error: Exception, *, code: int) -> NoReturn:
    if "--traceback" in sys.argv:
        raise error
    _say(f"error: {_line(error)}")
    raise SystemExit(code) from None


def _line(error: Exception) -> str:
    """An error's text in one line; of a traceback inside it only the last line."""
    text = FIELDS_PRESENT.sub("", str(error)).replace("\\n", "\n")
    if isinstance(error, AttributeError | KeyError):
        text = text.strip("'")  # their text is a quoted one
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if "Traceback (most recent call last):" in lines:
        lines = [lines[0], lines[-1]]
    return textwrap.shorten(" ".join(lines) or type(error).__name__, LINE_WIDTH)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
