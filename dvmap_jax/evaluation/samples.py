"""Completions of one example, whoever wrote them: texts in, a row of results out."""

from collections.abc import Sequence

import numpy as np

from dvmap_jax.evaluation.journal import Row, identity
from dvmap_jax.survey.answers import read_lenient, read_strict
from dvmap_jax.survey.corpus import Example


def generated_row(
    example: Example,
    *,
    benchmark: str,
    number: int,
    texts: Sequence[str],
    truncated: Sequence[bool],
) -> Row:
    """The row of an example that was answered in words, one text a sample, in the order drawn.

    `predicted` is the option that most samples name, the earliest drawn of equal ones, None where
    none can be read; `probabilities` are shares of the samples that can be read, then None as well.
    `correct` counts all samples. `truncated` says of each whether it was cut off. Raises ValueError
    for no text, or where `truncated` has another length.
    """
    if not texts or len(texts) != len(truncated):
        raise ValueError(
            f"benchmark {benchmark!r} row {number}: {len(texts)} completions and "
            f"{len(truncated)} marks of those cut off; give one of each or more, equally many"
        )
    options = example.option_list
    strict = [read_strict(text, options) for text in texts]
    lenient = [read_lenient(text, options) for text in texts]
    read = [index for index in strict if index is not None]
    votes = np.bincount(read, minlength=len(options))
    winner = max(read, key=lambda index: votes[index], default=None)  # the first of equal ones
    return identity(example, benchmark=benchmark, number=number) | {
        "predicted": None if winner is None else options[winner],
        "predictions": [None if index is None else options[index] for index in strict],
        "correct": float(np.mean([index == example.answer_index for index in strict])),
        "correct_lenient": float(np.mean([index == example.answer_index for index in lenient])),
        "probabilities": (votes / len(read)).tolist() if read else None,
        "readable": len(read) / len(texts),
        "truncated": float(np.mean(truncated)),
        "completions": list(texts),
    }
