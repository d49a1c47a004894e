"""A model's answers to held-out examples: exact option probabilities, or generated and read."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
import pandas as pd

from dvmap_jax.data.batches import DataConfig, archetype_units, prompt_tokens
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.data.trees import PromptTree, TokenRows, bucket, pad_rows, prompt_tree, stack_trees
from dvmap_jax.model.decode import make_decoder
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level, branch_logprobs
from dvmap_jax.sharding import put_rows, read_rows, rows_on_mesh
from dvmap_jax.survey.answers import read_lenient, read_strict
from dvmap_jax.survey.corpus import Example
from dvmap_jax.survey.prompts import option_completion

MODES = ("score", "generate")


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How held-out examples are answered: by scoring options, by generating, or both.

    `max_examples` (scored) and `max_generated` bound the examples, 0 means all of them.

    `normalize` divides an option's log-probability by its number of tokens ("mean") or
    not ("sum"). `batch_size` counts archetypes; where a mesh does not divide it, the next number
    that it divides is taken.
    """

    modes: tuple[str, ...] = ("score",)
    normalize: str = "sum"
    batch_size: int = 8
    questions: int = 16
    max_examples: int = 0
    max_generated: int = 0
    samples: int = 1
    temperature: float = 0.7
    max_tokens: int = 1024
    seed: int = 0

    def __post_init__(self):
        if not self.modes or not set(self.modes) <= set(MODES):
            raise ValueError(f"evaluation.modes is {self.modes!r}; use one or both of {MODES}")
        if self.normalize not in ("sum", "mean"):
            raise ValueError(f"evaluation.normalize is {self.normalize!r}; use 'sum' or 'mean'")
        for name in ("batch_size", "questions", "samples", "max_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"evaluation.{name} is {getattr(self, name)}; it must be positive")
        if min(self.max_examples, self.max_generated, self.temperature) < 0:
            raise ValueError(
                "evaluation.max_examples, max_generated and temperature cannot be negative"
            )


@dataclasses.dataclass(frozen=True)
class EvaluationBatch:
    """Prompts of a few archetypes as a tree, and the number of each row's example (-1: none)."""

    levels: tuple[TokenRows, ...]
    numbers: np.ndarray


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Examples and their prompts as batches of trees, to be answered any number of times.

    `options` are the most a question has and the tokens they are padded to, as they are scored.
    """

    examples: Sequence[Example]
    batches: tuple[EvaluationBatch, ...]
    options: tuple[int, int]

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Rows of each level below a root, and the tokens they are padded to."""
        return tuple(level.tokens.shape[1:] for level in self.batches[0].levels)


class Evaluator:
    """Answers examples with a model, archetype by archetype, so that prefixes are shared."""

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        *,
        config: EvaluationConfig,
        data: DataConfig,
        decoder: Transformer | None = None,
    ):
        """`decoder` is the model in the layout that completions are drawn under."""
        self.tokenizer, self.config, self.data = tokenizer, config, data
        sampling = generation_sampling(config)
        self.logprobs = option_scorer(model)
        self.decode = make_decoder(decoder or model, eos_ids=tokenizer.eos_ids, sampling=sampling)

    def __call__(
        self,
        params: dict,
        benchmark: Benchmark,
        *,
        mode: str,
        progress: Callable[[int], None] = lambda rows: None,
    ) -> pd.DataFrame:
        """One row an example: its identity, what was predicted, and whether it is correct.

        `progress` is told the number of examples answered, batch by batch. In "score" mode a
        row has `probabilities` over its options; in "generate" mode `completions`, and
        `correct` is the share of the samples that are.
        """
        answer = {
            "score": functools.partial(self._score, benchmark.options),
            "generate": self._generate,
        }[mode]
        rows: list[dict] = []
        for batch in benchmark.batches:
            rows += answer(params, benchmark.examples, batch)
            progress(len(rows))
        return pd.DataFrame(sorted(rows, key=lambda row: row["number"]))

    def prepare(self, examples: Sequence[Example]) -> Benchmark:
        """The examples' prompts in tokens; ValueError where one is over-long."""
        batches = tuple(self._batches(examples))
        lists = {example.option_list for example in examples}
        texts = sorted({self._option(option) for options in lists for option in options})
        longest = max(len(row) for row in self.tokenizer.encode_batch(texts))
        return Benchmark(examples, batches, (max(map(len, lists)), bucket(longest)))

    def _option(self, option: str) -> str:
        """What is scored of an option."""
        return option_completion(option, template=self.data.template)

    def _batches(self, examples: Sequence[Example]):
        units = archetype_units(examples, self.config.questions)
        tokens = prompt_tokens(examples, self.tokenizer, self.data)
        self._check_lengths(examples, tokens)
        trees = [prompt_tree([tokens[i] for i in unit], share=True) for unit in units]
        sizes = _sizes(trees)
        branches = max(len(unit) for unit in units)
        batch_size = rows_on_mesh(self.config.batch_size)
        for start in range(0, len(units), batch_size):
            part = slice(start, start + batch_size)
            padding = batch_size - len(units[part])
            numbers = np.full((batch_size, branches), -1)
            for row, unit in enumerate(units[part]):
                numbers[row, : len(unit)] = unit
            absent = [PromptTree((), ())] * padding
            levels = stack_trees([*trees[part], *absent], branches=branches, sizes=sizes)
            yield EvaluationBatch(levels, numbers)

    def _check_lengths(self, examples, tokens):
        limit = self.data.max_prompt_length
        for number, row in enumerate(tokens):
            if len(row) > limit:
                raise ValueError(
                    f"held-out example {number} ({examples[number].question_id}, "
                    f"{examples[number].country}) has a prompt of {len(row)} tokens, over "
                    f"data.max_prompt_length = {limit}; raise it"
                )

    def _score(self, shape, params, examples, batch: EvaluationBatch) -> list[dict]:
        options, size = shape
        texts = [
            self._option(option)
            for number in batch.numbers.flat
            for option in _padded(examples[number].option_list if number >= 0 else (), options)
        ]
        encoded = [row if text else [] for row, text in self._encoded(texts)]
        B, N = batch.numbers.shape
        branches = pad_rows(encoded, (B, N * options, size))
        inputs = put_rows((_levels(batch.levels), Level(*branches)))
        logprobs = read_rows(self.logprobs(params, *inputs))
        counted = np.arange(size) < branches.lengths[..., None]
        sums = np.where(counted, logprobs, 0).sum(axis=-1)
        if self.config.normalize == "mean":
            sums = sums / np.maximum(branches.lengths, 1)
        rows = zip(batch.numbers.flat, sums.reshape(B * N, options), strict=True)
        return [_scored(n, examples[n], row) for n, row in rows if n >= 0]

    def _encoded(self, texts):
        return zip(self.tokenizer.encode_batch(texts), texts, strict=True)

    def _generate(self, params, examples, batch: EvaluationBatch) -> list[dict]:
        samples = self.config.samples
        B, N = batch.numbers.shape
        rows = np.maximum(batch.numbers, 0)[..., None] * samples + np.arange(samples)
        rows = rows.reshape(B, N * samples).astype(np.int32)
        key = jax.random.fold_in(jax.random.key(self.config.seed), 2)  # 2: the purpose "evaluate"
        drawn = read_rows(self.decode(params, *put_rows((_levels(batch.levels), rows)), key))
        tokens = drawn.tokens.reshape(B * N, samples, -1)
        lengths = drawn.lengths.reshape(B * N, samples)
        ended = drawn.ended.reshape(B * N, samples)
        return [
            _generated(n, examples[n], self.tokenizer.decode_rows(tokens[i], lengths[i]), ended[i])
            for i, n in enumerate(batch.numbers.flat)
            if n >= 0
        ]


