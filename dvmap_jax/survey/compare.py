"""Two builds of a corpus compared: which archetypes' consensus moved, and by how much.

Archetypes are matched by their attributes. Intervals are 95 %, by linearisation for archetypes
drawn at random; the builds count as independent, which makes intervals of changes too wide where
they share respondents.
"""

import pathlib
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dvmap_jax.survey.agreement import NORMAL_95, ratio_of_sums
from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES

KEY = [*ATTRIBUTE_NAMES, "Q_id"]
COLUMNS = [*KEY, "Options", "answer", "support", "answer_counts"]
MIN_SUPPORT = 5  # respondents a cell needs in both builds to be said to have moved
CLUSTER = ["Country", "archetype"]


def compare_corpora(old: pathlib.Path, new: pathlib.Path) -> dict:
    """What `compare.json` says of two `examples.parquet` files.

    `questions`, `countries` and `country_questions` give how many of the cells in both
    builds have another answer, how the consensus share changed, and the option whose share
    changed most; `moved` lists the cells of at least `min_support` respondents in both whose old
    answer's share changed by more than its interval. Raises ValueError where a file is no corpus
    of this project or a question has other options in it.
    """
    totals, sums = Counter(), pd.DataFrame()
    moved, by_question, by_cell = [], [], []
    asked, asked_before = _questions(new), _questions(old)
    for question in (name for name in asked if name in asked_before):
        before, after = _read(old, question), _read(new, question)
        _check_options(question, {old: before, new: after})
        both = before.merge(after, on=KEY, suffixes=("_old", "_new"), how="inner")
        if both.empty:
            continue
        cells = _change_of_cells(both)
        totals.update(both=len(both), tested=int(_tested(both).sum()))
        totals.update(other_answer=int(cells["other_answer"].sum()))
        moved += _moved(both)
        name = {"question": question}
        by_question.append(name | _change(cells) | _shift(before, after))
        for country, own in cells.groupby("Country"):
            pair = (frame[frame["Country"] == country] for frame in (before, after))
            by_cell.append({"country": country} | name | _change(own) | _shift(*pair))
        sums = pd.concat([sums, cells]).groupby(CLUSTER).sum().reset_index()
    return {
        "questions_only_in_old": [name for name in asked_before if name not in asked],
        "questions_only_in_new": [name for name in asked if name not in asked_before],
        "cells": {
            "old": pq.read_metadata(old).num_rows,
            "new": pq.read_metadata(new).num_rows,
            **{name: totals[name] for name in ("both", "other_answer", "tested")},
        },
        "min_support": MIN_SUPPORT,
        "moved": sorted(moved, key=lambda row: -abs(row["change"]["value"])),
        "questions": by_question,
        "countries": [{"country": c} | _change(own) for c, own in sums.groupby("Country")],
        "country_questions": by_cell,
    }


def comparison_lines(compared: dict, *, number: int = 10) -> list[str]:
    """The comparison in words: the totals and the questions and countries that changed most."""
    cells = compared["cells"]
    lines = [
        f"{cells['both']} cells in both builds, {cells['other_answer']} with another answer; "
        f"{len(compared['moved'])} of {cells['tested']} tested moved, "
        f"{0.05 * cells['tested']:.0f} expected by chance"
    ]
    shifts = sorted(
        compared["country_questions"], key=lambda row: -abs(row["shift"]["change"]["value"])
    )
    for row in shifts[:number]:
        shift = row["shift"]
        change = shift["change"]
        lines.append(
            f"{row['country'][:24]:24} {row['question']:5} {shift['option'][:28]:28} "
            f"{shift['old']:.3f} -> {shift['new']:.3f} "
            f"({change['low']:+.3f} to {change['high']:+.3f})"
        )
    return lines


def changed_examples(old: pathlib.Path, train: pathlib.Path) -> pa.Table:
    """The rows of a training split that the old build lacks or answers otherwise."""
    before = pq.read_table(old, columns=[*KEY, "answer"]).to_pandas()
    before = before.drop_duplicates(KEY, keep="last")
    table = pq.read_table(train)
    rows = table.select([*KEY, "answer"]).to_pandas()
    found = rows.merge(before, on=KEY, how="left", suffixes=("", "_old"))
    return table.filter(pa.array((found["answer"] != found["answer_old"]).to_numpy()))


def _questions(path: pathlib.Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"no corpus to compare with at {path}")
    try:
        pq.read_schema(path).field("answer_counts")
        return pq.read_table(path, columns=["Q_id"])["Q_id"].unique().to_pylist()
    except (pa.ArrowInvalid, KeyError) as error:
        raise ValueError(f"{path} was not written by build_corpus.py: {error}") from error


def _read(path: pathlib.Path, question: str) -> pd.DataFrame:
    """A row a cell of the question; answers of several waves are counted together."""
    filters = [("Q_id", "==", question)]
    frame = pq.read_table(path, columns=[*COLUMNS, "wave"], filters=filters).to_pandas()
    frame["counts"] = list(frame.pop("answer_counts").to_numpy())
    if frame["wave"].nunique() < 2:
        return frame.drop(columns="wave")
    latest = frame.sort_values("wave").drop_duplicates(KEY, keep="last").set_index(KEY)
    together = frame.groupby(KEY, sort=False)
    latest["support"] = together["support"].sum()
    latest["counts"] = together["counts"].apply(lambda counts: np.sum(list(counts), axis=0))
    return latest.drop(columns="wave").reset_index()


