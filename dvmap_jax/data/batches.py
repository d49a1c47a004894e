"""The stream of prompt batches: examples in, trees of tokens in one global seeded order out."""

import abc
import dataclasses
import logging
from array import array
from collections.abc import Iterable, Sequence

import grain
import numpy as np
from jaxtyping import Int

from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.data.trees import PromptTree, TokenRows, bucket, prompt_tree, stack_trees
from dvmap_jax.survey.corpus import Example
from dvmap_jax.survey.prompts import SYSTEM_PROMPTS, TEMPLATES, messages

MEASURED_TOGETHER = 256  # prompts tokenised at a time while lengths are measured


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """How examples become prompts and prompts become batches.

    `batch_size` counts prompts, or archetypes with `batch_by="archetype"`, which keeps the
    up to `questions` questions of an archetype together so that their prefix is shared.
    The objective "distribution" always takes archetypes, and is alone in changing what is asked
    from one time to the next: each attribute becomes "Not Answered" with the chance
    `attribute_dropout` (1: nobody in particular is asked), options stand in an order drawn anew
    (`option_order="random"`), and the template is one of its family's at random (`rewordings`).
    """

    template: str = "reasoning"
    system_prompt: str = "default"
    batch_by: str = "prompt"
    batch_size: int = 8
    questions: int = 16
    max_prompt_length: int = 1024
    overlong: str = "error"
    shuffle_seed: int = 0
    attribute_dropout: float = 0.0
    option_order: str = "codebook"
    rewordings: bool = False

    def __post_init__(self):
        allowed = {
            "template": TEMPLATES,
            "system_prompt": tuple(SYSTEM_PROMPTS),
            "batch_by": ("prompt", "archetype"),
            "overlong": ("error", "skip"),
            "option_order": ("codebook", "random"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"data.{name} is {getattr(self, name)!r}; it must be one of {values}"
                )
        for name in ("batch_size", "questions", "max_prompt_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.attribute_dropout <= 1:
            raise ValueError(
                f"data.attribute_dropout is {self.attribute_dropout}; it must be between 0 and 1"
            )


@dataclasses.dataclass(frozen=True)
class PromptBatch:
    """Levels of B trees whose last has N prompts each, and the examples in row-major order.

    `examples` has None where a row is padding; `rows` numbers prompts across all processes, whose
    batch has `num_roots` trees together.
    """

    levels: tuple[TokenRows, ...]
    examples: tuple[Example | None, ...]
    rows: Int[np.ndarray, "B N"]
    num_roots: int


def prompt_tokens(
    examples: Sequence[Example], tokenizer: Tokenizer, config: DataConfig
) -> list[list[int]]:
    """Tokens of each example's whole prompt, chat template included."""
    how = {"template": config.template, "system_prompt": config.system_prompt}
    return tokenizer.encode_batch(
        [tokenizer.render(messages(example, **how)) for example in examples]
    )


class Units(Sequence):
    """Tuples of indices of examples, in two arrays: eight bytes an index and eight a tuple."""

    def __init__(self):
        self._indices, self._ends = array("q"), array("q", [0])

    def append(self, unit: Iterable[int]) -> None:
        """One more."""
        self._indices.extend(unit)
        self._ends.append(len(self._indices))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, place):
        """The tuple at a place, or a list of those of a slice."""
        place = range(len(self))[place]
        if isinstance(place, range):
            return [self[each] for each in place]
        return tuple(self._indices[self._ends[place] : self._ends[place + 1]])


def archetype_units(examples: Sequence[Example], questions: int) -> Units:
    """Indices of examples by archetype, at most `questions` together, in first-seen order."""
    groups: dict[str, array] = {}
    for index, example in enumerate(examples):
        groups.setdefault(example.archetype, array("q")).append(index)
    units = Units()
    for group in groups.values():
        for start in range(0, len(group), questions):
            units.append(group[start : start + questions])
    return units


class ShuffledStream(abc.ABC):
    """An endless iterator of batches of units, in one global order that is new every epoch."""

    def __init__(self, number: int, config: DataConfig, own: Int[np.ndarray, " b"] | None):
        """`number` units there are; `own` are the rows of a batch to compute, all where None."""
        self._own = np.arange(config.batch_size) if own is None else np.asarray(own)

        def batch(places: np.ndarray):
            epochs, units = np.divmod(places, number)
            return self._batch(units, epochs)

        indices = grain.MapDataset.range(number).seed(config.shuffle_seed).shuffle().repeat()
        indices = indices.map_with_index(lambda place, unit: place // number * number + unit)
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
        batches = indices.batch(config.batch_size).map(batch)
        self._iterator = iter(batches.to_iter_dataset(options))

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._iterator)

    def state(self) -> dict:
        """The position in the global order, as JSON values."""
        return self._iterator.get_state()

    def restore(self, state: dict) -> None:
        """Continues from a position that `state` returned."""
        self._iterator.set_state(state)

    @abc.abstractmethod
    def _batch(self, units: np.ndarray, epochs: np.ndarray):
        """This process's rows of one global batch of units, each in its epoch."""


class PromptStream(ShuffledStream):
    """`PromptBatch` after `PromptBatch`, sharded by process.

    All batches have one shape, that of the longest prompts, so that programs compile once.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        config: DataConfig,
        *,
        own: Int[np.ndarray, " b"] | None = None,
    ):
        """`own` are the rows of every global batch that this process computes, all where None.

        Raises ValueError where a prompt is over-long (`overlong="error"`) or where none remains.
        """
        self.examples, self.tokenizer, self.config = examples, tokenizer, config
        share = config.batch_by == "archetype"
        units = archetype_units(examples, config.questions) if share else _singles(examples)
        self.units, (trunk, branch), self.num_skipped = self._measure(units)
        self._branches = max(len(unit) for unit in self.units)
        self._sizes = (bucket(trunk) if share else 0, bucket(branch))
        super().__init__(len(self.units), config, own)

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Rows of each level below a root, and the tokens they are padded to."""
        trunk, branch = self._sizes
        last = (self._branches, branch)
        return ((1, trunk), last) if trunk else (last,)

    def _measure(self, units: Units) -> tuple[Units, np.ndarray, int]:
        """Units whose prompts fit, their longest trunk and branch, and the prompts left out."""
        kept, sizes, skipped = Units(), np.zeros(2, int), 0
        for start in range(0, len(units), MEASURED_TOGETHER):
            part = units[start : start + MEASURED_TOGETHER]
            rows = iter(self._tokens([index for unit in part for index in unit]))
            for unit in part:
                fitting = self._fitting({index: next(rows) for index in unit})
                skipped += len(unit) - len(fitting)
                if fitting:
                    kept.append(fitting)
                    sizes = np.maximum(sizes, self._sizes_of(self._tree(fitting.values())))
        tell_skipped(len(kept), skipped, limit=self.config.max_prompt_length)
        return kept, sizes, skipped

    def _fitting(self, rows: dict[int, list[int]]) -> dict[int, list[int]]:
        limit = self.config.max_prompt_length
        for index, row in rows.items():
            if len(row) > limit and self.config.overlong == "error":
                raise overlong_error(self.examples, index, tokens=len(row), limit=limit)
        return {index: row for index, row in rows.items() if len(row) <= limit}

    def _tokens(self, indices: Sequence[int]) -> list[list[int]]:
        examples = [self.examples[index] for index in indices]
        return prompt_tokens(examples, self.tokenizer, self.config)

    def _tree(self, rows) -> PromptTree:
        return prompt_tree(list(rows), share=self.config.batch_by == "archetype")

    @staticmethod
    def _sizes_of(tree: PromptTree) -> tuple[int, int]:
        return len(tree.trunk), max(len(branch) for branch in tree.branches)

    def _batch(self, units: np.ndarray, epochs: np.ndarray) -> PromptBatch:
        trees, examples = [], []
        for number in units[self._own]:
            unit = self.units[number]
            trees.append(self._tree(self._tokens(unit)))
            padding = [None] * (self._branches - len(unit))
            examples += [self.examples[i] for i in unit] + padding
        rows = np.arange(len(units) * self._branches, dtype=np.int32)
        rows = rows.reshape(len(units), self._branches)[self._own]
        levels = stack_trees(trees, branches=self._branches, sizes=self._sizes)
        return PromptBatch(levels, tuple(examples), rows, len(units))


def overlong_error(
    examples: Sequence[Example], index: int, *, tokens: int, limit: int
) -> ValueError:
    """What is to be said of an example whose prompt has more tokens than it may."""
    example = examples[index]
    return ValueError(
        f"example {index} ({example.question_id}, {example.country}) has a prompt of {tokens} "
        f"tokens, over data.max_prompt_length = {limit}; raise it or set data.overlong='skip'"
    )


def tell_skipped(kept: int, skipped: int, *, limit: int) -> None:
    """Warns of over-long prompts that are skipped; ValueError where nothing else is left."""
    if not kept:
        raise ValueError(
            f"none of {skipped} prompts has at most {limit} tokens; raise data.max_prompt_length"
        )
    if skipped:
        logging.warning("%d over-long prompts are skipped (data.overlong='skip')", skipped)


def _singles(examples: Sequence[Example]) -> Units:
    units = Units()
    for index in range(len(examples)):
        units.append((index,))
    return units
