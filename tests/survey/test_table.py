"""Records as columns: what goes in comes out, and little of it is held."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from dvmap_jax.survey.corpus import Example
from dvmap_jax.survey.synthetic import synthetic_examples
from dvmap_jax.survey.table import RecordTable

EXAMPLES = synthetic_examples(20, seed=4)
TABLE = RecordTable.of(Example, EXAMPLES)


def test_a_table_is_the_sequence_it_was_made_of():
    assert list(TABLE) == list(EXAMPLES) and len(TABLE) == len(EXAMPLES)
    assert TABLE == EXAMPLES and EXAMPLES == TABLE and EXAMPLES[:-1] != TABLE
    assert TABLE[-1] == EXAMPLES[-1] and TABLE[np.int64(3)] == EXAMPLES[3]
    assert TABLE[5:100:7] == EXAMPLES[5:100:7] and TABLE[::-1] == EXAMPLES[::-1]
    changed = [*EXAMPLES[:-1], dataclasses.replace(EXAMPLES[-1], frequency=2.0)]
    assert changed != TABLE
    for place in (len(TABLE), -len(TABLE) - 1):
        with pytest.raises(IndexError):
            TABLE[place]


def test_rows_are_chosen_by_mask_and_by_number_in_their_order():
    mask = np.array([example.country == EXAMPLES[0].country for example in EXAMPLES])
    assert TABLE.select(mask) == [e for e, keep in zip(EXAMPLES, mask, strict=True) if keep]
    assert TABLE.select(np.array([7, 2, 2])) == [EXAMPLES[7], EXAMPLES[2], EXAMPLES[2]]
    assert len(TABLE.select(np.zeros(len(TABLE), bool))) == 0


def test_one_field_is_replaced_and_the_others_stay():
    column = np.arange(len(TABLE)) / 8
    expected = [
        dataclasses.replace(example, frequency=place / 8) for place, example in enumerate(EXAMPLES)
    ]
    assert TABLE.replaced("frequency", column) == expected and TABLE == EXAMPLES


def test_a_row_takes_a_few_bytes():
    """Of the same archetypes ten times over; as records they take some hundred bytes each."""

    def held(times):
        records = (example for _ in range(times) for example in EXAMPLES)
        tracemalloc.start()
        table = RecordTable.of(Example, records)
        bytes_held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return bytes_held, len(table)

    (few, rows), (many, more) = held(1), held(11)
    fields = len(dataclasses.fields(Example))  # of at most 256 values each here: a byte a row
    assert more == 11 * rows and many - few < (more - rows) * (fields + 2)
    assert TABLE.codes("frequency").dtype.itemsize == 1
