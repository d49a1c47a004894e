"""A model's answers to held-out examples: exact option probabilities, or generated and read."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
import pandas as pd

from dvmap_jax.data.batches import DataConfig
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.evaluation.answers import Answers
from dvmap_jax.evaluation.journal import Journal, Row, identity
from dvmap_jax.evaluation.prepared import Benchmark, PromptBatch, prepare_benchmark
from dvmap_jax.evaluation.samples import generated_row
from dvmap_jax.evaluation.scoring import option_scorer, option_scores
from dvmap_jax.model.decode import make_decoder
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level
from dvmap_jax.sharding import put_rows, read_rows
from dvmap_jax.survey.corpus import Example

MODES = ("score", "generate")
NORMALIZE = ("sum", "mean", "contrast")


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How held-out examples are answered: by scoring options, by generating, or both.

    `max_examples` (scored) and `max_generated` bound the examples, 0 means all of them.

    `normalize` leaves an option's log-probability as it is ("sum"), divides it by its number of
    tokens ("mean") or subtracts that of the same option where the question is asked of nobody in
    particular ("contrast"; domain-conditional PMI, Holtzman et al. 2021, arXiv:2104.08315).
    `batch_size` counts archetypes; where a mesh does not divide it, the next number that it
    divides is taken.
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
        if self.normalize not in NORMALIZE:
            raise ValueError(f"evaluation.normalize is {self.normalize!r}; use one of {NORMALIZE}")
        for name in ("batch_size", "questions", "samples", "max_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"evaluation.{name} is {getattr(self, name)}; it must be positive")
        if min(self.max_examples, self.max_generated, self.temperature) < 0:
            raise ValueError(
                "evaluation.max_examples, max_generated and temperature cannot be negative"
            )


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
        self.score = option_scorer(model)
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
        `progress` is told the number of examples answered. In "score" mode a row has `logprobs`,
        its options' log-probabilities (nats) as `normalize` has them, and `probabilities`, their
        softmax; in "generate" mode what `generated_row` gives. The draws of a row depend on its
        number and the seed alone. Every process gives all rows; the journal is that of process 0.
        """
        answers = Answers(benchmark.name, journal)
        answered = {"score": self._scored, "generate": self._drawn}[mode]
        for rows in answered(params, benchmark, answers):
            answers.add(rows)
            progress(len(answers))
        return answers.table()

    def prepare(self, examples: Sequence[Example], *, name: str = "heldout") -> Benchmark:
        """The examples' prompts in tokens; `name` is what their rows call the benchmark.

        ValueError where a prompt is over-long or a question has not two options.
        """
        how = {"questions": self.config.questions, "batch_size": self.config.batch_size}
        contrast = self.config.normalize == "contrast"
        return prepare_benchmark(
            examples, self.tokenizer, self.data, name=name, contrast=contrast, **how
        )

    def _scored(self, params, benchmark: Benchmark, answers: Answers) -> Iterator[list[Row]]:
        """Rows of batches that are not all answered."""
        batches = [batch for batch in benchmark.scored if not answers.have(batch.numbers)]
        alone = {
            number: sums
            for batch in (benchmark.scored_of_nobody if batches else ())
            for number, sums, _ in option_scores(self.score, params, batch)
        }
        for batch in batches:
            rows = []
            for number, sums, lengths in option_scores(self.score, params, batch):
                if self.config.normalize == "mean":
                    sums = sums / lengths
                if alone:
                    sums = sums - alone[benchmark.nobody[number]]
                rows.append(_scored_row(benchmark, number, sums))
            yield rows

    def _drawn(self, params, benchmark: Benchmark, answers: Answers) -> Iterator[list[Row]]:
        """Rows of batches that are not all answered."""
        for batch in benchmark.drawn:
            if not answers.have(batch.numbers):
                yield self._completions(params, benchmark, batch)

    def _completions(self, params, benchmark: Benchmark, batch: PromptBatch) -> list[Row]:
        samples = self.config.samples
        B, N = batch.grid.shape
        rows = np.maximum(batch.grid, 0)[..., None] * samples + np.arange(samples)
        rows = rows.reshape(B, N * samples).astype(np.int32)
        key = jax.random.fold_in(jax.random.key(self.config.seed), 2)  # 2: the purpose "evaluate"
        levels = tuple(Level(*level) for level in batch.levels)
        drawn = read_rows(self.decode(params, *put_rows((levels, rows)), key))
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
            for i, n in enumerate(batch.grid.flat)
            if n >= 0
        ]


def generation_sampling(config: EvaluationConfig) -> SamplingConfig:
    """How completions are drawn in an evaluation."""
    return SamplingConfig(temperature=config.temperature, max_tokens=config.max_tokens)


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


def _scored_row(benchmark: Benchmark, number: int, sums: np.ndarray) -> Row:
    """Softmax of the options' scores; the first of equal ones is predicted."""
    example = benchmark.examples[number]
    weights = np.exp(sums - sums.max())
    best = int(np.argmax(sums))
    return identity(example, benchmark=benchmark.name, number=number) | {
        "predicted": example.option_list[best],
        "correct": float(best == example.answer_index),
        "probabilities": (weights / weights.sum()).tolist(),
        "logprobs": sums.tolist(),
    }
