"""Packing: lengths of the completions of each prompt in; where each lies in fewer rows out."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

QUARTERS = (1, 2)  # rows of a prompt that are compiled for, in quarters of its completions


class Places(NamedTuple):
    """The row of its prompt that each completion lies in, and where in the row it starts."""

    rows: Int[np.ndarray, "P G"]
    starts: Int[np.ndarray, "P G"]


class PackedRows(NamedTuple):
    """Completions of B roots in rows of S tokens, and where in a root's rows each is found.

    Fields as in `model.tree.PackedLevel`, 0 in padding; `index` counts a root's tokens row by row.
    """

    tokens: Int[np.ndarray, "B N S"]
    depths: Int[np.ndarray, "B N S"]
    ends: Int[np.ndarray, "B N S"]
    index: Int[np.ndarray, "B M R"]


def first_fit(lengths: Int[np.ndarray, "P G"], size: int) -> Places:
    """Longest first (of equals the first), each in the first row of `size` that has room."""
    order = np.argsort(-lengths, axis=-1, kind="stable")
    taken = np.zeros_like(lengths)
    rows, starts = np.zeros_like(lengths), np.zeros_like(lengths)
    prompts = np.arange(len(lengths))
    for chosen in order.T:
        length = lengths[prompts, chosen]
        row = (taken + length[:, None] <= size).argmax(axis=-1)
        rows[prompts, chosen], starts[prompts, chosen] = row, taken[prompts, row]
        taken[prompts, row] += length
    return Places(rows, starts)


def rows_needed(lengths: Int[np.ndarray, "P G"], size: int) -> int:
    """Rows of `size` tokens that hold the completions of every prompt, of few possible numbers.

    0 where each completion needs a row of its own.
    """
    used = int(first_fit(lengths, size).rows.max(initial=0, where=lengths > 0)) + 1
    return next((rows for rows in row_numbers(lengths.shape[-1]) if rows >= used), 0)


def row_numbers(group: int) -> tuple[int, ...]:
    """The numbers of rows that `group` completions may be packed into, all of them fewer."""
    numbers = dict.fromkeys(-(-group * part // 4) for part in QUARTERS)
    return tuple(number for number in numbers if number < group)


def pack_rows(
    tokens: Int[np.ndarray, "B M R"], lengths: Int[np.ndarray, "B M"], *, group: int, rows: int
) -> PackedRows:
    """Each group of M's completions in `rows` rows of R tokens, which must suffice."""
    roots, branches, size = tokens.shape
    places = first_fit(lengths.reshape(-1, group), size)
    assert places.rows.max(initial=0, where=lengths.reshape(-1, group) > 0) < rows
    row, start = (x.reshape(roots, branches) for x in places)
    first = (row + np.arange(branches) // group * rows) * size + start
    within = np.arange(size)
    valid = within < lengths[..., None]
    shape = (roots, branches // group * rows * size)
    index = np.minimum(first[..., None] + within, shape[1] - 1).astype(np.int32)

    def packed(values):
        laid = np.zeros(shape, np.int32)
        root = np.broadcast_to(np.arange(roots)[:, None, None], valid.shape)
        laid[root[valid], index[valid]] = np.broadcast_to(values, valid.shape)[valid]
        return laid.reshape(roots, -1, size)

    return PackedRows(packed(tokens), packed(within), packed((start + lengths)[..., None]), index)
