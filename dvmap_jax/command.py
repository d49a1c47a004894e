"""The command line of the scripts: flags in, a config out, a person's mistakes in one line."""

import contextlib
import dataclasses
import logging
import pathlib
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

import absl.logging
from absl import app, flags
from ml_collections import config_flags
from tqdm import tqdm

from dvmap_jax.config import RunConfig, run_config
from dvmap_jax.records import Record, from_mapping, leaves, nearest, to_mapping

# What a person can get wrong: a flag, a value, a file, a rate too high to stay finite. Anything
# else shows where it happened.
MISTAKES = (ValueError, OSError, FloatingPointError)
CONFIG_MISTAKES = (flags.Error, AttributeError, KeyError, TypeError, *MISTAKES)
LINE_WIDTH = 600
FIELDS_PRESENT = re.compile(r' Other fields present: ".*?}"')  # by ml_collections; too long

TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where an error came from.")


def define_config() -> flags.FlagHolder:
    """Defines `--config=FILE.py`, whose `get_config()` gives a ConfigDict, and its overrides."""
    return config_flags.DEFINE_config_file("config", None, "The run's config file.")


def read_config(holder: flags.FlagHolder) -> RunConfig:
    """The run that the config file and the flags after it describe."""
    if holder.value is None:
        raise ValueError("--config is missing; name a file such as configs/demo.py")
    return run_config(holder.value.to_dict())


def run_main(main: Callable[[], None]) -> NoReturn:
    """Runs a script: a person's mistake ends it with one line `error: ...` and a non-zero code.

    Bad flags exit with 2, bad values and files with 1; `--traceback` shows the whole story.
    """
    absl.logging.set_verbosity(absl.logging.WARNING)
    logging.getLogger("jax").setLevel(logging.WARNING)

    def guarded(_: list[str]) -> None:
        try:
            main()
        except MISTAKES as error:
            _fail(error, code=1)
        except KeyboardInterrupt:
            _say("stopped; the same command goes on from the newest checkpoint")
            raise SystemExit(130) from None

    app.run(guarded, flags_parser=_parse)


def check_overrides(arguments: Iterable[str]) -> None:
    """Raises ValueError for a `--config.a.b` that no run has, naming the nearest key."""
    known = {f"config.{key}" for key, _ in leaves(to_mapping(RunConfig()))}
    for argument in arguments:
        key = argument.lstrip("-").split("=")[0]
        if not (argument.startswith("-") and key.startswith("config.")):
            continue
        if not any(key == name or key.startswith(f"{name}.") for name in known):
            raise ValueError(f"--{key} is no key of a run{nearest(key, known)}")


def check_config_file(arguments: list[str]) -> None:
    """Raises FileNotFoundError for a `--config=FILE` that is not there."""
    for index, argument in enumerate(arguments):
        name, equals, value = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or name != "config":
            continue
        value = value if equals else "".join(arguments[index + 1 : index + 2])
        if not pathlib.Path(value.split(":")[0]).is_file():
            raise FileNotFoundError(f"--config={value}: there is no such config file")


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


def record_from_flags(kind: type[Record]) -> Record:
    """A config record whose fields are flags of the same names."""
    values = {field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(kind)}
    return from_mapping(kind, values, "flags")


@contextlib.contextmanager
def moving_bar(description: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar; what it gives is told how much is done, and of how much."""
    with tqdm(desc=description, unit=unit, unit_scale=True) as bar:

        def show(done: int, whole: int) -> None:
            bar.total = whole
            bar.update(done - bar.n)

        yield show


def _parse(arguments: list[str]) -> list[str]:
    """Parses the flags of a script, or exits with one line that says what is wrong with them."""
    try:
        check_config_file(arguments[1:])
        check_overrides(arguments[1:])
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
