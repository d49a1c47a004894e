"""A journal of answers: there once, there after a stop, and of one evaluation."""

import dataclasses
import json

import pytest

from dvmap_jax.evaluation.journal import FILE, Journal, digest, identity
from dvmap_jax.survey.synthetic import synthetic_examples

HEAD = {"model": "a", "mode": "score"}


def row(number: int, benchmark: str = "test", **more) -> dict:
    return {"benchmark": benchmark, "number": number, **more}


def test_a_cut_line_is_dropped_and_written_again(tmp_path):
    journal = Journal(tmp_path, HEAD)
    journal.add([row(1, text="ä"), row(0, "other")])
    with (tmp_path / FILE).open("a", encoding="utf-8") as file:
        file.write('{"benchmark": "test", "numb')
    again = Journal(tmp_path, HEAD)
    assert again.has("test", 1) and not again.has("test", 0)
    again.add([row(0)])
    assert Journal(tmp_path, HEAD).rows() == [row(0, "other"), row(0), row(1, text="ä")]


def test_a_cut_first_line_is_no_evaluation(tmp_path):
    (tmp_path / FILE).write_text('{"model"', encoding="utf-8")
    Journal(tmp_path, HEAD).add([row(0)])
    assert [json.loads(x) for x in (tmp_path / FILE).read_text().splitlines()] == [HEAD, row(0)]


def test_a_row_is_there_once(tmp_path):
    journal = Journal(tmp_path, HEAD)
    journal.add([row(0)])
    for rows in ([row(0)], [row(1), row(1)]):
        with pytest.raises(ValueError, match="already"):
            journal.add(rows)
    assert [one["number"] for one in Journal(tmp_path, HEAD).rows()] == [0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"benchmark": "test", "number": 0}', "line 3 repeats row 0"),
        ("{]", "line 3 is not JSON"),
        ("[]", "line 3 is no row"),
        ("{}", "line 3 has no benchmark"),
    ],
)
def test_a_damaged_file_is_refused_and_left_alone(tmp_path, line, said):
    Journal(tmp_path, HEAD).add([row(0)])
    with (tmp_path / FILE).open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(ValueError, match=said):
        Journal(tmp_path, HEAD)
    assert (tmp_path / FILE).read_bytes() == before


def test_another_evaluation_is_refused(tmp_path):
    Journal(tmp_path, HEAD)
    with pytest.raises(ValueError, match="its mode is 'score', not 'generate'"):
        Journal(tmp_path, HEAD | {"mode": "generate"})
    with pytest.raises(ValueError, match="its samples is None, not 3"):
        Journal(tmp_path, HEAD | {"samples": 3})


def test_a_digest_knows_examples_and_their_order():
    examples = synthetic_examples(5, seed=0)
    assert digest(examples) == digest(list(examples)) != digest(examples[::-1])
    assert identity(examples[0], benchmark="b", number=3)["options"] == list(
        examples[0].option_list
    )


def test_a_row_has_the_counts_of_its_example_whole_ones_as_whole_numbers():
    [plain] = synthetic_examples(2, seed=0)[:1]
    assert "answer_counts" not in identity(plain, benchmark="b", number=0)
    counts = (2.0, 0.5, *[0.0] * (len(plain.option_list) - 2))
    counted = dataclasses.replace(plain, answer_counts=counts)
    found = identity(counted, benchmark="b", number=0)["answer_counts"]
    assert found == list(counts) and [type(each) for each in found[:3]] == [int, float, int]
    assert digest([counted]) != digest([plain])
