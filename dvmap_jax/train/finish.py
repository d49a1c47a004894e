"""The end of a run: the export, and a table of what it reached beside the baselines."""

import functools
import pathlib
from collections.abc import Callable

import jax
import pandas as pd

from dvmap_jax.config import RunConfig
from dvmap_jax.evaluation.baselines import BASELINES, baseline_results
from dvmap_jax.evaluation.comparison import Estimate, Gap
from dvmap_jax.evaluation.evaluator import chosen
from dvmap_jax.evaluation.metrics import accuracy_metrics
from dvmap_jax.evaluation.report import results_table, verdict_line
from dvmap_jax.evaluation.suite import accuracy_difference
from dvmap_jax.hf.save import save_model
from dvmap_jax.sharding import use_mesh
from dvmap_jax.survey.splits import load_corpus
from dvmap_jax.train.checkpoints import FOLDER, read_checkpoint, saved_step
from dvmap_jax.train.log import read_rows
from dvmap_jax.train.measure import heldout_file, read_heldout
from dvmap_jax.train.start import WARM_START, stored_shardings

EXPORT = "hf"
Progress = Callable[[int, int], None]


def finish(
    config: RunConfig, workdir: pathlib.Path, progress: Progress = lambda done, whole: None
) -> str:
    """Exports the best step's parameters where the config says so; returns table and paths as text.

    Every process calls it; `progress` is told how many bytes are exported, and of how many.
    """
    if config.export:
        export(config, workdir, progress)
    step = saved_step(workdir)  # all processes read checkpoints together
    if jax.process_index():
        return ""  # process 0 wrote what the table is made of
    lines = [comparison(config, workdir, step), f"checkpoints  {workdir / FOLDER}, best {step}"]
    if config.export:
        lines.append(f"hugging face {workdir / EXPORT}")
    lines.append(f"metrics      {workdir / 'metrics.jsonl'}")
    return "\n".join(lines)


def export(config: RunConfig, workdir: pathlib.Path, progress: Progress) -> None:
    """Writes the best checkpoint as a folder `transformers` loads; every process takes part."""
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


def comparison(config: RunConfig, workdir: pathlib.Path, step: int) -> str:
    """The model at `step` beside the baselines, and before that, on the same held-out examples.

    The first line says whether it beats the strongest of them.
    """
    corpus = load_corpus(config.corpus)
    mode = config.evaluation.modes[0]
    examples = list(chosen(corpus.heldout, config.evaluation, mode=mode))
    beside = {name: baseline_results(name, corpus.train, examples) for name in BASELINES}
    rows = [(name, accuracy_metrics(results)) for name, results in beside.items()]
    measured = read_measured(workdir, mode)
    first = measured[min(measured)]
    if config.warm_start_steps:
        earlier = read_measured(workdir / WARM_START, mode)
        rows += [("before", earlier[min(earlier)]), ("after warm start", first)]
    else:
        rows.append(("before", first))
    final = f"after {config.objective}"
    rows.append((final, measured[step]))
    ours = read_heldout(workdir, step)
    if ours is None:
        missing = f"{heldout_file(workdir, step)} is missing"
        return f"{missing}, so {final} has no differences from baselines\n{results_table(rows)}"
    gaps = [_gap(final, ours, name, results) for name, results in beside.items()]
    return f"{verdict_line(rows, gaps)}\n{results_table(rows, gaps)}"


def _gap(final: str, ours: pd.DataFrame, name: str, theirs: pd.DataFrame) -> Gap:
    found = accuracy_difference(ours, theirs)
    estimate = Estimate(found.value, found.low, found.high)
    return Gap("heldout", final, name, estimate, found.p, len(ours))


def read_measured(workdir: pathlib.Path, mode: str) -> dict[int, dict[str, float]]:
    """Every evaluation a run wrote down, by its step, without the prefix of its mode."""
    prefix = f"eval/{mode}/"
    measured = {}
    for row in read_rows(workdir / "metrics.jsonl"):
        found = {
            name.removeprefix(prefix): value
            for name, value in row.items()
            if name.startswith(prefix) and value is not None
        }
        if found:
            measured[row["step"]] = found
    return measured
