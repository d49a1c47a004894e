"""Corpus files read, written and refused; released data only where they lie beside the project."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dvmap_jax.survey.codebook import ATTRIBUTES, QUESTIONS
from dvmap_jax.survey.corpus import (
    COLUMNS,
    EXAMPLES_FILE,
    Example,
    read_examples,
    with_frequency,
    write_examples,
)

RELEASED = Path(__file__).parents[3] / "shared" / "dvmap_corpus" / "dev.parquet"


def invented(count=6, **changes) -> list[Example]:
    """Examples of nobody: attributes and answers counted through the codebook."""
    return [
        Example(
            question_id=QUESTIONS[i % 3].id,
            country=ATTRIBUTES[0].values[i % 2],
            attributes=tuple(a.values[i % 2] for a in ATTRIBUTES),
            category=QUESTIONS[i % 3].section,
            question=QUESTIONS[i % 3].text,
            options=", ".join(QUESTIONS[i % 3].options),
            answer=QUESTIONS[i % 3].options[i % 4],
            frequency=0.25,
            **changes,
        )
        for i in range(count)
    ]


def frame_of(tmp_path, examples) -> pd.DataFrame:
    write_examples(examples, tmp_path / "valid.parquet")
    return pd.read_parquet(tmp_path / "valid.parquet")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"support": 3, "entropy": 0.5, "consensus_share": 2 / 3},
        {"prompt": "Who?"},
        {"answer_counts": (2.5, 0.0, 1.0, 0.0)},
    ],
)
def test_written_examples_are_read_back_equal(tmp_path, changes):
    examples = tuple(invented(**changes))
    write_examples(examples, tmp_path / "corpus" / EXAMPLES_FILE)
    assert read_examples(tmp_path / "corpus") == examples
    assert read_examples(tmp_path / "corpus" / EXAMPLES_FILE) == examples


def test_equal_examples_make_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_examples(invented(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b"]


def test_arrow_folder_reads_like_the_parquet_file(tmp_path):
    table = pa.Table.from_pandas(frame_of(tmp_path, invented()), preserve_index=False)
    folder = tmp_path / "cross_country"
    folder.mkdir()
    names = ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    for name, part in zip(names, (table.slice(0, 4), table.slice(4)), strict=True):
        with (
            pa.OSFile(str(folder / name), "wb") as sink,
            pa.ipc.new_stream(sink, table.schema) as w,
        ):
            w.write_table(part)
    state = {"_data_files": [{"filename": name} for name in names], "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    assert read_examples(folder) == read_examples(tmp_path / "valid.parquet")
    (folder / names[1]).unlink()
    with pytest.raises(FileNotFoundError, match="data-00001-of-00002.arrow is missing"):
        read_examples(folder)


def test_options_stored_as_a_list_are_joined(tmp_path):
    frame = frame_of(tmp_path, invented())
    frame["Options"] = [text.split(", ") for text in frame["Options"]]
    frame.to_parquet(tmp_path / "lists.parquet")
    assert read_examples(tmp_path / "lists.parquet") == tuple(invented())


def test_missing_path_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no corpus at .*absent.parquet"):
        read_examples(tmp_path / "absent.parquet")
    with pytest.raises(ValueError, match="holds neither examples.parquet nor state.json"):
        read_examples(tmp_path)


def test_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "notes.parquet").write_text("not a table")
    with pytest.raises(ValueError, match="notes.parquet is not a readable parquet file"):
        read_examples(tmp_path / "notes.parquet")


@pytest.mark.parametrize("keep", [0, 3, 500, -20])
def test_truncated_file_is_named(tmp_path, keep):
    frame_of(tmp_path, invented())
    content = (tmp_path / "valid.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(content[:keep])
    with pytest.raises(ValueError, match="cut.parquet is not a readable parquet file"):
        read_examples(tmp_path / "cut.parquet")


def test_overwritten_content_is_named(tmp_path):
    frame_of(tmp_path, invented(600))
    content = bytearray((tmp_path / "valid.parquet").read_bytes())
    content[4:200] = bytes(196)
    (tmp_path / "spoilt.parquet").write_bytes(content)
    with pytest.raises(ValueError, match="spoilt.parquet is not a readable parquet file"):
        read_examples(tmp_path / "spoilt.parquet")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("{}", "state.json does not list Arrow files"),
        ("nonsense", "state.json does not list Arrow files"),
        ('{"_data_files": []}', "state.json lists no Arrow files"),
        ('{"_data_files": [{"filename": "a.arrow"}]}', "a.arrow is not a readable Arrow stream"),
    ],
)
def test_spoilt_arrow_folder_is_named(tmp_path, state, message):
    (tmp_path / "a.arrow").write_bytes(b"junk" * 100)
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(ValueError, match=message):
        read_examples(tmp_path)


@pytest.mark.parametrize("column", COLUMNS)
def test_missing_column_is_named(tmp_path, column):
    frame_of(tmp_path, invented()).drop(columns=column).to_parquet(tmp_path / "poor.parquet")
    with pytest.raises(ValueError, match=f"poor.parquet has no column '{column}'"):
        read_examples(tmp_path / "poor.parquet")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("answer", "Perhaps", "row 4 .Q2, .*answer is not among the options; answer is 'Perhaps'"),
        ("Options", "Agree", "row 4 .*need two or more distinct options"),
        ("Options", "Agree, Agree", "row 4 .*need two or more distinct options"),
        ("Religion", None, "row 4 .*column 'Religion' is empty"),
        ("Question", " ", "row 4 .*column 'Question' is empty"),
        ("frequency", 1.5, "row 4 .*'frequency' is not a share"),
    ],
)
def test_bad_value_is_named_with_its_row(tmp_path, column, value, message):
    frame = frame_of(tmp_path, invented())
    frame.loc[4, column] = value
    frame.to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(ValueError, match="bad.parquet " + message):
        read_examples(tmp_path / "bad.parquet")


@pytest.mark.parametrize(
    "counts", [[1.0, 2.0], [1.0, 2.0, -1.0, 0.0], [0.0] * 4, [1.0, np.nan, 0.0, 0.0], 3.0]
)
def test_counts_that_are_none_of_the_options_are_named_with_their_row(tmp_path, counts):
    frame = frame_of(tmp_path, invented())
    frame["answer_counts"] = [[1.0, 2.0, 0.0, 0.0]] * 4 + [counts] + [None] * (len(frame) - 5)
    frame = frame.assign(answer_counts=frame["answer_counts"].map(str)) if counts == 3.0 else frame
    frame.to_parquet(tmp_path / "bad.parquet")
    row = 0 if counts == 3.0 else 4  # a column of texts has no counts at all
    with pytest.raises(ValueError, match=f"bad.parquet row {row} .*not one count for each option"):
        read_examples(tmp_path / "bad.parquet")


def test_an_example_may_have_no_counts_beside_others_that_do(tmp_path):
    first, *others = invented()
    counted = dataclasses.replace(first, answer_counts=(1.0, 2.0, 0.0, 0.0))
    write_examples([counted, *others], tmp_path / "some.parquet")
    assert read_examples(tmp_path / "some.parquet") == (counted, *others)


def test_empty_file_is_refused(tmp_path):
    frame_of(tmp_path, invented()).head(0).to_parquet(tmp_path / "empty.parquet")
    with pytest.raises(ValueError, match="empty.parquet has no rows"):
        read_examples(tmp_path / "empty.parquet")


@pytest.mark.skipif(not RELEASED.exists(), reason=f"no released corpus at {RELEASED}")
def test_released_split_reads_and_its_frequency_is_the_share_among_archetypes():
    examples = read_examples(RELEASED)
    assert len(examples) == 7183
    assert len({example.archetype for example in examples}) == 460
    assert with_frequency(examples) == examples
    known = [set(attribute.values) | {"Not Answered"} for attribute in ATTRIBUTES]
    for example in examples:
        assert all(value in values for value, values in zip(example.attributes, known, strict=True))
    options = {question.id: question.options for question in QUESTIONS}
    assert all(example.option_list == options[example.question_id] for example in examples)
