"""Score mode on the released corpus: rows a second with trees, without them, and by transformers.

The model is that of `configs/small_qwen3.py` with random weights, the tokenizer Qwen3's. With trees
every row is answered, through the Evaluator; the slow sides, dense rows of prompt and option in the
same forward and `scripts/peers/transformers_scores.py` in a process of its own, score the options
of ARCHETYPES archetypes drawn with a seed. There the log-probabilities of all sides are compared.
Prompts are in tokens beforehand: what that takes, trees included, is `prepare`.
"""

import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from dvmap_jax.bench.measure import measure, summary
from dvmap_jax.bench.settings import BenchConfig, python_file
from dvmap_jax.config import RunConfig, run_config
from dvmap_jax.data.forests import Root, Tokens, fitting_shape, option_tree
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.evaluation.evaluator import Evaluator
from dvmap_jax.evaluation.prepared import Benchmark
from dvmap_jax.evaluation.scoring import ScoreBatch, option_scores, score_batches
from dvmap_jax.hf.save import save_model
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.survey.corpus import Example, read_examples
from dvmap_jax.survey.prompts import TEMPLATES

ROOT = pathlib.Path(__file__).parents[2]
PEER = ROOT / "scripts" / "peers" / "transformers_scores.py"
CORPUS, TOKENIZER = "dvmap_corpus/dev.parquet", "qwen3_tokenizer"
ARCHETYPES = 12  # that the slow sides are timed on
DENSE_ROWS = 16  # of prompt and option at a time: the fastest of 8, 16, 32, 64


def run(config: BenchConfig) -> dict[str, Any]:
    """One comparison for each template; parts are their names."""
    parts = config.chosen(("released",), TEMPLATES)
    for name in (CORPUS, TOKENIZER):
        if not (config.shared / name).exists():
            raise ValueError(f"{config.shared / name} does not exist; name its folder: --shared")
    examples = read_examples(config.shared / CORPUS)
    tokenizer = Tokenizer.load(config.shared / TOKENIZER)
    small = run_config(python_file(ROOT / "configs" / "small_qwen3.py").get_config().to_dict())
    return {
        part: compared(examples, tokenizer, with_template(small, part), config) for part in parts
    }


def with_template(run: RunConfig, template: str) -> RunConfig:
    """The run with prompts of this template, of any length."""
    data = dataclasses.replace(run.data, template=template, max_prompt_length=1024)
    return dataclasses.replace(run, data=data)


def compared(
    examples: Sequence[Example], tokenizer: Tokenizer, run: RunConfig, config: BenchConfig
) -> dict[str, Any]:
    """Seconds and rows a second of each side, and how far their log-probabilities differ."""
    model = Transformer(run.model, config.compute)
    params = model.init(jax.random.key(0))
    how = {"config": run.evaluation, "data": run.data}
    evaluator = Evaluator(model, tokenizer, **how)
    held: list[Benchmark] = []

    def prepare(_):
        held[:] = [evaluator.prepare(examples)]
        assert held[0].scored

    prepared = measure(prepare, repeats=config.repeats)
    (benchmark,), tables = held, []

    def answer(i):
        if i == 0:  # before what is timed: the one program compiles
            list(option_scores(evaluator.score, params, benchmark.scored[0]))
            return
        tables[:] = [evaluator(params, benchmark, mode="score")]

    trees = measure(answer, repeats=config.repeats)
    sample = drawn(examples)
    scored = [tables[0]["logprobs"][number] for number in sample]
    rows = Rows.of(benchmark, sample)
    sides, sums = {"trees": _rated(trees, len(examples))}, {}
    sides["dense"], sums["dense"] = dense(evaluator.score, params, rows, config.repeats)
    peers, found = transformers_side(params, run, rows, config.repeats)
    rate = sides["trees"]["rows_per_s"]
    for side in (sides | peers).values():
        side["trees_over_it"] = rate / side["rows_per_s"]
    ours = np.concatenate(scored)
    return {
        "rows": len(examples),
        "options": sum(len(example.option_list) for example in examples),
        "sample_rows": len(sample),
        "sample_options": len(ours),
        "prepare": prepared,
        **sides,
        **peers,
        "largest_difference": {
            name: float(abs(ours - other).max()) for name, other in (sums | found).items()
        },
    }


