"""Evaluates: `evaluate.py --model=MODEL --benchmark=PARQUET|CORPUS_DIR --output=DIR`.

MODEL is a folder, a run's workdir (asked as it was trained), a GGUF file, `baseline:NAME`, or
`https://host/v1#NAME` of an OpenAI-compatible endpoint, whose key comes from the environment
(`--key_variable`). Baselines fitted on `--train`, by default the corpus folder's own training
split, stand beside it. The same command goes on where it was stopped; `--probes` asks some rows
again with other people, options and words. DIR holds the rows (`results.jsonl`), the metrics
(`metrics.json`) and a report (`report.html`, `report.md`); `report.py` compares several.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

from dvmap_jax import evaluate_flags as wanted
from dvmap_jax.command import late_bar, run_main
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.evaluation.account import account, answers, fit_beside, summary
from dvmap_jax.evaluation.asking import (
    Ask,
    AskedBaseline,
    Endpoint,
    LoadedModel,
    described,
    model_settings,
)
from dvmap_jax.evaluation.baselines import fit_baseline
from dvmap_jax.evaluation.comparison import BASELINE
from dvmap_jax.evaluation.endpoint import is_endpoint
from dvmap_jax.evaluation.evaluator import chosen
from dvmap_jax.evaluation.journal import Journal
from dvmap_jax.evaluation.report_files import write_report
from dvmap_jax.evaluation.report_markdown import summary_markdown
from dvmap_jax.evaluation.results import write_results
from dvmap_jax.model.config import ComputeConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.sharding import MeshConfig, use_mesh
from dvmap_jax.survey.corpus import Example, read_examples
from dvmap_jax.survey.heldout import read_benchmarks, refuse_shared, training_split
from dvmap_jax.train.start import stored_shardings
from dvmap_jax.train.weights import load_model


def main() -> None:
    """Answers the benchmarks, writes rows, metrics and a report, and prints the tables."""
    template, probes = wanted.data_config().template, wanted.probes_config()
    config, place, output = wanted.evaluation_config(), wanted.BENCHMARK.value, wanted.OUTPUT.value
    benchmarks = {
        name: chosen(examples, config, mode=wanted.mode())
        for name, examples in read_benchmarks(place).items()
    }
    split = wanted.TRAIN.value or training_split(place)
    train = read_examples(split) if split else ()
    for name, examples in benchmarks.items():
        refuse_shared(train, examples, name=name)
    beside = fit_beside(wanted.BASELINES.value, train, train=split)

    def baseline(name: str) -> AskedBaseline:
        return AskedBaseline(beside.fitted.get(name) or fit_baseline(name, train))

    with asking(benchmarks, baseline) as (ask, settings):
        answered = {
            name: answers(ask, examples, benchmark=name, template=template, probes=probes)
            for name, examples in benchmarks.items()
        }
    content = account(answered, beside, settings=settings)
    write_results(output, [each.results for each in answered.values()], content)
    compared = write_report([output], output)
    print(summary(content), summary_markdown(compared), f"report  {output}", sep="\n\n")


@contextlib.contextmanager
def asking(
    benchmarks: Mapping[str, Sequence[Example]], baseline: Callable[[str], AskedBaseline]
) -> Iterator[tuple[Ask, dict]]:
    """What answers, and what its answers depend on; the journal is made once the model is there."""
    source, data = wanted.MODEL.value, wanted.data_config()
    head = functools.partial(
        described, source, mode=wanted.mode(), data=data, benchmarks=benchmarks
    )
    with late_bar("answering", "row") as bar, use_mesh(MeshConfig()) as mesh:
        if source.startswith(BASELINE):
            yield baseline(source.removeprefix(BASELINE)), head(settings={})
        elif is_endpoint(source):
            config = wanted.endpoint_config()
            settings = head(settings={"endpoint": config.described()})
            yield Endpoint(config, data, Journal(wanted.OUTPUT.value, settings), bar), settings
        else:
            config, dtype = wanted.evaluation_config(), wanted.DTYPE.value
            stored = functools.partial(stored_shardings, mesh)
            loaded = load_model(source, dtype, step=wanted.STEP.value, shardings_of=stored)
            model = Transformer(loaded.config, ComputeConfig(dtype=dtype))
            tokenizer = Tokenizer.load(loaded.tokenizer)
            settings = head(settings=model_settings(config, loaded.params, dtype=dtype))
            journal = Journal(wanted.OUTPUT.value, settings)
            yield LoadedModel(model, loaded.params, tokenizer, config, data, journal, bar), settings


if __name__ == "__main__":
    run_main(main)
