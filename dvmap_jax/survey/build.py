"""The corpus from respondents: archetypes × questions as parquet files and `corpus.json`."""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import pathlib
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int

from dvmap_jax.files import whole_folder
from dvmap_jax.records import to_mapping
from dvmap_jax.survey.archetypes import (
    Archetypes,
    Cells,
    RuleConfig,
    cells_of,
    group_respondents,
    kept_cells,
)
from dvmap_jax.survey.audit import Planted, audit_corpus
from dvmap_jax.survey.audit_page import audit_page
from dvmap_jax.survey.benchmark import (
    SPLITS,
    Assignment,
    BenchmarkConfig,
    assign,
    combinations,
    leak_report,
)
from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES, NOT_ANSWERED
from dvmap_jax.survey.corpus import DATA_SOURCE
from dvmap_jax.survey.respondents import Respondents

EXAMPLES, DESCRIPTION, AUDIT, PAGE = "examples", "corpus.json", "audit.json", "audit.html"
READ_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class BuildConfig:
    """How a corpus is built from respondents."""

    rule: RuleConfig = RuleConfig()
    benchmark: BenchmarkConfig = BenchmarkConfig()


def build_corpus(
    respondents: Respondents,
    output: pathlib.Path,
    config: BuildConfig,
    *,
    source: dict,
    planted: Planted | None = None,
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> dict:
    """Writes the corpus and its audit into `output` and returns what `corpus.json` says.

    `source` describes the input there; `planted` is for the audit of an invented survey. A corpus
    that lay in `output` is replaced once the new one is whole; another folder is refused. Raises
    ValueError where nothing is left, naming the filter, and OSError, with nothing changed, where
    the disk is full.
    """
    _check_output(output)
    archetypes = group_respondents(respondents, config.rule.attributes)
    _check_filled(respondents, archetypes)
    questions = [question.id for question in respondents.questions]
    assignment = assign(
        archetypes.attributes,
        country=respondents.codebook.country_column,
        countries=respondents.codebook.country.values,
        questions=questions,
        config=config.benchmark,
    )
    with whole_folder(output) as draft:
        kept = _write_tables(respondents, archetypes, assignment, config.rule, draft, progress)
        if not kept.any():
            raise ValueError(f"no cell is left: {_filters(config.rule)}; loosen it")
        description = _description(respondents, archetypes, assignment, config, kept, source)
        size = len(respondents.questions)
        audit = audit_corpus(
            respondents,
            archetypes,
            config.rule,
            planted=planted,
            progress=lambda done, whole: progress(size + done, size + whole),
        )
        _write_json(draft / DESCRIPTION, description)
        _write_json(draft / AUDIT, audit)
        page = audit_page(description, audit)
        (draft / PAGE).write_text(page, encoding="utf-8")
    return description


def file_hash(path: pathlib.Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _write_tables(
    respondents, archetypes, assignment, rule, folder, progress
) -> Bool[np.ndarray, "G Q"]:
    """Writes every file, a question at a time; which cells were kept."""
    written = []
    labels = _label_columns(respondents, archetypes)
    writers: dict[str, pq.ParquetWriter] = {}
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [writer.close() for writer in writers.values()])
        for number, question in enumerate(respondents.questions):
            cells = cells_of(respondents, archetypes, question, config=rule)
            kept = kept_cells(cells, rule)
            written.append(kept)
            for name in (EXAMPLES, *SPLITS):
                chosen = kept if name == EXAMPLES else kept & assignment.rows(name, number)
                table = _table(cells, labels, chosen, archetypes, respondents)
                writer = writers.get(name) or pq.ParquetWriter(
                    folder / f"{name}.parquet", table.schema, compression="zstd"
                )
                writers.setdefault(name, writer)
                writer.write_table(table)
            progress(number + 1, 2 * len(respondents.questions))
    return np.stack(written, axis=1)


def _label_columns(respondents: Respondents, archetypes: Archetypes) -> dict[str, np.ndarray]:
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


def _table(
    cells: Cells,
    labels: dict[str, tuple[pa.Array, Int[np.ndarray, " G"]]],
    chosen: Bool[np.ndarray, " G"],
    archetypes: Archetypes,
    respondents: Respondents,
) -> pa.Table:
    """The released columns and ours for the chosen cells of a question."""
    question, size = cells.question, int(chosen.sum())

    def constant(text: str) -> pa.Array:
        return pa.array(np.full(size, text, dtype=object), pa.string())

    def label(name: str) -> pa.Array:
        values, indices = labels[name]
        return values.take(pa.array(indices[chosen]))

    country = respondents.codebook.country_column
    columns = {"Q_id": constant(question.id)}
    columns |= {name: label(name) for name in ATTRIBUTE_NAMES}
    return pa.table(
        columns
        | {
            "frequency": answer_frequency(
                archetypes.attributes[chosen, country], cells.answer[chosen]
            ),
            "Category": constant(question.section),
            "Question": constant(question.text),
            "prompt": constant(""),
            "Options": constant(", ".join(question.options)),
            "answer": pa.array(question.options).take(pa.array(cells.answer[chosen])),
            "data_source": constant(DATA_SOURCE),
            "support": cells.support[chosen].astype(np.int32),
            "entropy": cells.entropy[chosen],
            "consensus_share": cells.share[chosen],
            "answer_counts": pa.array(list(cells.counts[chosen]), pa.list_(pa.float64())),
        }
    )


def answer_frequency(
    countries: Int[np.ndarray, " N"], answers: Int[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """For each of a split's archetypes, the share of its country's that gave the same answer."""
    if not len(countries):
        return np.zeros(0)
    width, countries = int(answers.max()) + 1, countries.astype(np.int64) + 1
    keys = countries * width + answers
    same = np.bincount(keys)[keys]
    return same / np.bincount(countries)[countries]


def _description(
    respondents: Respondents,
    archetypes: Archetypes,
    assignment: Assignment,
    config: BuildConfig,
    kept: Bool[np.ndarray, "G Q"],
    source: dict,
) -> dict:
    codebook, questions = respondents.codebook, [q.id for q in respondents.questions]
    places = archetypes.attributes[:, codebook.country_column]
    rows = {
        name: np.stack([assignment.rows(name, number) for number in range(len(questions))], axis=1)
        for name in SPLITS
    }
    return {
        "source": source,
        "version": importlib.metadata.version("dvmap_jax"),
        "codebook": codebook.name,
        "questions": questions,
        "heldout_countries": [
            codebook.country.values[place]
            for place in np.unique(places[assignment.heldout_country])
        ],
        "heldout_questions": [
            name for name, held in zip(questions, assignment.heldout_question, strict=True) if held
        ],
        "settings": to_mapping(config),
        "num_respondents": len(respondents),
        "num_archetypes": len(archetypes),
        "respondents_without": archetypes.num_dropped,
        "num_examples": {EXAMPLES: int(kept.sum())}
        | {name: int((kept & own).sum()) for name, own in rows.items()},
        "combinations": combinations(assignment, kept),
        "leaks": leak_report(archetypes.attributes, assignment, country=codebook.country_column),
    }


def _write_json(path: pathlib.Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _check_output(output: pathlib.Path) -> None:
    if output.exists() and not (output / DESCRIPTION).exists() and any(output.iterdir()):
        raise ValueError(f"{output} holds other files and no {DESCRIPTION}; use another --output")


def _check_filled(respondents: Respondents, archetypes: Archetypes) -> None:
    if not len(archetypes):
        raise ValueError(
            f"no archetype is left: of {len(respondents)} respondents, "
            f"{archetypes.num_dropped} lack a required attribute"
        )
    answered = np.zeros(len(respondents), bool)
    for question in respondents.questions:
        answered |= respondents.answers[question.id] >= 0
    codes = respondents.attributes[:, respondents.codebook.country_column]
    silent = sorted(set(np.unique(codes).tolist()) - set(np.unique(codes[answered]).tolist()))
    if silent:
        names = [respondents.codebook.country.values[index] for index in silent if index >= 0]
        raise ValueError(
            f"{', '.join(names)}: nobody gave a valid answer to any question; choose other "
            "questions, or leave the country out with --countries"
        )


def _filters(rule: RuleConfig) -> str:
    if rule.rule == "released":
        return "nobody gave a valid answer to the questions"
    return f"min_support={rule.min_support} and max_entropy={rule.max_entropy} keep nothing"
