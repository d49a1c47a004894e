"""What an evaluation is asked, of a file and of a corpus folder."""

import pytest

from dvmap_jax.survey.corpus import write_examples
from dvmap_jax.survey.heldout import read_benchmarks, refuse_shared, training_split
from dvmap_jax.survey.synthetic import synthetic_examples

EXAMPLES = synthetic_examples(9, seed=3)


@pytest.fixture
def corpus(tmp_path):
    """A folder with a training split, three archetypes elsewhere, and a split without a row."""
    splits = {
        "train": EXAMPLES[:96],
        "cross_country": EXAMPLES[96:112],
        "dev": EXAMPLES[112:],
        "test": [],
    }
    for name, examples in splits.items():
        write_examples(examples, tmp_path / f"{name}.parquet")
    return tmp_path


def test_a_corpus_folder_gives_its_heldout_splits_that_have_rows(corpus):
    found = read_benchmarks(str(corpus))
    assert list(found) == ["dev", "cross_country"]
    assert [e.answer for e in found["dev"]] == [e.answer for e in EXAMPLES[112:]]
    assert training_split(str(corpus)) == str(corpus / "train.parquet")


def test_a_file_is_one_benchmark_named_after_it(corpus):
    found = read_benchmarks(str(corpus / "cross_country.parquet"))
    assert {name: len(examples) for name, examples in found.items()} == {"cross_country": 16}
    assert training_split(str(corpus / "cross_country.parquet")) == ""


def test_a_corpus_that_holds_nothing_out_is_named(corpus):
    for name in ("dev", "cross_country"):
        write_examples([], corpus / f"{name}.parquet")
    with pytest.raises(ValueError, match="no held-out ones: none of dev.parquet.* has a row"):
        read_benchmarks(str(corpus))


def test_a_training_split_that_knows_the_answers_is_refused():
    refuse_shared(EXAMPLES[:96], EXAMPLES[96:], name="dev")
    with pytest.raises(ValueError, match="1 of 49 rows of dev are in the training split too"):
        refuse_shared(EXAMPLES[:96], EXAMPLES[95:], name="dev")
