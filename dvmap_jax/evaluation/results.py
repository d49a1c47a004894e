"""Results on disk: `results.jsonl`, a row an example, and `metrics.json`."""

import json
import math
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from dvmap_jax.evaluation.evaluated import RESULTS_FILE
from dvmap_jax.evaluation.metrics_file import FILE as METRICS_FILE
from dvmap_jax.evaluation.metrics_file import write_metrics_file
from dvmap_jax.files import write_text


def write_results(
    folder: pathlib.Path, results: Iterable[pd.DataFrame], metrics: Mapping[str, Any]
) -> None:
    """Writes both files into `folder`, each whole or not at all.

    A field that a row lacks and others of its table have is not written. ValueError where metrics
    break the schema.
    """
    rows = (row for each in results for row in each.to_dict(orient="records"))
    lines = [json.dumps(_own(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
    write_text(folder / RESULTS_FILE, "".join(lines))
    write_metrics_file(folder / METRICS_FILE, metrics)


def _own(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields a row has: tables mark one that is missing with a NaN."""
    return {name: value for name, value in row.items() if not _missing(value)}


def _missing(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
