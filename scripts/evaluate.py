"""Evaluates: `evaluate.py --model=DIR|FILE.gguf|baseline:NAME --benchmark=PARQUET --output=DIR`.

`--mode` is score or generate. With `--train=PARQUET` the majority baselines, fitted on that
split, stand beside the model.
"""

import functools
from collections.abc import Sequence

import pandas as pd
from absl import flags

from dvmap_jax.command import FolderParser, late_bar, run_main
from dvmap_jax.data.batches import DataConfig
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.evaluation.baselines import BASELINES, baseline_results
from dvmap_jax.evaluation.evaluator import MODES, EvaluationConfig, Evaluator, chosen
from dvmap_jax.evaluation.metrics import accuracy_metrics
from dvmap_jax.evaluation.report import results_table
from dvmap_jax.evaluation.results import write_results
from dvmap_jax.model.config import ComputeConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.sharding import MeshConfig, use_mesh
from dvmap_jax.survey.corpus import Example, read_examples
from dvmap_jax.train.start import stored_shardings
from dvmap_jax.train.weights import load_model

MODEL = flags.DEFINE_string("model", None, "Folder, GGUF file or baseline:NAME.", required=True)
BENCHMARK = flags.DEFINE_string("benchmark", None, "Examples to answer.", required=True)
OUTPUT = flags.DEFINE(FolderParser(), "output", None, "Folder for the results.", required=True)
MODE = flags.DEFINE_enum("mode", "score", MODES, "Score options, or generate and read.")
TRAIN = flags.DEFINE_string("train", "", "Examples the baselines are fitted on.")
TEMPLATE = flags.DEFINE_string("template", "reasoning", "Prompt template.")
SYSTEM = flags.DEFINE_string("system_prompt", "default", "System prompt.")
NORMALIZE = flags.DEFINE_enum("normalize", "sum", ("sum", "mean"), "Option log-probabilities.")
TEMPERATURE = flags.DEFINE_float("temperature", 0.7, "Of generated completions.")
SAMPLES = flags.DEFINE_integer("samples", 1, "Completions an example.")
MAX_TOKENS = flags.DEFINE_integer("max_tokens", 1024, "Longest completion.")
MAX_EXAMPLES = flags.DEFINE_integer("max_examples", 0, "Examples answered; 0 means all.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Archetypes at a time.")
DTYPE = flags.DEFINE_string("dtype", "float32", "Precision of the computation.")

BASELINE = "baseline:"  # what --model begins with where it names one


def main() -> None:
    """Answers the benchmark, writes results and metrics, and prints the table."""
    examples = read_examples(BENCHMARK.value)
    train = read_examples(TRAIN.value) if TRAIN.value else ()
    config = evaluation_config()
    examples = chosen(examples, config, mode=MODE.value)
    if MODEL.value.startswith(BASELINE):
        results = baseline_answers(MODEL.value.removeprefix(BASELINE), train, examples)
    else:
        results = answers(config, examples)
    names = BASELINES if train else ("uniform",)
    metrics = {name: accuracy_metrics(baseline_results(name, train, examples)) for name in names}
    metrics[MODEL.value] = accuracy_metrics(results)
    write_results(OUTPUT.value, results, metrics)
    print(results_table(list(metrics.items())))


def evaluation_config() -> EvaluationConfig:
    """How the flags want examples answered."""
    return EvaluationConfig(
        modes=(MODE.value,),
        normalize=NORMALIZE.value,
        batch_size=BATCH_SIZE.value,
        max_examples=MAX_EXAMPLES.value,
        max_generated=MAX_EXAMPLES.value,
        samples=SAMPLES.value,
        temperature=TEMPERATURE.value,
        max_tokens=MAX_TOKENS.value,
    )


def answers(config: EvaluationConfig, examples: Sequence[Example]) -> pd.DataFrame:
    """The model's results, one row an example; its rows are divided over all devices."""
    data = DataConfig(template=TEMPLATE.value, system_prompt=SYSTEM.value)
    with use_mesh(MeshConfig()) as mesh, late_bar("answering", "row") as bar:
        stored = functools.partial(stored_shardings, mesh)
        loaded = load_model(MODEL.value, DTYPE.value, shardings_of=stored)
        model = Transformer(loaded.config, ComputeConfig(dtype=DTYPE.value))
        evaluator = Evaluator(model, Tokenizer.load(loaded.tokenizer), config=config, data=data)
        benchmark = evaluator.prepare(examples)
        how = {"mode": MODE.value, "progress": lambda rows: bar(rows, len(examples))}
        return evaluator(loaded.params, benchmark, **how)


def baseline_answers(name: str, train: Sequence[Example], examples: Sequence[Example]):
    """A baseline's results; ValueError where it needs a training split and there is none."""
    if not train and name in BASELINES and name != "uniform":
        raise ValueError(f"--model={BASELINE}{name} counts answers; give --train as well")
    return baseline_results(name, train, examples)


if __name__ == "__main__":
    run_main(main)
