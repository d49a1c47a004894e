"""A benchmark made ready: examples in, the trees of tokens that a model answers out."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from dvmap_jax.data.batches import DataConfig, archetype_units, prompt_tokens
from dvmap_jax.data.forests import ForestShape, Tokens, fitting_shape
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.data.trees import PromptTree, TokenRows, bucket, prompt_tree, stack_trees
from dvmap_jax.evaluation.scoring import ScoreBatch, make_roots, score_batches
from dvmap_jax.sharding import rows_on_mesh
from dvmap_jax.survey.corpus import Example
from dvmap_jax.survey.prompts import option_completion


@dataclasses.dataclass(frozen=True)
class PromptBatch:
    """Prompts of a few archetypes as a tree, and the number of each row's example (-1: none)."""

    levels: tuple[TokenRows, ...]
    grid: np.ndarray

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the examples that are there."""
        return tuple(self.grid[self.grid >= 0].tolist())


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Examples with the tokens of their prompts and options, to be answered any number of times.

    `questions` of an archetype make a tree, `batch_size` trees a batch. `nobody` gives for each
    example the number of its question asked of nobody in particular, which counts on from the
    examples; it is empty where nobody is asked.
    """

    name: str
    examples: tuple[Example, ...]
    prompts: tuple[Tokens, ...]
    options: tuple[tuple[Tokens, ...], ...]
    nobody: tuple[int, ...]
    questions: int
    batch_size: int

    @functools.cached_property
    def drawn(self) -> tuple[PromptBatch, ...]:
        """The batches that completions are drawn for."""
        units = archetype_units(self.examples, self.questions)
        trees = [prompt_tree([self.prompts[i] for i in unit], share=True) for unit in units]
        trunk = max(len(tree.trunk) for tree in trees)
        branch = max(len(row) for tree in trees for row in tree.branches)
        how = {"branches": max(map(len, units)), "sizes": (bucket(max(trunk, 1)), bucket(branch))}
        size = rows_on_mesh(self.batch_size)
        return tuple(
            _prompt_batch(units[start : start + size], trees[start : start + size], size, how)
            for start in range(0, len(units), size)
        )

    @property
    def scored(self) -> tuple[ScoreBatch, ...]:
        """The batches whose options are scored."""
        return self._scored[0]

    @property
    def scored_of_nobody(self) -> tuple[ScoreBatch, ...]:
        """The same of the questions asked of nobody in particular, in the same shape."""
        return self._scored[1]

    @property
    def drawn_shapes(self) -> tuple[tuple[int, int], ...]:
        """Rows of each level below a root, and the tokens they are padded to, to draw."""
        return tuple(level.tokens.shape[1:] for level in self.drawn[0].levels)

    @functools.cached_property
    def scored_shape(self) -> ForestShape:
        """The sizes of a root whose options are scored."""
        return fitting_shape([root for roots in self._roots for root in roots])

    @functools.cached_property
    def _units(self):
        """Numbers of the questions of each root: of the archetypes, and of nobody."""
        asked = sorted(set(self.nobody))
        starts = range(0, len(asked), self.questions)
        alone = [tuple(asked[start : start + self.questions]) for start in starts]
        return archetype_units(self.examples, self.questions), alone

    @functools.cached_property
    def _roots(self):
        return [make_roots(units, self.prompts, self.options) for units in self._units]

    @functools.cached_property
    def _scored(self):
        how = {"shape": self.scored_shape, "size": rows_on_mesh(self.batch_size)}
        pairs = zip(self._roots, self._units, strict=True)
        return [score_batches(roots, units, **how) for roots, units in pairs]


def prepare_benchmark(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    data: DataConfig,
    *,
    name: str,
    questions: int,
    batch_size: int,
    contrast: bool = False,
) -> Benchmark:
    """Tokens of what is asked; ValueError for a prompt that is over-long or a lack of options."""
    check_options(examples, name)
    if contrast and data.template == "released":
        raise ValueError(
            "evaluation.normalize is 'contrast', which asks each question of nobody in particular; "
            "the template 'released' cannot: use 'answer' or 'reasoning'"
        )
    alone, nobody = _of_nobody(examples) if contrast else ((), ())
    asked = [*examples, *alone]
    prompts = prompt_tokens(asked, tokenizer, data)
    _check_lengths(asked, prompts, data.max_prompt_length)
    return Benchmark(
        name=name,
        examples=tuple(examples),
        prompts=tuple(map(tuple, prompts)),
        options=_option_tokens(asked, tokenizer, data),
        nobody=nobody,
        questions=questions,
        batch_size=batch_size,
    )


def check_options(examples: Sequence[Example], name: str) -> None:
    """Raises ValueError where a question leaves no choice, or nothing is asked."""
    if not examples:
        raise ValueError(f"benchmark {name!r} has no examples; name a file that has some")
    for number, example in enumerate(examples):
        if len(example.option_list) < 2:
            raise ValueError(
                f"benchmark {name!r} row {number} ({example.question_id}, {example.country}): "
                f"the column Options holds {example.options!r}, {len(example.option_list)} "
                "option; a question needs two or more: correct or remove the row"
            )


def _of_nobody(examples: Sequence[Example]) -> tuple[list[Example], tuple[int, ...]]:
    """Each question with its options once, and for each example the number of its own."""
    numbers: dict[tuple[str, str], int] = {}
    asked, found = [], []
    for example in examples:
        key = (example.question, example.options)
        if key not in numbers:
            numbers[key] = len(examples) + len(asked)
            asked.append(dataclasses.replace(example, attributes=()))
        found.append(numbers[key])
    return asked, tuple(found)


def _option_tokens(examples: Sequence[Example], tokenizer: Tokenizer, data: DataConfig):
    """The tokens of what is scored of each option, every text encoded once."""
    texts = sorted({option for example in examples for option in example.option_list})
    said = [option_completion(text, template=data.template) for text in texts]
    tokens = dict(zip(texts, map(tuple, tokenizer.encode_batch(said)), strict=True))
    return tuple(tuple(tokens[text] for text in example.option_list) for example in examples)


def _check_lengths(examples: Sequence[Example], prompts, limit: int) -> None:
    for number, row in enumerate(prompts):
        if len(row) > limit:
            raise ValueError(
                f"held-out example {number} ({examples[number].question_id}, "
                f"{examples[number].country}) has a prompt of {len(row)} tokens, over "
                f"data.max_prompt_length = {limit}; raise it"
            )


def _prompt_batch(units, trees, size: int, how) -> PromptBatch:
    grid = np.full((size, how["branches"]), -1)
    for row, unit in zip(grid, units, strict=False):
        row[: len(unit)] = unit
    absent = [PromptTree((), ())] * (size - len(units))
    return PromptBatch(stack_trees([*trees, *absent], **how), grid)
