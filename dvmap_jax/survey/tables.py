"""The parquet files of a corpus: the released columns and ours, a question at a time."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int

from dvmap_jax.survey.archetypes import (
    Archetypes,
    Cells,
    RuleConfig,
    cells_of,
    kept_cells,
    row_keys,
)
from dvmap_jax.survey.benchmark import SPLITS, Assignment
from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES, NOT_ANSWERED
from dvmap_jax.survey.corpus import DATA_SOURCE
from dvmap_jax.survey.prompts import archetype_part, question_part
from dvmap_jax.survey.respondents import Respondents

EXAMPLES = "examples"  # every archetype and question, before the split


def write_tables(
    respondents: Respondents,
    archetypes: Archetypes,
    assignment: Assignment,
    folder: pathlib.Path,
    *,
    rule: RuleConfig,
    prompts: bool,
    progress: Callable[[int, int], None],
) -> Bool[np.ndarray, "G Q"]:
    """Writes every file, a question at a time, and returns which cells were kept.

    With `prompts` the splits hold the prompt of each example, as the released files do.
    """
    labels = _label_columns(respondents, archetypes)
    heads = _prompt_heads(labels) if prompts else None
    written = []
    with contextlib.ExitStack() as stack:
        write = {
            name: stack.enter_context(_table_writer(folder / f"{name}.parquet"))
            for name in (EXAMPLES, *SPLITS)
        }
        for number, question in enumerate(respondents.questions):
            cells = cells_of(respondents, archetypes, question, config=rule)
            kept = kept_cells(cells, rule)
            written.append(kept)
            for name, write_table in write.items():
                chosen = kept if name == EXAMPLES else kept & assignment.rows(name, number)
                columns = _columns(cells, labels, chosen, archetypes, respondents)
                columns |= _further(cells, chosen, rule, heads if name != EXAMPLES else None)
                write_table(pa.table(columns))
            progress(number + 1, len(respondents.questions))
    return np.stack(written, axis=1)


@contextlib.contextmanager
def _table_writer(path: pathlib.Path) -> Iterator[Callable[[pa.Table], None]]:
    """Writes tables of one schema, one after the other, into a parquet file."""
    writers = []

    def write(table: pa.Table) -> None:
        if not writers:
            writers.append(pq.ParquetWriter(path, table.schema, compression="zstd"))
        writers[0].write_table(table)

    try:
        yield write
    finally:
        for writer in writers:
            writer.close()


def _label_columns(
    respondents: Respondents, archetypes: Archetypes
) -> dict[str, tuple[pa.Array, Int[np.ndarray, " G"]]]:
    """Each corpus attribute's labels and, for every archetype, the index among them."""
    known = {
        attribute.name: place for place, attribute in enumerate(respondents.codebook.attributes)
    }
    columns = {}
    for name in ATTRIBUTE_NAMES:
        values, indices = (NOT_ANSWERED,), np.zeros(len(archetypes), np.int16)
        if name in known:
            values = (NOT_ANSWERED, *respondents.codebook.attributes[known[name]].values)
            indices = archetypes.attributes[:, known[name]] + 1
        columns[name] = (pa.array(values), indices)
    return columns


def _prompt_heads(labels: dict[str, tuple[pa.Array, np.ndarray]]) -> pa.Array:
    """What the prompts to each archetype begin with."""
    columns = [values.take(pa.array(indices)).to_pylist() for values, indices in labels.values()]
    return pa.array(
        [archetype_part(row, template="reasoning") for row in zip(*columns, strict=True)]
    )


def _further(
    cells: Cells, chosen: Bool[np.ndarray, " G"], rule: RuleConfig, heads: pa.Array | None
) -> dict[str, pa.Array]:
    """Prompts that begin with `heads`, and the shares of the options, where they are wanted."""
    columns = {}
    if heads is not None:
        end = question_part(cells.question.text, cells.question.options)
        columns["prompt"] = pc.binary_join_element_wise(heads.filter(pa.array(chosen)), end, "")
    if rule.labels == "distribution":
        counts = cells.counts[chosen]
        shares = counts / counts.sum(axis=1, keepdims=True)
        columns["answer_shares"] = pa.array(list(shares), pa.list_(pa.float64()))
    return columns


def _columns(
    cells: Cells,
    labels: dict[str, tuple[pa.Array, Int[np.ndarray, " G"]]],
    chosen: Bool[np.ndarray, " G"],
    archetypes: Archetypes,
    respondents: Respondents,
) -> dict[str, pa.Array]:
    """The released columns and ours for the chosen cells of a question."""
    question, size = cells.question, int(chosen.sum())

    def constant(text: str) -> pa.Array:
        return pa.repeat(text, size)

    def label(name: str) -> pa.Array:
        values, indices = labels[name]
        return values.take(pa.array(indices[chosen]))

    country = archetypes.attributes[chosen, respondents.codebook.country_column]
    waves = archetypes.waves[chosen]
    return {
        "Q_id": constant(question.id),
        **{name: label(name) for name in ATTRIBUTE_NAMES},
        "frequency": answer_frequency(
            row_keys(np.stack([country, waves], axis=1)), cells.answer[chosen]
        ),
        "Category": constant(question.section),
        "Question": constant(question.text),
        "prompt": constant(""),
        "Options": constant(", ".join(question.options)),
        "answer": pa.array(question.options).take(pa.array(cells.answer[chosen])),
        "data_source": constant(DATA_SOURCE),
        "wave": waves.astype(np.int32),
        "support": cells.support[chosen].astype(np.int32),
        "entropy": cells.entropy[chosen],
        "consensus_share": cells.share[chosen],
        "answer_counts": pa.array(list(cells.counts[chosen]), pa.list_(pa.float64())),
    }


def answer_frequency(
    groups: Int[np.ndarray, " N"], answers: Int[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """For each of a split's archetypes, the share of its group that gave the same answer.

    A group is a country, in corpora of several waves a country in a wave.
    """
    if not len(groups):
        return np.zeros(0)
    keys = groups * (int(answers.max()) + 1) + answers
    same = np.bincount(keys)[keys]
    return same / np.bincount(groups)[groups]
