"""A survey whose answers hang on country and life stage, and predictors of which all is known."""

import dataclasses
import zlib

import numpy as np
import pandas as pd

from dvmap_jax.evaluation.journal import identity
from dvmap_jax.survey.codebook import COUNTRY, LIFE_STAGE, NOT_ANSWERED, QUESTIONS
from dvmap_jax.survey.corpus import Example
from dvmap_jax.survey.synthetic import population

COUNTRIES, STAGES = COUNTRY.values[:4], LIFE_STAGE.values
STAGE = 8  # place of the life stage among the attributes
ASKED = [question for question in QUESTIONS if len(question.options) == 4][:4]


def known_examples(seed: int, *, archetypes: int = 48, noise: float = 0.2) -> list[Example]:
    """Four questions: two are answered by the country, two by the life stage, with noise."""
    rng = np.random.default_rng(seed)
    persons = population(np.arange(3 * archetypes) % len(COUNTRIES), rng).tolist()
    persons = list(dict.fromkeys(map(tuple, persons)))[:archetypes]
    return [
        example_of(person, question, rng.random() < noise, rng)
        for person in persons
        for question in range(len(ASKED))
    ]


def example_of(person, question: int, mistaken: bool, rng) -> Example:
    options = ASKED[question].options
    place = rng.integers(len(options)) if mistaken else told(person, question)
    return Example(
        question_id=ASKED[question].id,
        country=person[0],
        attributes=person,
        category=ASKED[question].section,
        question=ASKED[question].text,
        options=", ".join(options),
        answer=options[place],
        frequency=0.5,
        prompt="as released",
    )


def told(person, question: int) -> int:
    """The option that the country or the life stage tells; the first where it is not known."""
    labels, label = ((COUNTRIES, person[0]), (STAGES, person[STAGE]))[question % 2]
    return labels.index(label) % 4 if label != NOT_ANSWERED else 0


@dataclasses.dataclass
class Known:
    """Answers by what it uses: "country", "stage"; a share of the answers is drawn at random.

    What is drawn is another for each name asked under, so that two askings are independent.
    """

    uses: tuple[str, ...] = ()
    drawn: float = 0.3
    seed: int = 0
    asked: dict = dataclasses.field(default_factory=dict)

    def __call__(self, examples, *, name, template=None) -> pd.DataFrame:
        self.asked[name] = (examples, template)
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        at_random = rng.random(len(examples)) < self.drawn
        guesses = rng.integers(4, size=len(examples))
        rows = []
        for number, example in enumerate(examples):
            options = ASKED[self._question(example)].options
            chosen = options[guesses[number] if at_random[number] else self._place(example)]
            known = {"predicted": chosen, "correct": float(chosen == example.answer)}
            rows.append(identity(example, benchmark=name, number=number) | known)
        return pd.DataFrame(rows)

    @staticmethod
    def _question(example) -> int:
        return [question.id for question in ASKED].index(example.question_id)

    def _place(self, example) -> int:
        question = self._question(example)
        uses = ("country", "stage")[question % 2] in self.uses and example.attributes
        return told(example.attributes, question) if uses else 0
