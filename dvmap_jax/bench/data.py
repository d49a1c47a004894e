"""The data pipeline alone: tokens a second it delivers, beside what the demo's steps consume.

Prompts are the demo's, of a synthetic corpus and of one ten times as large, from files; each size
and the demo have a process of their own, so that peaks of memory are theirs.
"""

import dataclasses
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import jax

from dvmap_jax.bench.measure import in_fresh_process, measure, peak_memory
from dvmap_jax.bench.settings import BenchConfig, python_file
from dvmap_jax.bench.steps import fresh_state
from dvmap_jax.config import RunConfig, run_config
from dvmap_jax.data.batches import PromptBatch, PromptStream
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.rl.rollouts import RolloutSampler, num_prompt_tokens
from dvmap_jax.survey.corpus import Corpus, CorpusConfig, write_examples
from dvmap_jax.survey.splits import load_corpus
from dvmap_jax.survey.synthetic import synthetic_examples
from dvmap_jax.train.objectives import grpo_objective
from dvmap_jax.train.start import new_tokenizer
from dvmap_jax.train.update import make_update

DEMO = pathlib.Path(__file__).parents[2] / "configs" / "demo.py"
ARCHETYPES = {"corpus": 600, "corpus_x10": 6000}
BATCHES = 16  # a timed call takes so many


def run(config: BenchConfig) -> dict[str, Any]:
    """Delivery from each corpus, the demo's steps, and how many times over they are fed."""
    parts = config.chosen((*ARCHETYPES, "demo"))
    with tempfile.TemporaryDirectory() as folder:
        read = {"corpus" if part == "demo" else part for part in parts}
        files = {name: f"{folder}/{name}.parquet" for name in ARCHETYPES if name in read}
        for name, file in files.items():
            in_fresh_process(write_corpus, ARCHETYPES[name], file)
        found: dict[str, Any] = {
            name: in_fresh_process(delivery, file, BATCHES, config.repeats)
            for name, file in files.items()
            if name in parts
        }
        if "demo" in parts:
            found["demo"] = in_fresh_process(demo_steps, files["corpus"], config)
    return found | ratios(found)


def ratios(found: dict[str, Any]) -> dict[str, float]:
    """How many times over the demo is fed, and what ten times the corpus does to the peak."""
    rates = {name: each["prompt_tokens_per_s"] for name, each in found.items()}
    peaks = {
        name: max(each["peak_rss_mb"], each["peak_rss_mb_start"])
        for name, each in found.items()
        if name in ARCHETYPES
    }
    told = {}
    if {"corpus", "demo"} <= rates.keys():
        told["delivered_over_consumed"] = rates["corpus"] / rates["demo"]
    if len(peaks) == len(ARCHETYPES):
        told["peak_of_ten_times_the_corpus"] = peaks["corpus_x10"] / peaks["corpus"]
    return told


def write_corpus(archetypes: int, file: str) -> dict[str, Any]:
    """Writes so many synthetic archetypes, with an answer to every question each."""
    write_examples(synthetic_examples(archetypes, seed=0), file)
    return {}


def demo_config(file: str) -> RunConfig:
    """The demo's run on the examples of a file."""
    config = run_config(python_file(DEMO).get_config().to_dict())
    return dataclasses.replace(config, corpus=CorpusConfig(path=file))


def prompts_of(config: RunConfig) -> tuple[PromptStream, Tokenizer, Corpus]:
    """The stream of the run's training prompts, with a tokenizer made from some of them."""
    corpus = load_corpus(config.corpus)
    made = new_tokenizer(config, corpus.train[:2000])
    with tempfile.TemporaryDirectory() as folder:
        made.save(pathlib.Path(folder) / "tokenizer")
        tokenizer = Tokenizer.load(pathlib.Path(folder) / "tokenizer")
    return PromptStream(corpus.train, tokenizer, config.data), tokenizer, corpus


def delivery(file: str, batches: int, repeats: int) -> dict[str, Any]:
    """Seconds for so many batches from an iterator that nothing else keeps busy."""
    prompts, _, corpus = prompts_of(demo_config(file))
    start = peak_memory()
    tokens: list[int] = []

    def take(_):
        tokens.append(sum(prompt_tokens(next(prompts)) for _ in range(batches)))

    found = measure(take, repeats=repeats)
    rates = [n / s for n, s in zip(tokens[1:], found["all_s"], strict=True)]
    return found | {
        "examples": len(corpus.train),
        "batches": batches,
        "prompt_tokens": tokens[1:],
        "prompt_tokens_per_s": sorted(rates)[len(rates) // 2],
        "peak_rss_mb_start": start["peak_rss_mb"],  # reading, rendering and measuring all prompts
    }


def demo_steps(file: str, config: BenchConfig) -> dict[str, Any]:
    """The demo's GRPO steps from random parameters, the next batch among their phases."""
    run = demo_config(file)
    prompts, tokenizer, _ = prompts_of(run)
    model = Transformer(run.model, run.compute)
    params = model.init(jax.random.key(0))
    sample = RolloutSampler(
        model,
        tokenizer,
        sampling=run.sampling,
        grpo=run.grpo,
        rewards=run.rewards,
        seed=run.seed,
    )
    objective = grpo_objective(model, run.grpo, run.sampling.temperature)
    update = make_update(objective, model, run.optimizer, run.grpo)
    held = [fresh_state(params, run.optimizer)]
    tokens: list[int] = []

    def step(i) -> Iterator[str]:
        batch = next(prompts)
        tokens.append(prompt_tokens(batch))
        yield "data"
        rollouts = sample(held[0].params, batch, step=i)
        yield "rollout"
        held[0], metrics = update(held[0], rollouts.batch)
        jax.block_until_ready((held, metrics))
        yield "update"

    found = measure(step, repeats=config.repeats, warmup=2)
    rates = [n / s for n, s in zip(tokens[2:], found["all_s"], strict=True)]
    rate = sorted(rates)[len(rates) // 2]
    return found | {"prompt_tokens": tokens[2:], "prompt_tokens_per_s": rate}


def prompt_tokens(batch: PromptBatch) -> int:
    """Tokens of a batch's prompts, what they share once."""
    return num_prompt_tokens(tuple(level.lengths for level in batch.levels))
