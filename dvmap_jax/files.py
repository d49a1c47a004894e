"""Files and folders that are there whole or not at all: a draft is written beside them first."""

import contextlib
import errno
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def whole_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the path of a draft that takes the place of `path` when the block ends.

    Where the block raises, the draft goes and what was at `path` stays.
    """
    draft = _beside(path, "draft")
    draft.parent.mkdir(parents=True, exist_ok=True)
    try:
        with full_disk_named(path):
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
    draft = new_draft(folder)
    try:
        with full_disk_named(folder):
            yield draft
            settle(draft.rglob("*"))
    except BaseException:
        drop_draft(folder)
        raise
    put_in_place(folder)


def new_draft(folder: pathlib.Path) -> pathlib.Path:
    """Makes the empty draft of a folder; with several writers one makes and ends it for all."""
    drop_draft(folder)
    draft = draft_of(folder)
    draft.mkdir(parents=True)
    return draft


def draft_of(folder: pathlib.Path) -> pathlib.Path:
    """Where a folder is written until it is whole."""
    return _beside(folder, "draft")


def put_in_place(folder: pathlib.Path) -> None:
    """Gives the draft its name; an earlier folder goes."""
    draft, old = draft_of(folder), _beside(folder, "old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def drop_draft(folder: pathlib.Path) -> None:
    """Removes the draft of a folder that will not be."""
    shutil.rmtree(draft_of(folder), ignore_errors=True)


def settle(paths: Iterable[pathlib.Path]) -> None:
    """Returns once files, and the names in folders, are on the disk and survive a power cut."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a whole text file in UTF-8, or none."""
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def full_disk_named(path: pathlib.Path) -> Iterator[None]:
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
