"""Paths on a disk and in a bucket; the bucket is a stand-in that keeps its files in memory."""

import importlib
import pathlib

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from dvmap_jax.paths import as_path
from dvmap_jax.survey.corpus import CorpusConfig, read_examples, write_examples
from dvmap_jax.survey.splits import load_corpus
from dvmap_jax.survey.synthetic import synthetic_examples

EXAMPLES = synthetic_examples(60, seed=3)


class Bucket(MemoryFileSystem):
    """Files of `gs://` in memory."""

    protocol = ("gs", "gcs")
    store: dict = {}  # noqa: RUF012  (fsspec keeps a memory's files in the class)
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        bare = str(path).removeprefix("gs://").removeprefix("gcs://").strip("/")
        return f"/{bare}" if bare else ""


@pytest.fixture
def bucket(monkeypatch):
    """A bucket named `surveys` to put files into."""
    registry = importlib.import_module("fsspec.registry")  # fsspec has a value of that name
    for scheme in Bucket.protocol:
        monkeypatch.setitem(registry._registry, scheme, Bucket)
    files = Bucket()
    yield files
    files.rm("/surveys", recursive=True)


def put(bucket, folder, target):
    for file in folder.rglob("*"):
        if file.is_file():
            bucket.pipe_file(f"gs://{target}/{file.relative_to(folder)}", file.read_bytes())


@pytest.fixture
def corpus(tmp_path, bucket):
    """A corpus folder in the bucket."""
    write_examples(EXAMPLES, tmp_path / "examples.parquet")
    put(bucket, tmp_path, "surveys/my corpus")
    return "gs://surveys/my corpus"


def test_local_paths_are_plain(tmp_path):
    for path in (tmp_path, str(tmp_path), "runs/a:b"):
        assert as_path(path) == pathlib.Path(path)


def test_corpus_is_read_from_a_bucket(corpus):
    assert read_examples(corpus) == EXAMPLES
    assert read_examples(f"{corpus}/examples.parquet") == EXAMPLES
    config = CorpusConfig(path=corpus, heldout_fraction=0.2)
    assert len(load_corpus(config).train) < len(EXAMPLES)


def test_missing_corpus_keeps_its_name(corpus):
    with pytest.raises(FileNotFoundError, match="no corpus at gs://surveys/none;"):
        read_examples("gs://surveys/none")


def test_broken_file_in_a_bucket_is_named(corpus, bucket):
    bucket.pipe_file("gs://surveys/broken.parquet", b"no parquet")
    with pytest.raises(ValueError, match="gs://surveys/broken.parquet is not a readable parquet"):
        read_examples("gs://surveys/broken.parquet")


def test_bucket_without_its_reader_says_what_to_install(monkeypatch):
    def absent(name):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec, "get_filesystem_class", absent)
    with pytest.raises(ValueError, match="gs://b/x lies in a bucket, .* install the extra gcs"):
        read_examples("gs://b/x")


def test_other_schemes_are_refused():
    with pytest.raises(ValueError, match="begins with gs://"):
        as_path("s3://b/x")
