"""The corpus from respondents: archetypes × questions as parquet files and `corpus.json`."""

import dataclasses
import hashlib
import importlib.metadata
import json
import pathlib
from collections.abc import Callable

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Bool

from dvmap_jax.files import whole_folder
from dvmap_jax.records import to_mapping
from dvmap_jax.survey.archetypes import (
    Archetypes,
    RuleConfig,
    group_respondents,
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
from dvmap_jax.survey.compare import changed_examples, compare_corpora
from dvmap_jax.survey.respondents import Respondents
from dvmap_jax.survey.tables import EXAMPLES, write_tables

DESCRIPTION, AUDIT, PAGE = "corpus.json", "audit.json", "audit.html"
COMPARISON, CHANGED = "compare.json", "changed.parquet"
READ_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class BuildConfig:
    """How a corpus is built from respondents; `prompts` fills that column of the splits."""

    rule: RuleConfig = RuleConfig()
    benchmark: BenchmarkConfig = BenchmarkConfig()
    prompts: bool = True


def build_corpus(
    respondents: Respondents,
    output: pathlib.Path,
    config: BuildConfig,
    *,
    source: dict,
    planted: Planted | None = None,
    compare_with: pathlib.Path | None = None,
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> dict:
    """Writes the corpus and its audit into `output` and returns what `corpus.json` says.

    `source` describes the input there; `planted` is for the audit of an invented survey. With an
    older corpus to `compare_with`, what moved since is in `compare.json`, and the training
    examples that are new or answered otherwise in `changed.parquet`. A corpus
    that lay in `output` is replaced once the new one is whole; another folder is refused. Raises
    ValueError where nothing is left, naming the filter, and OSError, with nothing changed, where
    the disk is full.
    """
    _check_output(output, compare_with)
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
        size = len(respondents.questions)
        kept = write_tables(
            respondents,
            archetypes,
            assignment,
            draft,
            rule=config.rule,
            prompts=config.prompts,
            progress=lambda done, whole: progress(done, 2 * whole),
        )
        if not kept.any():
            raise ValueError(f"no cell is left: {_filters(config.rule)}; loosen it")
        description = _description(respondents, archetypes, assignment, config, kept, source)
        audit = audit_corpus(
            respondents,
            archetypes,
            config.rule,
            planted=planted,
            progress=lambda done, whole: progress(size + done, size + whole),
        )
        _write_json(draft / DESCRIPTION, description)
        _write_json(draft / AUDIT, audit)
        compared = compare_with and _write_comparison(compare_with, draft)
        page = audit_page(description, audit, compared)
        (draft / PAGE).write_text(page, encoding="utf-8")
    return description


def file_hash(path: pathlib.Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


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
        "waves": np.unique(archetypes.waves).tolist(),
        "respondents_without": archetypes.num_dropped,
        "num_examples": {EXAMPLES: int(kept.sum())}
        | {name: int((kept & own).sum()) for name, own in rows.items()},
        "combinations": combinations(assignment, kept),
        "leaks": leak_report(archetypes.attributes, assignment, country=codebook.country_column),
    }


def _write_json(path: pathlib.Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_comparison(old: pathlib.Path, draft: pathlib.Path) -> dict:
    """Writes what changed since an old build, and the training examples it changed."""
    before = old / f"{EXAMPLES}.parquet"
    compared = compare_corpora(before, draft / f"{EXAMPLES}.parquet")
    _write_json(draft / COMPARISON, compared)
    changed = changed_examples(before, draft / f"{SPLITS[0]}.parquet")
    pq.write_table(changed, draft / CHANGED, compression="zstd")
    return compared


def _check_output(output: pathlib.Path, compare_with: pathlib.Path | None) -> None:
    if compare_with and not (compare_with / DESCRIPTION).is_file():
        raise FileNotFoundError(f"{compare_with} holds no {DESCRIPTION}; compare with a corpus")
    if compare_with and compare_with.resolve() == output.resolve():
        raise ValueError(f"{output} would be compared with itself; use another --output")
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
