"""A path as a person gives it, on a disk or in a bucket, in; one that reads either, out."""

import os
import pathlib

import fsspec
from etils import epath

BUCKET = "gs://"

# Both read. A bucket's path has no `chmod`, and its `absolute` is wrong (gs:/ under this folder).
AnyPath = pathlib.Path | epath.Path


def as_path(path: str | os.PathLike[str]) -> AnyPath:
    """A path that reads files on a disk or, beginning with `gs://`, in a bucket.

    Raises ValueError for another scheme, and where what reads buckets is not installed.
    """
    text = os.fspath(path)
    if "://" not in text:
        return pathlib.Path(text)
    if not text.startswith(BUCKET):
        raise ValueError(f"{text} is neither a path on a disk nor one that begins with {BUCKET}")
    try:
        fsspec.get_filesystem_class("gs")
    except ImportError as error:
        raise ValueError(
            f"{text} lies in a bucket, and gcsfs, which reads buckets, is not installed; install "
            "the extra gcs, or copy the files to a disk"
        ) from error
    return epath.Path(text)