def generation_sampling(config: EvaluationConfig) -> SamplingConfig:
    """How completions are drawn in an evaluation."""
    return SamplingConfig(temperature=config.temperature, max_tokens=config.max_tokens)


def option_scorer(model: Transformer):
    """`score(params, levels, branches) -> [B, M, R]`: log-probabilities of options, compiled."""

    def score_options(params, levels, branches):
        return branch_logprobs(model, params, levels, branches)[0]

    return jax.jit(score_options)


def chosen(
    examples: Sequence[Example], config: EvaluationConfig, *, mode: str
) -> Sequence[Example]:
    """What the config has evaluated in this mode: archetypes in a seeded order up to its count."""
    count = config.max_examples if mode == "score" else config.max_generated
    if not count or count >= len(examples):
        return examples
    names = sorted({example.archetype for example in examples})
    order = np.random.default_rng(config.seed).permutation(len(names))
    rank = {names[i]: place for place, i in enumerate(order)}
    return sorted(examples, key=lambda example: rank[example.archetype])[:count]


def _levels(levels: tuple[TokenRows, ...]) -> tuple[Level, ...]:
    return tuple(Level(*level) for level in levels)


def _sizes(trees: Sequence[PromptTree]) -> tuple[int, int]:
    trunk = max(len(tree.trunk) for tree in trees)
    branch = max(len(row) for tree in trees for row in tree.branches)
    return bucket(max(trunk, 1)), bucket(branch)


def _padded(options: tuple[str, ...], size: int) -> tuple[str, ...]:
    return options + ("",) * (size - len(options))


def _identity(number: int, example: Example) -> dict:
    return {
        "number": int(number),
        "question_id": example.question_id,
        "country": example.country,
        "archetype": example.archetype,
        "answer": example.answer,
    }


def _scored(number: int, example: Example, sums: np.ndarray) -> dict:
    """Softmax of the options' log-probabilities; the first of equal ones is predicted."""
    sums = sums[: len(example.option_list)].astype(np.float64)
    weights = np.exp(sums - sums.max())
    best = int(np.argmax(sums))
    return _identity(number, example) | {
        "predicted": example.option_list[best],
        "correct": float(best == example.answer_index),
        "probabilities": (weights / weights.sum()).tolist(),
        "logprobs": sums.tolist(),
    }


def _generated(number: int, example: Example, texts: list[str], ended: np.ndarray) -> dict:
    strict = [read_strict(text, example.option_list) for text in texts]
    lenient = [read_lenient(text, example.option_list) for text in texts]
    read = [None if index is None else example.option_list[index] for index in strict]
    return _identity(number, example) | {
        "predicted": read[0] if len(read) == 1 else read,
        "correct": float(np.mean([index == example.answer_index for index in strict])),
        "correct_lenient": float(np.mean([index == example.answer_index for index in lenient])),
        "readable": float(np.mean([index is not None for index in strict])),
        "truncated": float(1 - ended.mean()),
        "completions": texts,
    }
