"""Several survey files in one: waves with codebooks of their own, batches of new interviews."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Int

from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES, Attribute, Codebook, Question
from dvmap_jax.survey.respondents import (
    BLANK,
    NO_LABEL,
    ReadConfig,
    Respondents,
    read_respondents,
    refuse_twice,
)


def read_surveys(
    paths: Sequence[pathlib.Path],
    codebooks: Sequence[Codebook],
    *,
    questions: Iterable[str],
    config: ReadConfig,
    progress: Callable[[int, int], None] = lambda done, whole: None,
) -> Respondents:
    """The respondents of all files together, in the order of the files.

    There is one codebook for all files or one for each; `questions` are ids. Labels are matched by
    their text, and a question that a file's codebook lacks was not asked in it. Raises ValueError
    for a question that no codebook has or that two codebooks give other options, for a respondent
    who occurs twice in a wave, and whatever `read_respondents` raises for a file.
    """
    if len(codebooks) not in (1, len(paths)):
        raise ValueError(
            f"{len(paths)} survey files and {len(codebooks)} codebooks; give one for all, or as "
            "many as files"
        )
    books = list(codebooks) * (len(paths) if len(codebooks) == 1 else 1)
    joined = joined_codebook(books)
    chosen = joined.chosen(questions)
    sizes = [path.stat().st_size if path.is_file() else 0 for path in paths]
    parts, before = [], 0
    for path, book, size in zip(paths, books, sizes, strict=True):
        own = {question.id for question in book.questions}
        parts.append(
            read_respondents(
                path,
                book,
                questions=book.chosen(q.id for q in chosen if q.id in own),
                config=config,
                progress=functools.partial(_told, progress, before, sum(sizes)),
            )
        )
        before += size
    if len(parts) == 1:
        return parts[0]
    refuse_twice(list(zip(paths, parts, strict=True)))
    return _joined(joined, chosen, parts)


def _told(progress: Callable[[int, int], None], before: int, whole: int, done: int, _: int) -> None:
    progress(before + done, whole)


def joined_codebook(codebooks: Sequence[Codebook]) -> Codebook:
    """One codebook with every attribute, label and question of several; the first names it."""
    found = [{a.name: a for a in codebook.attributes} for codebook in codebooks]
    attributes = [
        _joined_attribute([own[name] for own in found if name in own])
        for name in ATTRIBUTE_NAMES
        if any(name in own for own in found)
    ]
    questions: dict[str, Question] = {}
    for codebook in codebooks:
        for question in codebook.questions:
            known = questions.setdefault(question.id, question)
            if (known.options, known.codes) != (question.options, question.codes):
                raise ValueError(
                    f"question {question.id} has other options or codes in {codebook.name} than "
                    f"in {codebooks[0].name}; give them the same codes in both codebooks"
                )
    missing = dict(pair for codebook in codebooks for pair in codebook.missing)
    return dataclasses.replace(
        codebooks[0],
        attributes=tuple(attributes),
        questions=tuple(questions.values()),
        missing=tuple(missing.items()),
    )


def _joined_attribute(attributes: Sequence[Attribute]) -> Attribute:
    """The first, with the further labels of the others after its own."""
    labels = {label: code for a in reversed(attributes) for code, label in reversed(a.labels)}
    order = dict.fromkeys(label for attribute in attributes for label in attribute.values)
    return dataclasses.replace(
        attributes[0],
        labels=tuple((labels[label], label) for label in order),
        required=any(attribute.required for attribute in attributes),
    )


def _joined(
    codebook: Codebook, questions: tuple[Question, ...], parts: Sequence[Respondents]
) -> Respondents:
    named = all(len(part.ids) for part in parts)
    return Respondents(
        codebook=codebook,
        questions=questions,
        attributes=np.concatenate([_relabelled(part, codebook) for part in parts]),
        answers={
            question.id: np.concatenate(
                [part.answers.get(question.id, np.full(len(part), BLANK)) for part in parts]
            )
            for question in questions
        },
        weights=np.concatenate([part.weights for part in parts]),
        waves=np.concatenate([part.waves for part in parts]),
        ids=np.concatenate([part.ids for part in parts]) if named else np.zeros(0, object),
    )


def _relabelled(part: Respondents, codebook: Codebook) -> Int[np.ndarray, "R A"]:
    """The part's label indices as those of the joined codebook."""
    own = {attribute.name: place for place, attribute in enumerate(part.codebook.attributes)}
    columns = []
    for attribute in codebook.attributes:
        column = np.full(len(part), NO_LABEL, np.int16)
        if attribute.name in own:
            place = own[attribute.name]
            values = part.codebook.attributes[place].values
            table = np.array([*(attribute.values.index(label) for label in values), NO_LABEL])
            column = table[part.attributes[:, place]]
        columns.append(column)
    return np.stack(columns, axis=1)