def drawn(examples: Sequence[Example]) -> list[int]:
    """The numbers of all rows of ARCHETYPES archetypes."""
    names = sorted({example.archetype for example in examples})
    chosen = np.random.default_rng(0).permutation(len(names))[:ARCHETYPES]
    kept = {names[i] for i in chosen}
    return [number for number, example in enumerate(examples) if example.archetype in kept]


@dataclasses.dataclass(frozen=True)
class Rows:
    """One row an option: its prompt, its tokens, its archetype; `asked` counts the questions."""

    prompts: tuple[Tokens, ...]
    options: tuple[Tokens, ...]
    archetypes: tuple[str, ...]
    asked: int

    @classmethod
    def of(cls, benchmark: Benchmark, sample: Sequence[int]) -> "Rows":
        """Every option of the sample's examples."""
        pairs = [(number, option) for number in sample for option in benchmark.options[number]]
        return cls(
            tuple(benchmark.prompts[number] for number, _ in pairs),
            tuple(option for _, option in pairs),
            tuple(benchmark.examples[number].archetype for number, _ in pairs),
            len(sample),
        )


def dense_batches(rows: Rows) -> list[ScoreBatch]:
    """Every option with the whole of its prompt, in batches of about one length."""
    whole = [
        Root((), (option_tree(prompt, (option,)),))
        for prompt, option in zip(rows.prompts, rows.options, strict=True)
    ]
    widest = fitting_shape(whole)
    order = sorted(range(len(whole)), key=lambda i: -len(whole[i].trees[0].tokens))
    batches = []
    for start in range(0, len(order), DENSE_ROWS):
        part = order[start : start + DENSE_ROWS]
        roots = [whole[i] for i in part]
        shape = dataclasses.replace(widest, size=fitting_shape(roots).size)
        batches += score_batches(roots, [(i,) for i in part], shape=shape, size=DENSE_ROWS)
    return batches


def dense(score, params, rows: Rows, repeats: int) -> tuple[dict[str, Any], np.ndarray]:
    """The same forward over rows that share nothing: its times, and the options' sums."""
    batches, sums = dense_batches(rows), np.zeros(len(rows.options))

    def one(_):
        for batch in batches:
            for number, found, _ in option_scores(score, params, batch):
                sums[number] = found[0]

    return _rated(measure(one, repeats=repeats), rows.asked), sums


def transformers_side(params, run: RunConfig, rows: Rows, repeats: int):
    """By name what transformers takes on as many threads as here, and the sums it finds."""
    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(made)
        save_model(params, run.model, folder / "model")
        np.savez(
            folder / "rows.npz",
            tokens=np.concatenate([*map(_whole, rows.prompts, rows.options)]),
            lengths=[len(_whole(*row)) for row in zip(rows.prompts, rows.options, strict=True)],
            starts=[len(prompt) for prompt in rows.prompts],
            groups=np.unique(rows.archetypes, return_inverse=True)[1],
        )
        paths = [str(folder / name) for name in ("model", "rows.npz", "result.npz")]
        threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count()))}
        command = [sys.executable, str(PEER), *paths, str(repeats)]
        subprocess.run(command, check=True, env={**os.environ, **threads})
        with np.load(folder / "result.npz") as stored:
            found = dict(stored)
    names = ("batched", "shared")
    sides = {
        f"transformers_{name}": _rated(summary(found[name].tolist()), rows.asked) for name in names
    }
    tried = dict(zip(found["sizes"].tolist(), found["tried"].tolist(), strict=True))
    sides["transformers_batched"] |= {"size": int(found["size"]), "tried_s": tried}
    return sides, {f"transformers_{name}": found[f"{name}_sums"] for name in names}


def _whole(prompt: Tokens, option: Tokens) -> np.ndarray:
    return np.array(prompt + option, np.int32)


def _rated(times: dict[str, Any], rows: int) -> dict[str, Any]:
    return times | {"rows_per_s": rows / times["median_s"]}
