"""Prompts in two parts: what begins all prompts to a person, and a question, each encoded once."""

import functools
import logging
from collections.abc import Sequence

from dvmap_jax.data.forests import Tokens
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.data.trees import common_prefix
from dvmap_jax.survey.prompts import archetype_part, question_part, wrapped

REMEMBERED = 65_536  # questions, whose options may stand in many orders
MARK = "|the user's text|"

Question = tuple[str, tuple[str, ...]]  # its text, and its options as they are listed


class PromptParts:
    """Tokens of prompts of one template, as encoding the whole texts gives them.

    Tokenizers join no text across the border between the two parts but a few last tokens of the
    first; how many is found with one pair and checked with `samples`. Where the check fails, whole
    prompts are encoded.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        template: str,
        system_prompt: str,
        samples: Sequence[tuple[tuple[str, ...], Question]],
    ):
        self._tokenizer, self._template = tokenizer, template
        rendered = tokenizer.render(wrapped(MARK, system_prompt=system_prompt))
        self._before, _, self._after = rendered.partition(MARK)
        self._system_prompt = system_prompt
        person, question = samples[0]
        self._anchor = self._beginning(person)
        first, whole = self._encoded(self._anchor), self._whole(person, question)
        self._start = common_prefix([[*first, -1], [*whole, -2]])
        self._dropped = len(first) - self._start
        self.question = functools.lru_cache(REMEMBERED)(self._question)
        self._in_parts = all(self._fits(*sample) for sample in samples)
        if not self._in_parts:
            logging.warning("prompts of %r are encoded whole: their parts do not join", template)

    def __call__(self, person: tuple[str, ...], questions: Sequence[Question]) -> list[Tokens]:
        """The prompt of each question to a person of these attributes."""
        if not self._in_parts:
            return [self._whole(person, question) for question in questions]
        beginning = self.person(person)
        return [beginning + self.question(question) for question in questions]

    def person(self, person: tuple[str, ...]) -> Tokens:
        """What all prompts to a person begin with."""
        tokens = self._encoded(self._beginning(person))
        return tokens[: len(tokens) - self._dropped]

    def _question(self, question: Question) -> Tokens:
        return self._encoded(self._anchor + self._end(question))[self._start :]

    def _fits(self, person, question) -> bool:
        return self.person(person) + self.question(question) == self._whole(person, question)

    def _whole(self, person, question) -> Tokens:
        text = archetype_part(person, template=self._template)
        text += question_part(*question, template=self._template)
        rendered = self._tokenizer.render(wrapped(text, system_prompt=self._system_prompt))
        return self._encoded(rendered)

    def _beginning(self, person) -> str:
        return self._before + archetype_part(person, template=self._template)

    def _end(self, question: Question) -> str:
        return question_part(*question, template=self._template) + self._after

    def _encoded(self, text: str) -> Tokens:
        return tuple(self._tokenizer.encode(text))
