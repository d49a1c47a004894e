"""The stream of archetypes and their questions: examples in, options as forests with shares out."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from dvmap_jax.data.batches import DataConfig, ShuffledStream, overlong_error, tell_skipped
from dvmap_jax.data.forests import (
    STEP,
    ForestRows,
    ForestShape,
    Root,
    Tokens,
    fitting_shape,
    make_root,
    padded,
    stack_forest,
    trees_that_fit,
)
from dvmap_jax.data.prompt_parts import PromptParts
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.data.trees import TokenRows
from dvmap_jax.survey.codebook import NOT_ANSWERED
from dvmap_jax.survey.corpus import Example, as_table
from dvmap_jax.survey.prompts import FIXED, option_completion, rewordings
from dvmap_jax.survey.table import RecordTable

MEASURED = 256  # archetypes whose forests say how large all are
CHECKED = 16  # prompts encoded whole as well, by template


@dataclasses.dataclass(frozen=True)
class QuestionBatch:
    """Archetypes with Q questions each of K options, as trees, and what respondents answered.

    `paths` are the targets among a root's that make up an option, the first `lengths` of R; an
    option that is not there has none. `shares` are those of the options among the archetype's
    respondents, `support` how many they are, 0 where there is no question. `tokens` counts those of
    a root's trees and trunk, `left_out` its questions for which there was no room; `num_roots` the
    archetypes of all processes.
    """

    levels: tuple[TokenRows, ...]
    forest: ForestRows
    paths: Int[np.ndarray, "B Q K R"]
    lengths: Int[np.ndarray, "B Q K"]
    shares: Float[np.ndarray, "B Q K"]
    support: Float[np.ndarray, "B Q"]
    tokens: Int[np.ndarray, " B"]
    left_out: Int[np.ndarray, " B"]
    num_roots: int


@dataclasses.dataclass(frozen=True)
class QuestionShapes:
    """Padded sizes of a root, its questions, their options and the tokens of an option."""

    forest: ForestShape
    questions: int
    options: int
    tokens: int


class QuestionStream(ShuffledStream):
    """`QuestionBatch` after `QuestionBatch`, sharded by process, all of one shape.

    Every epoch an archetype's questions are shuffled and cut into parts of at most
    `config.questions`; the parts of all archetypes come in one shuffled order. What is drawn
    depends on seed, epoch and part alone.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        config: DataConfig,
        *,
        own: Int[np.ndarray, " b"] | None = None,
    ):
        """`own` are the roots of every global batch that this process computes, all where None.

        Raises ValueError where a prompt is over-long (`overlong="error"`) or where none remains.
        """
        if config.template in FIXED:
            raise ValueError(
                f"data.template is {config.template!r}, whose prompts stand in the corpus; the "
                "objective 'distribution' makes its own: use 'answer' or 'reasoning'"
            )
        self._table, self._config = as_table(examples), config
        self._options = _option_tokens(self._table, tokenizer, config)
        other = rewordings(config.template) if config.rewordings else ()
        self._parts = {
            name: PromptParts(
                tokenizer,
                template=name,
                system_prompt=config.system_prompt,
                samples=[_asked(example) for example in _spread(self._table, CHECKED)],
            )
            for name in (config.template, *other)
        }
        self._archetypes, self.num_skipped = self._fitting_archetypes()
        counts = [-(-len(rows) // config.questions) for rows in self._archetypes]
        self._units = np.repeat(np.arange(len(counts)), counts)
        self._firsts = np.cumsum(counts) - counts
        self.shapes = self._measured()
        super().__init__(len(self._units), config, own)

    def _fitting_archetypes(self) -> tuple[list[np.ndarray], int]:
        """Rows of each archetype whose prompts fit, and the number of those left out."""
        codes, limit = self._table.codes("attributes"), self._config.max_prompt_length
        people = self._table.values("attributes")
        beginnings = np.zeros(len(people), int)
        for code in np.unique(codes):
            beginnings[code] = max(len(each.person(people[code])) for each in self._parts.values())
        self._trunk = padded(int(beginnings.max()) + STEP)
        ends = self._longest_ends()
        long = beginnings[codes] + ends > limit
        if long.any() and self._config.overlong == "error":
            row = int(np.argmax(long))
            tokens = beginnings[codes[row]] + ends[row]
            raise overlong_error(self._table, row, tokens=tokens, limit=limit)
        rows = np.flatnonzero(~long)
        tell_skipped(len(rows), int(long.sum()), limit=limit)
        order = rows[np.argsort(codes[rows], kind="stable")]
        borders = np.flatnonzero(np.diff(codes[order])) + 1
        return np.split(order, borders), int(long.sum())

    def _longest_ends(self) -> Int[np.ndarray, " rows"]:
        """Of each row the tokens of its prompt after what is said of the person."""
        keys = np.stack([self._table.codes(name) for name in ("question", "options")], axis=1)
        pairs, places = np.unique(keys, axis=0, return_inverse=True)
        questions, options = (self._table.values(name) for name in ("question", "options"))
        asked = [(questions[q], self._options[options[o]][0]) for q, o in pairs]
        sizes = [max(len(each.question(one)) for each in self._parts.values()) for one in asked]
        return np.array(sizes)[places.reshape(-1)]

    def _measured(self) -> QuestionShapes:
        """Sizes that hold what is drawn of some archetypes, and little more."""
        rng = np.random.default_rng(self._config.shuffle_seed)
        chosen = rng.permutation(len(self._units))[:MEASURED]
        drawn = [self._drawn(unit, 0) for unit in chosen]
        shape = fitting_shape([root for root, _ in drawn])
        shape = dataclasses.replace(
            shape,
            trunk=self._trunk,
            places=padded(shape.places),
            targets=padded(shape.targets),
        )
        tokens = [row for _, options in self._options.values() for row in options]
        return QuestionShapes(
            shape,
            questions=min(self._config.questions, max(map(len, self._archetypes))),
            options=max(len(options) for _, options in self._options.values()),
            tokens=max(map(len, tokens)),
        )

    def _drawn(self, unit: int, epoch: int) -> tuple[Root, list[Example]]:
        """A part of an archetype's questions as they are asked in an epoch."""
        config, archetype = self._config, self._units[unit]
        size, part = config.questions, unit - self._firsts[archetype]
        seeds = (config.shuffle_seed, epoch, archetype)
        rows = np.random.default_rng(seeds).permutation(self._archetypes[archetype])
        examples = [self._table[row] for row in rows[part * size : (part + 1) * size]]
        rng = np.random.default_rng((*seeds, part))
        person = np.array(examples[0].attributes, object)
        person[rng.random(len(person)) < config.attribute_dropout] = NOT_ANSWERED
        parts = list(self._parts.values())[rng.integers(len(self._parts))]
        asked = [(each.question, self._listed(each, rng)) for each in examples]
        options = [self._options[each.options][1] for each in examples]
        # Few questions may have more in common than what is said of the person.
        root = make_root(parts(tuple(person), asked), options, longest=self._trunk)
        return root, examples

    def _listed(self, example: Example, rng: np.random.Generator) -> tuple[str, ...]:
        """The options as the prompt lists them."""
        options = self._options[example.options][0]
        if self._config.option_order == "codebook":
            return options
        return tuple(options[place] for place in rng.permutation(len(options)))

    def _batch(self, units: np.ndarray, epochs: np.ndarray) -> QuestionBatch:
        pairs = zip(units[self._own], epochs[self._own], strict=True)
        drawn = [self._drawn(unit, int(epoch)) for unit, epoch in pairs]
        shape, roots, asked = self.shapes.forest, [], []
        for root, examples in drawn:
            kept = trees_that_fit(root, shape)
            roots.append(Root(root.trunk, tuple(root.trees[i] for i in kept)))
            asked.append([examples[i] for i in kept])
        levels, forest, firsts = stack_forest(roots, shape, batch=len(roots))
        tokens = [len(each.trunk) + sum(len(tree.tokens) for tree in each.trees) for each in roots]
        left_out = [
            len(examples) - len(kept) for (_, examples), kept in zip(drawn, asked, strict=True)
        ]
        counts = (np.array(tokens, np.int32), np.array(left_out, np.int32))
        return QuestionBatch(
            levels, forest, *self._answers(roots, asked, firsts), *counts, len(units)
        )

    def _answers(self, roots: Sequence[Root], asked, firsts):
        """Where the options of each question are, their tokens, shares and respondents."""
        sizes = self.shapes
        shape = (len(roots), sizes.questions, sizes.options)
        paths = np.zeros((*shape, sizes.tokens), np.int32)
        lengths, shares = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
        support = np.zeros(shape[:2], np.float32)
        for b, (root, examples, places) in enumerate(zip(roots, asked, firsts, strict=True)):
            for q, (tree, example, first) in enumerate(
                zip(root.trees, examples, places, strict=True)
            ):
                for k, path in enumerate(tree.paths):
                    paths[b, q, k, : len(path)], lengths[b, q, k] = path + first, len(path)
                shares[b, q, : len(tree.paths)] = example.answer_shares
                support[b, q] = sum(example.answer_counts or (1,))
        return paths, lengths, shares, support


def _option_tokens(
    table: RecordTable[Example], tokenizer: Tokenizer, config: DataConfig
) -> dict[str, tuple[tuple[str, ...], tuple[Tokens, ...]]]:
    """Texts and completions in tokens of the options of each question, by their joined text.

    The end of the turn belongs to a completion, or a model would not learn to stop.
    """
    found, end = {}, tokenizer.eos_ids[:1]
    for row in np.unique(table.codes("options"), return_index=True)[1]:
        texts = table[row].option_list
        said = [option_completion(each, template=config.template) for each in texts]
        tokens = tuple((*each, *end) for each in tokenizer.encode_batch(said))
        found[table[row].options] = (texts, tokens)
    return found


def _spread(table: Sequence[Example], number: int) -> list[Example]:
    """Some examples from all over the table."""
    return [table[row] for row in np.linspace(0, len(table) - 1, number).astype(int)]


def _asked(example: Example):
    return example.attributes, (example.question, example.option_list)
