"""What a run writes down: metrics in, JSON lines, TensorBoard and a progress bar out (host 0).

`metrics.jsonl` and `samples.jsonl` hold nothing but what seed and config determine, so that a run
which was stopped and resumed leaves the bytes of an uninterrupted one; seconds and rates go to
`timing.jsonl`. A row's step is the number of updates done when it was written.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence

import jax
from tensorboardX import SummaryWriter

from dvmap_jax.train.progress import Progress


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """How much a run writes down."""

    every: int = 1  # steps between rows of metrics.jsonl
    samples: int = 4  # completions in a table of samples
    tensorboard: bool = True
    progress: bool = True

    def __post_init__(self):
        if self.every < 1:
            raise ValueError(f"log.every is {self.every}; it must be at least 1")
        if self.samples < 0:
            raise ValueError(f"log.samples is {self.samples}; it must not be negative")


class JsonLines:
    """A file of JSON rows, each with a `step`, that survives being cut off at any byte."""

    def __init__(self, path: pathlib.Path, *, restored_step: int | None):
        kept = whole_rows(path, -1 if restored_step is None else restored_step)
        self._file = path.open("ab")
        os.truncate(path, kept)

    def write(self, step: int, row: Mapping[str, object]) -> None:
        """Appends one row and hands it to the operating system at once."""
        line = json.dumps({"step": step, **row}, allow_nan=False, ensure_ascii=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class Log:
    """The run's files under `workdir`; rows beyond `restored_step` are cut when it opens.

    Whatever is logged at a step must be written before that step's checkpoint is saved: after a
    resume from step `n` the rows up to `n` stay as they are. `restored_step` is None for a run that
    starts from its weights. On other hosts than 0 nothing is written.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        config: LogConfig,
        *,
        num_steps: int,
        restored_step: int | None = None,
    ):
        self._main = jax.process_index() == 0
        self._files: dict[str, JsonLines] = {}
        self._board = None
        if self._main:
            self._open(workdir, config, restored_step)
        shown = config.progress and self._main
        done = restored_step or 0
        self._progress = Progress("training", num_steps, initial=done, enabled=shown)

    def write(self, step: int, metrics: Mapping[str, object]) -> None:
        """Writes values that seed and config determine: losses, rewards, scores, counts."""
        self._write("metrics", step, metrics)

    def write_timing(self, step: int, timing: Mapping[str, object]) -> None:
        """Writes values that differ from run to run: seconds, tokens a second, memory."""
        self._write("timing", step, timing)

    def write_samples(self, step: int, samples: Sequence[Mapping[str, object]]) -> None:
        """Writes a table of sample completions, one row of plain JSON values each."""
        if self._main:
            for sample in samples:
                self._files["samples"].write(step, sample)

    def progress(self, step: int, **values: float) -> None:
        """Moves the bar to `step` and shows values such as reward and tokens a second."""
        self._progress.update(step, **{name: float(value) for name, value in values.items()})

    def doing(self, what: str) -> None:
        """Titles the bar with what the run does now, such as `evaluating`."""
        self._progress.retitle(what)

    def note(self, text: str) -> None:
        """Tells the person at the terminal one line."""
        if self._main:
            self._progress.note(text)

    def close(self) -> None:
        """Closes the bar and every file."""
        self._progress.close()
        for file in self._files.values():
            file.close()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(self, workdir: pathlib.Path, config: LogConfig, restored_step: int | None) -> None:
        workdir.mkdir(parents=True, exist_ok=True)
        for name in ("metrics", "timing", "samples"):
            path = workdir / f"{name}.jsonl"
            self._files[name] = JsonLines(path, restored_step=restored_step)
        if config.tensorboard:
            purge = 0 if restored_step is None else restored_step + 1
            self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=purge)

    def _write(self, name: str, step: int, values: Mapping[str, object]) -> None:
        if not self._main:
            return
        numbers = {key: float(value) for key, value in jax.device_get(dict(values)).items()}
        ordered = {key: numbers[key] for key in sorted(numbers)}
        rows = {key: value if math.isfinite(value) else None for key, value in ordered.items()}
        self._files[name].write(step, rows)
        if self._board is not None:
            for key, value in ordered.items():
                self._board.add_scalar(key, value, step)


def read_rows(path: pathlib.Path) -> list[dict[str, object]]:
    """The rows of a JSON lines file; a last line without an end is left out."""
    whole = path.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in whole]


def whole_rows(path: pathlib.Path, last_step: int) -> int:
    """Bytes of the file's leading rows that are complete and whose step is at most `last_step`."""
    if not path.exists():
        return 0
    size = 0
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n") or row_step(line, path) > last_step:
            break
        size += len(line)
    return size


def row_step(line: bytes, path: pathlib.Path) -> int:
    """The step of one row; raises ValueError naming the file where the line is no such row."""
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds a line that is not a row of this run: {line[:60]!r}; "
            "move the file away or start in another workdir"
        ) from error
