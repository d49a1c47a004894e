"""Rewards: a completion and its example in, named and weighted terms out, whose sum is the reward.

`score` is the original's reward, faults included (original.md A.2); the kind "terms" is ours. Kinds
that look at a whole group of completions are those of `group_rewards`.
"""

import dataclasses
import math

from dvmap_jax.survey.answers import (
    answer_block,
    names_only,
    parse_options,
    read_lenient,
    read_strict,
)
from dvmap_jax.survey.corpus import Example

ORIGINAL_REWARDS = ("wvs", "wvs_d", "wvs_g", "wvs_p")
GROUP_REWARDS = ("quadratic", "energy")
KINDS = ("terms", *ORIGINAL_REWARDS, *GROUP_REWARDS)
OPTIONS_SEMANTICS = ("list", "string")
READERS = {"strict": read_strict, "lenient": read_lenient}

ORIGINAL_WINDOW = 300  # characters at the end of a completion that the original searches
TAG_BONUS = 0.2
TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
BLOCKS = (TAGS[:2], TAGS[2:])
EXACT, NAMED = 2.0, 1.0  # the answer to the letter; the answer among other words
EXACT_GAUSSIAN = 3.0
SIGMA = 0.25  # of the Gaussian reward, in units of the scale's whole length


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    """Which reward a completion earns.

    `options_semantics` is how the original's rewards read the options: "string" as it does,
    character by character, "list" as it means to. The weights are those of the kind "terms":
    `format_weight` for each of the reasoning and the answer block whose two tags occur once and in
    order, `match_weight` for the right answer, and for a wrong one `closeness_weight` times its
    nearness on the scale, 1 - |i - j| / (K - 1). The kinds "quadratic" and "energy" compare a
    group's answers with people's (`group_rewards`) and have nothing for the format; what cannot
    be read earns `unreadable_margin` less than the worst that can. `match` says how either reads
    answers; `answer_window` limits the search to that many last characters (0: none).
    """

    kind: str = "terms"
    options_semantics: str = "list"
    answer_window: int = 0
    match: str = "strict"
    format_weight: float = 0.2
    match_weight: float = 1.0
    closeness_weight: float = 0.0
    unreadable_margin: float = 0.1

    def __post_init__(self):
        allowed = {
            "kind": KINDS,
            "options_semantics": OPTIONS_SEMANTICS,
            "match": tuple(READERS),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"rewards.{name} is {getattr(self, name)!r}; it must be one of {values}"
                )
        if self.answer_window < 0:
            raise ValueError(
                f"rewards.answer_window is {self.answer_window}; it must be positive, or 0 for "
                "the whole completion"
            )
        if self.unreadable_margin < 0:
            raise ValueError(
                f"rewards.unreadable_margin is {self.unreadable_margin}; it cannot be negative"
            )

    @property
    def of_group(self) -> bool:
        """Whether the reward of a completion depends on the others of its group."""
        return self.kind in GROUP_REWARDS


def reward_terms(completion: str, example: Example, config: RewardConfig) -> dict[str, float]:
    """The weighted terms of a completion's reward, always under the same names for a config.

    Raises ValueError for a reward that takes a group of completions, `rewards_of`.
    """
    if config.of_group:
        raise ValueError(f"rewards.kind is {config.kind!r}, which one completion has no terms of")
    if config.kind == "terms":
        return _terms(completion, example, config)
    earned = _original_answer(
        completion,
        options=_options(example.options, config.options_semantics),
        answer=example.answer,
        frequency=example.frequency,
        reward=config.kind,
    )
    return {"format": format_bonus(completion), "answer": earned}


def score(
    completion: str,
    *,
    options: str,
    answer: str,
    frequency: float,
    reward: str,
    options_semantics: str,
) -> float:
    """The original's reward of a completion, under either reading of the comma-joined options."""
    if reward not in ORIGINAL_REWARDS:
        raise ValueError(f"reward is {reward!r}; it must be one of {ORIGINAL_REWARDS}")
    earned = _original_answer(
        completion,
        options=_options(options, options_semantics),
        answer=answer,
        frequency=frequency,
        reward=reward,
    )
    return earned + format_bonus(completion)


def format_bonus(completion: str) -> float:
    """The original's bonus: 0.2 for each of the four tags that occurs anywhere."""
    bonus = 0.0
    for tag in TAGS:
        bonus += TAG_BONUS * (tag in completion)
    return bonus


def closeness(predicted: int, answer: int, num_options: int) -> float:
    """Nearness of two options on their scale: 1 for the same, 0 from end to end."""
    return 1 - abs(predicted - answer) / (num_options - 1)


def _terms(completion: str, example: Example, config: RewardConfig) -> dict[str, float]:
    options, answer = example.option_list, example.answer_index
    read = READERS[config.match](completion, options, config.answer_window or None)
    near = 0.0 if read in (None, answer) else closeness(read, answer, len(options))
    return {
        "format": config.format_weight * _well_formed(completion),
        "match": config.match_weight * (read == answer),
        "closeness": config.closeness_weight * near,
    }


def _well_formed(completion: str) -> int:
    """How many of the two blocks have each of their tags once and in order."""
    return sum(
        completion.count(opening) == completion.count(closing) == 1
        and completion.index(opening) < completion.index(closing)
        for opening, closing in BLOCKS
    )


def _options(options: str, semantics: str) -> tuple[str, ...] | str:
    if semantics not in OPTIONS_SEMANTICS:
        raise ValueError(
            f"options_semantics is {semantics!r}; it must be one of {OPTIONS_SEMANTICS}"
        )
    return options if semantics == "string" else parse_options(options)


def _original_answer(
    completion: str,
    *,
    options: tuple[str, ...] | str,
    answer: str,
    frequency: float,
    reward: str,
) -> float:
    """What the original gives beside its format bonus.

    `options` as a string makes `in` a search for a substring, `index` a place in the text and
    each option a character: that is the original's fault, reproduced by the same expressions.
    """
    block = answer_block(completion, ORIGINAL_WINDOW)
    if block is None:
        return 0.0
    weight = 1 - frequency if reward == "wvs_p" else 1.0
    if block == answer and (reward == "wvs" or block in options):
        return EXACT_GAUSSIAN if reward == "wvs_g" else EXACT * weight
    if reward != "wvs" and block in options:
        return _nearness(block, answer, options, reward) * weight
    if names_only(block, answer, options):
        return NAMED * weight
    others = [option for option in options if option != answer and option in block]
    if reward in ("wvs_d", "wvs_p") and len(others) == 1:
        return 0.5 * _nearness(others[0], answer, options, reward) * weight
    return 0.0


def _nearness(option: str, answer: str, options: tuple[str, ...] | str, reward: str) -> float:
    gap = options.index(option) - options.index(answer)
    if reward == "wvs_g":
        return math.exp(-((gap / (len(options) - 1)) ** 2) / (2 * SIGMA**2))
    return 1 - abs(gap) / len(options)
