"""A model's answers to held-out examples: exact option probabilities, or generated and read."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np
import pandas as pd

from dvmap_jax.data.batches import DataConfig, archetype_units, prompt_tokens
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.data.trees import PromptTree, TokenRows, bucket, pad_rows, prompt_tree, stack_trees
from dvmap_jax.evaluation.answers import Answers
from dvmap_jax.evaluation.journal import Journal, Row, identity
from dvmap_jax.evaluation.samples import generated_row
from dvmap_jax.model.decode import make_decoder
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level, branch_logprobs
from dvmap_jax.sharding import put_rows, read_rows, rows_on_mesh
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

    @property
    def asked(self) -> list[int]:
        """The numbers of the examples that are there."""
        return self.numbers[self.numbers >= 0].tolist()


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Examples and their prompts as batches of trees, to be answered any number of times.

    `options` are the most a question has and the tokens they are padded to, as they are scored.
    """

    name: str
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
        journal: Journal | None = None,
        progress: Callable[[int], None] = lambda rows: None,
    ) -> pd.DataFrame:
        """One row an example, by number: its identity, what was predicted, whether it is correct.

        Rows that the journal has are not answered again; new ones are in it batch by batch.
        `progress` is told the number of examples answered. In "score" mode a row has
        `probabilities` over its options; in "generate" mode those of `generated_row`. The draws
        of a row depend on its number and the seed alone. Every process gives all rows; the
        journal is that of process 0.
        """
        answer = {"score": self._score, "generate": self._generate}[mode]
        answers = Answers(benchmark.name, journal)
        for batch in benchmark.batches:
            if not all(answers.has(number) for number in batch.asked):
                answers.add(answer(params, benchmark, batch))
                progress(len(answers))
        return answers.table()

    def prepare(self, examples: Sequence[Example], *, name: str = "heldout") -> Benchmark:
        """The examples' prompts in tokens; `name` is what their rows call the benchmark.

        ValueError where a prompt is over-long or a question has not two options.
        """
        self._check_options(examples, name)
        batches = tuple(self._batches(examples))
        lists = {example.option_list for example in examples}
        texts = sorted({self._option(option) for options in lists for option in options})
        longest = max(len(row) for row in self.tokenizer.encode_batch(texts))
        return Benchmark(name, examples, batches, (max(map(len, lists)), bucket(longest)))

    @staticmethod
    def _check_options(examples: Sequence[Example], name: str) -> None:
        if not examples:
            raise ValueError(f"benchmark {name!r} has no examples; name a file that has some")
        for number, example in enumerate(examples):
            if len(example.option_list) < 2:
                raise ValueError(
                    f"benchmark {name!r} row {number} ({example.question_id}, {example.country}): "
                    f"the column Options holds {example.options!r}, {len(example.option_list)} "
                    "option; a question needs two or more: correct or remove the row"
                )

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

    def _score(self, params, benchmark: Benchmark, batch: EvaluationBatch) -> list[Row]:
        (options, size), examples = benchmark.options, benchmark.examples
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
        return [_scored(benchmark, n, row) for n, row in rows if n >= 0]

    def _encoded(self, texts):
        return zip(self.tokenizer.encode_batch(texts), texts, strict=True)

    def _generate(self, params, benchmark: Benchmark, batch: EvaluationBatch) -> list[Row]:
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
            generated_row(
                benchmark.examples[n],
                benchmark=benchmark.name,
                number=n,
                texts=self.tokenizer.decode_rows(tokens[i], lengths[i]),
                truncated=~ended[i],
            )
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


def _scored(benchmark: Benchmark, number: int, sums: np.ndarray) -> Row:
    """Softmax of the options' log-probabilities; the first of equal ones is predicted."""
    example = benchmark.examples[number]
    sums = sums[: len(example.option_list)].astype(np.float64)
    weights = np.exp(sums - sums.max())
    best = int(np.argmax(sums))
    return identity(example, benchmark=benchmark.name, number=number) | {
        "predicted": example.option_list[best],
        "correct": float(best == example.answer_index),
        "probabilities": (weights / weights.sum()).tolist(),
        "logprobs": sums.tolist(),
    }
