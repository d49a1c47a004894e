"""Results on disk: `results.jsonl`, a row an example, and `metrics.json`."""

import json
import pathlib
from collections.abc import Mapping

import pandas as pd

from dvmap_jax.files import write_text


def write_results(
    folder: pathlib.Path, results: pd.DataFrame, metrics: Mapping[str, Mapping[str, float]]
) -> None:
    """Writes both files into `folder`, each whole or not at all."""
    rows = results.to_dict(orient="records")
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    for name, text in (
        ("results.jsonl", "".join(lines)),
        ("metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False) + "\n"),
    ):
        write_text(folder / name, text)
