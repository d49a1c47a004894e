"""The end of a run: the export, and a table of what it reached beside the baselines."""

import functools
import pathlib
from collections.abc import Callable

import jax

from dvmap_jax.config import RunConfig
from dvmap_jax.evaluation.baselines import BASELINES, baseline_results
from dvmap_jax.evaluation.evaluator import chosen
from dvmap_jax.evaluation.metrics import accuracy_metrics
from dvmap_jax.evaluation.report import results_table
from dvmap_jax.hf.save import save_model
from dvmap_jax.sharding import use_mesh
from dvmap_jax.survey.splits import load_corpus
from dvmap_jax.train.checkpoints import FOLDER, read_checkpoint
from dvmap_jax.train.log import read_rows
from dvmap_jax.train.start import WARM_START, stored_shardings

EXPORT = "hf"
Progress = Callable[[int, int], None]


def finish(
    config: RunConfig, workdir: pathlib.Path, progress: Progress = lambda done, whole: None
) -> str:
    """Exports the newest parameters where the config says so; returns table and paths as text.

    Every process calls it; `progress` is told how many bytes are exported, and of how many.
    """
    if config.export:
        export(config, workdir, progress)
    if jax.process_index():
        return ""  # process 0 wrote what the table is made of
    lines = [comparison(config, workdir), f"checkpoints  {workdir / FOLDER}"]
    if config.export:
        lines.append(f"hugging face {workdir / EXPORT}")
    lines.append(f"metrics      {workdir / 'metrics.jsonl'}")
    return "\n".join(lines)


def export(config: RunConfig, workdir: pathlib.Path, progress: Progress) -> None:
    """Writes the newest checkpoint as a folder `transformers` loads; every process takes part."""
    with use_mesh(config.mesh) as mesh:
        saved = read_checkpoint(workdir, shardings_of=functools.partial(stored_shardings, mesh))
        save_model(
            saved.params,
            saved.config,
            workdir / EXPORT,
            dtype=config.weights.param_dtype,
            carry_from=saved.tokenizer,
            progress=progress,
        )


def comparison(config: RunConfig, workdir: pathlib.Path) -> str:
    """Baselines, the model before, after the warm start and at the end, on the same examples."""
    corpus = load_corpus(config.corpus)
    mode = config.evaluation.modes[0]
    examples = chosen(corpus.heldout, config.evaluation, mode=mode)
    rows = [
        (name, accuracy_metrics(baseline_results(name, corpus.train, examples)))
        for name in BASELINES
    ]
    measured = read_measured(workdir, mode)
    if config.warm_start_steps:
        rows.append(("before", read_measured(workdir / WARM_START, mode)[0]))
        rows.append(("after warm start", measured[0]))
    else:
        rows.append(("before", measured[0]))
    rows.append((f"after {config.objective}", measured[-1]))
    return results_table(rows)


def read_measured(workdir: pathlib.Path, mode: str) -> list[dict[str, float]]:
    """Every evaluation a run wrote down, in order, without the prefix of its mode."""
    prefix = f"eval/{mode}/"
    measured = [
        {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}
        for row in read_rows(workdir / "metrics.jsonl")
    ]
    return [row for row in measured if row]
