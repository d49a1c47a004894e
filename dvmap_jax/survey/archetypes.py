"""Archetypes: respondents in, the answer of each group of equal attributes to each question out.

Two rules. `released` rebuilds DVMap's released corpus: the mode of the raw codes, recoded after
it, with no minimum of respondents. `consensus` is what its paper describes: cells whose
respondents agree. Both give every cell its support, entropy and consensus share.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES, Question, check_names
from dvmap_jax.survey.respondents import NO_LABEL, Respondents

RULES = ("released", "consensus")
LABELS = ("mode", "distribution")
ABSENT = -1  # the answer of a cell that nobody answered
LARGEST_KEY = 2**62
EVEN = 1e-9  # weighted counts this close, relatively, are a tie


@dataclasses.dataclass(frozen=True)
class RuleConfig:
    """How respondents become archetypes and which cells are kept.

    `attributes` are those that are grouped by, all where empty; the others are "Not Answered".
    `min_support` and `max_entropy` belong to the rule "consensus"; `max_entropy=0` is strict
    unanimity. `weighted` counts respondents by their survey weights. `labels="distribution"`
    keeps, beside the mode, the shares of all options as `answer_shares`.
    """

    rule: str = "released"
    attributes: tuple[str, ...] = ()
    min_support: int = 2
    max_entropy: float = 0.5
    weighted: bool = False
    labels: str = "mode"

    def __post_init__(self):
        for name, value, known in (("rule", self.rule, RULES), ("labels", self.labels, LABELS)):
            if value not in known:
                raise ValueError(f"{name} is {value!r}; it must be one of {known}")
        check_names("no attribute is called", self.attributes, ATTRIBUTE_NAMES)
        if self.min_support < 1 or not 0 <= self.max_entropy <= 1:
            raise ValueError(
                f"min_support is {self.min_support} and max_entropy {self.max_entropy}; they must "
                "be at least 1 and between 0 and 1"
            )


@dataclasses.dataclass(frozen=True)
class Archetypes:
    """Groups of respondents of one wave with equal attributes.

    `attributes` has a row of label indices for each, in ascending order; `members` gives each
    respondent's archetype, -1 for who lacks a required attribute.
    """

    attributes: Int[np.ndarray, "G A"]
    waves: Int[np.ndarray, " G"]
    members: Int[np.ndarray, " R"]
    num_dropped: dict[str, int]

    def __len__(self) -> int:
        return len(self.attributes)


@dataclasses.dataclass(frozen=True)
class Cells:
    """The answers of every archetype to one question.

    `counts` are by option, after recoding; `support` counts respondents, never weights. `answer`
    is the option's index, -1 where nobody answered; `entropy` is that of the shares over the
    logarithm of the number of options, and `share` the answer's share.
    """

    question: Question
    counts: Float[np.ndarray, "G K"]
    support: Int[np.ndarray, " G"]
    answer: Int[np.ndarray, " G"]
    entropy: Float[np.ndarray, " G"]
    share: Float[np.ndarray, " G"]


def group_respondents(respondents: Respondents, attributes: tuple[str, ...] = ()) -> Archetypes:
    """Groups by wave and the named attributes, all where empty; there is no minimum size."""
    codebook, labels = respondents.codebook, respondents.attributes
    complete = np.ones(len(respondents), bool)
    dropped = {}
    for place, attribute in enumerate(codebook.attributes):
        grouped = not attributes or attribute.name in attributes
        if not grouped:
            labels = labels.copy()
            labels[:, place] = NO_LABEL
        if grouped and attribute.required:
            lacking = complete & (labels[:, place] == NO_LABEL)
            dropped[attribute.name] = int(lacking.sum())
            complete &= ~lacking
    labels, waves = labels[complete], respondents.waves[complete]
    keys = row_keys(np.column_stack([labels, waves]))
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    members = np.full(len(respondents), -1)
    members[complete] = inverse
    return Archetypes(labels[first], waves[first], members, dropped)


def row_keys(rows: Int[np.ndarray, "N A"]) -> Int[np.ndarray, " N"]:
    """A number for each row of values of at least -1, in the rows' order; equal for equal rows."""
    keys, span = np.zeros(len(rows), np.int64), 1
    for column in rows.T.astype(np.int64):
        width = int(column.max(initial=0)) + 2
        if span * width > LARGEST_KEY:
            _, keys = np.unique(keys, return_inverse=True)
            span = int(keys.max()) + 1
        keys, span = keys * width + column + 1, span * width
    return keys


def cells_of(
    respondents: Respondents,
    archetypes: Archetypes,
    question: Question,
    *,
    config: RuleConfig,
) -> Cells:
    """Counts the answers of every archetype and takes the rule's answer.

    The answer is the mode; of tied codes, sorted, the one at half their number (the upper
    middle). The released rule takes it of the raw codes and recodes it afterwards, the
    consensus rule of the recoded options.
    """
    raw = np.array(question.raw_codes)
    option = np.array([_option(question, code) for code in raw])
    codes = respondents.answers[question.id]
    answered = (archetypes.members >= 0) & np.isin(codes, raw)
    rows = archetypes.members[answered]
    columns = np.searchsorted(raw, codes[answered])
    weights = respondents.weights[answered] if config.weighted else None
    shape = (len(archetypes), len(raw))
    flat = np.bincount(rows * len(raw) + columns, weights, minlength=shape[0] * shape[1])
    by_code = flat.reshape(shape).astype(float)
    counts = by_code @ (option[:, None] == np.arange(len(question.options)))
    support = np.bincount(rows, minlength=len(archetypes))
    if config.rule == "released":
        answer = option[upper_middle_mode(by_code)]
    else:
        answer = upper_middle_mode(counts)
    total = counts.sum(axis=1)
    shares = counts / np.where(total > 0, total, 1)[:, None]
    return Cells(
        question=question,
        counts=counts,
        support=support,
        answer=np.where(total > 0, answer, ABSENT),
        entropy=answer_entropy(shares),
        share=np.take_along_axis(shares, answer[:, None], axis=1)[:, 0],
    )


def upper_middle_mode(counts: Float[np.ndarray, "G K"]) -> Int[np.ndarray, " G"]:
    """The column with the largest count; of n tied columns the one with n // 2 before it."""
    tied = counts >= counts.max(axis=1, keepdims=True) * (1 - EVEN)
    before = np.cumsum(tied, axis=1) - 1
    return (tied & (before == tied.sum(axis=1, keepdims=True) // 2)).argmax(axis=1)


def answer_entropy(shares: Float[np.ndarray, "G K"]) -> Float[np.ndarray, " G"]:
    """Entropy of the shares over log K: 0 where all agree, 1 where all options are even."""
    logs = np.log(np.where(shares > 0, shares, 1))
    return np.abs((shares * logs).sum(axis=1)) / np.log(shares.shape[1])


def kept_cells(cells: Cells, config: RuleConfig) -> Bool[np.ndarray, " G"]:
    """Which cells belong to the corpus under the rule."""
    answered = cells.answer != ABSENT
    if config.rule == "released":
        return answered
    agreed = cells.entropy <= config.max_entropy
    return answered & agreed & (cells.support >= config.min_support)


def _option(question: Question, code: int) -> int:
    return next(index for index, codes in enumerate(question.codes) if code in codes)