def _check_options(question: str, frames: dict[pathlib.Path, pd.DataFrame]) -> None:
    options = {path: frame["Options"].iloc[0] for path, frame in frames.items()}
    if len(set(options.values())) > 1:
        said = " and ".join(f"{text!r} in {path}" for path, text in options.items())
        raise ValueError(
            f"question {question} has the options {said}; build both with the same codebook"
        )


def _tested(both: pd.DataFrame) -> pd.Series:
    return (both["support_old"] >= MIN_SUPPORT) & (both["support_new"] >= MIN_SUPPORT)


def _moved(both: pd.DataFrame) -> list[dict]:
    """Cells whose old answer lost or won more than chance explains."""
    cells = both[_tested(both)]
    if cells.empty:
        return []
    place = cells["Options_old"].iloc[0].split(", ").index
    places = cells["answer_old"].map(place).to_numpy()[:, None]
    old, new = (
        np.take_along_axis(_option_shares(cells[name]), places, axis=1)[:, 0]
        for name in ("counts_old", "counts_new")
    )
    low, high = difference_interval(old, cells["support_old"], new, cells["support_new"])
    cells = cells.assign(old=old, new=new, low=low, high=high)
    return [
        {
            "archetype": list(cell[list(ATTRIBUTE_NAMES)]),
            "question": cell["Q_id"],
            "old_answer": cell["answer_old"],
            "new_answer": cell["answer_new"],
            "support": [int(cell["support_old"]), int(cell["support_new"])],
            "share_of_old_answer": [round(cell["old"], 6), round(cell["new"], 6)],
            "change": _rounded(cell["new"] - cell["old"], cell["low"], cell["high"]),
        }
        for _, cell in cells[(low > 0) | (high < 0)].iterrows()
    ]


def difference_interval(old, old_size, new, new_size) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of new - old for two independent shares of so many respondents.

    Newcombe 1998, method 10: from the Wilson intervals of both.
    """
    (low_a, high_a), (low_b, high_b) = _wilson(old, old_size), _wilson(new, new_size)
    change = new - old
    low = change - np.sqrt((new - low_b) ** 2 + (high_a - old) ** 2)
    high = change + np.sqrt((high_b - new) ** 2 + (old - low_a) ** 2)
    return low, high


def _wilson(share, size) -> tuple[np.ndarray, np.ndarray]:
    share, size, z = np.asarray(share, float), np.asarray(size, float), NORMAL_95
    middle = share + z**2 / (2 * size)
    width = z * np.sqrt(share * (1 - share) / size + z**2 / (4 * size**2))
    scale = 1 + z**2 / size
    return (middle - width) / scale, (middle + width) / scale


def _change_of_cells(both: pd.DataFrame) -> pd.DataFrame:
    """For each cell in both builds: its archetype as a hash, and what changed."""
    attributes = both[list(ATTRIBUTE_NAMES)]
    return pd.DataFrame(
        {
            "Country": both["Country"],
            "archetype": pd.util.hash_pandas_object(attributes, index=False),
            "cells": 1.0,
            "other_answer": (both["answer_old"] != both["answer_new"]).astype(float),
            "change": _consensus(both["counts_new"]) - _consensus(both["counts_old"]),
        }
    )


def _change(cells: pd.DataFrame) -> dict:
    """How many answers changed, and the mean change of the consensus share."""
    sums = cells.groupby("archetype")[["cells", "other_answer", "change"]].sum().to_numpy()
    return {
        "cells": int(sums[:, 0].sum()),
        "other_answer": ratio_of_sums(sums[:, 1], sums[:, 0]),
        "consensus_share_change": ratio_of_sums(sums[:, 2], sums[:, 0]),
    }


def _rounded(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": round(value, 6), "low": round(low, 6), "high": round(high, 6)}


def _option_shares(counts: pd.Series) -> np.ndarray:
    """Shares [cells, options] of answer counts."""
    table = np.stack(counts.to_list())
    return table / table.sum(axis=1, keepdims=True)


def _consensus(counts: pd.Series) -> np.ndarray:
    return _option_shares(counts).max(axis=1)


def _shift(old: pd.DataFrame, new: pd.DataFrame) -> dict:
    """The option whose share of all answers to a question changed most, and by how much."""
    options = old["Options"].iloc[0].split(", ")
    found = []
    for place, option in enumerate(options):
        (a, spread_a), (b, spread_b) = (_option_share(f, place) for f in (old, new))
        width = NORMAL_95 * float(np.hypot(spread_a, spread_b))
        found.append(
            {
                "option": option,
                "old": round(a, 6),
                "new": round(b, 6),
                "change": _rounded(b - a, b - a - width, b - a + width),
            }
        )
    return {"shift": max(found, key=lambda one: abs(one["change"]["value"]))}


def _option_share(frame: pd.DataFrame, place: int) -> tuple[float, float]:
    """An option's share of the answers, and its standard error."""
    counts = np.stack(frame["counts"].to_list())
    found = ratio_of_sums(counts[:, place], counts.sum(axis=1))
    return found["value"], (found["high"] - found["low"]) / (2 * NORMAL_95)
