"""Files and folders that are there whole or not at all: a draft is written beside them first."""

import contextlib
import errno
import os
import pathlib
import shutil
from collections.abc import Iterator

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def whole_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the path of a draft that takes the place of `path` when the block ends.

    Where the block raises, the draft goes and what was at `path` stays.
    """
    draft = _beside(path, "draft")
    draft.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _full_disk_named(path):
            yield draft
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def whole_folder(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields an empty folder that takes the place of `folder` when the block ends.

    An earlier folder leaves only then; where the block raises, it stays and the draft goes.
    """
    draft, old = _beside(folder, "draft"), _beside(folder, "old")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        with _full_disk_named(folder):
            yield draft
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a whole text file in UTF-8, or none."""
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _full_disk_named(path: pathlib.Path) -> Iterator[None]:
    """Says what could not be written where there was no room for it."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        said = (
            f"{os.strerror(error.errno)}: {path} could not be written; what was there is unchanged"
        )
        raise OSError(error.errno, f"{said}; make room or name another place") from error


def _beside(path: pathlib.Path, kind: str) -> pathlib.Path:
    path = path.absolute()
    return path.with_name(f".{path.name}.{kind}")
