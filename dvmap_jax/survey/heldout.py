"""What an evaluation is asked: a file or a corpus folder in, held-out examples by name out."""

from collections.abc import Sequence

import pyarrow.parquet as pq

from dvmap_jax.paths import AnyPath, as_path
from dvmap_jax.survey.benchmark import SPLITS
from dvmap_jax.survey.corpus import Example, read_examples
from dvmap_jax.survey.splits import count_shared

TRAIN, HELDOUT = SPLITS[0], SPLITS[1:]


def read_benchmarks(path: str) -> dict[str, Sequence[Example]]:
    """The held-out splits of a corpus folder by name, or the examples of one file or Arrow folder.

    Of a folder with `train.parquet` the splits that have rows are taken, in the order of
    `SPLITS`; anything else that `read_examples` reads is one benchmark, named after it.
    Raises ValueError where a corpus folder holds no held-out example.
    """
    place = as_path(path)
    if not _is_corpus(place):
        return {place.stem: read_examples(path)}
    files = {name: place / f"{name}.parquet" for name in HELDOUT}
    filled = {name: file for name, file in files.items() if file.exists() and _rows(file)}
    if not filled:
        raise ValueError(
            f"{path} has training examples and no held-out ones: none of "
            f"{', '.join(f'{name}.parquet' for name in HELDOUT)} has a row; build it with held-out "
            "splits, or name a file"
        )
    return {name: read_examples(str(file)) for name, file in filled.items()}


def training_split(path: str) -> str:
    """The training examples that belong to the benchmarks at a path, "" where there are none."""
    place = as_path(path)
    return str(place / f"{TRAIN}.parquet") if _is_corpus(place) else ""


def refuse_shared(train: Sequence[Example], heldout: Sequence[Example], *, name: str) -> None:
    """ValueError where an archetype's answer to a question is in both."""
    shared = count_shared(train, heldout)
    if shared:
        raise ValueError(
            f"{shared} of {len(heldout)} rows of {name} are in the training split too (same "
            "archetype and question): a baseline fitted on them would know the answers; give two "
            "splits that share none"
        )


def _is_corpus(place: AnyPath) -> bool:
    return place.is_dir() and (place / f"{TRAIN}.parquet").exists()


def _rows(file: AnyPath) -> int:
    with file.open("rb") as source:
        return pq.ParquetFile(source).metadata.num_rows
