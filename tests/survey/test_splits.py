"""Splits by archetype: nothing shared, nothing lost, whatever the order of rows."""

import dataclasses
import random
from pathlib import Path

import pytest

from dvmap_jax.survey.corpus import CorpusConfig, write_examples
from dvmap_jax.survey.splits import load_corpus, split_examples
from dvmap_jax.survey.synthetic import synthetic_examples

RELEASED = Path(__file__).parents[3] / "shared" / "dvmap_corpus" / "dev.parquet"
EXAMPLES = synthetic_examples(100, 0)


def keys(examples) -> set[tuple[str, str]]:
    return {(example.archetype, example.question_id) for example in examples}


def test_archetypes_are_never_shared():
    splits = split_examples(EXAMPLES, fraction=0.2)
    ours = {example.archetype for example in splits.train}
    theirs = {example.archetype for example in splits.cross_demographic}
    assert not ours & theirs
    assert (len(ours), len(theirs)) == (80, 20)
    assert keys(splits.train) | keys(splits.cross_demographic) == keys(EXAMPLES)


def test_order_of_rows_does_not_matter_and_the_seed_does():
    shuffled = list(EXAMPLES)
    random.Random(0).shuffle(shuffled)
    split = keys(split_examples(EXAMPLES, fraction=0.2).train)
    assert keys(split_examples(shuffled, fraction=0.2).train) == split
    assert keys(split_examples(EXAMPLES, fraction=0.2, seed=1).train) != split


def test_every_country_keeps_its_share():
    heldout = split_examples(EXAMPLES, fraction=0.2).cross_demographic
    assert len({example.country for example in heldout}) == 10


def test_held_out_countries_and_questions_are_new():
    splits = split_examples(
        EXAMPLES, fraction=0.2, countries=["Japan", "Egypt"], questions=["Q1", "Q36"]
    )
    trained = {e.country for e in splits.train}, {e.question_id for e in splits.train}
    assert not trained[0] & {"Japan", "Egypt"} and not trained[1] & {"Q1", "Q36"}
    assert {e.country for e in splits.cross_demographic} == trained[0]
    assert {e.question_id for e in splits.cross_demographic} == trained[1]
    assert {e.country for e in splits.cross_country} == {"Japan", "Egypt"}
    assert {e.question_id for e in splits.cross_country} == trained[1]
    assert {e.question_id for e in splits.cross_value} == {"Q1", "Q36"}
    assert {e.archetype for e in splits.cross_value} == {e.archetype for e in splits.train}


def test_frequency_is_counted_within_each_split():
    for part in vars(split_examples(EXAMPLES, fraction=0.3, countries=["Japan"])).values():
        for example in part[:50]:
            cell = [
                e.answer
                for e in part
                if (e.country, e.question_id) == (example.country, example.question_id)
            ]
            assert example.frequency == cell.count(example.answer) / len(cell)


def test_default_corpus_is_the_synthetic_survey():
    corpus = load_corpus(CorpusConfig(synthetic_archetypes=50))
    assert keys(corpus.train) | keys(corpus.heldout) == keys(synthetic_examples(50, 0))
    assert len({e.archetype for e in corpus.heldout}) == 10


def test_heldout_path_is_read_whole(tmp_path):
    splits = split_examples(EXAMPLES, fraction=0.5)
    write_examples(splits.train, tmp_path / "train.parquet")
    write_examples(splits.cross_demographic, tmp_path / "dev.parquet")
    config = CorpusConfig(
        path=str(tmp_path / "train.parquet"), heldout_path=str(tmp_path / "dev.parquet")
    )
    corpus = load_corpus(config)
    assert corpus.train == splits.train
    assert corpus.heldout == splits.cross_demographic
    with pytest.raises(ValueError, match=f"{len(splits.train)} of .* share none"):
        load_corpus(dataclasses.replace(config, heldout_path=config.path))


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"countries": ["Germanny"]}, "hold out the country 'Germanny'; nearest: 'Germany'"),
        ({"countries": ["United States"]}, "nearest: 'United States of America'"),
        ({"questions": ["Q366"]}, "hold out the question 'Q366'; nearest: 'Q36'"),
        ({"countries": sorted({e.country for e in EXAMPLES})}, "split train is empty: .*Brazil"),
        ({"questions": sorted({e.question_id for e in EXAMPLES})}, "train is empty: .*'Q1'"),
    ],
)
def test_filter_that_empties_or_misses_is_named(filters, message):
    with pytest.raises(ValueError, match=message):
        split_examples(EXAMPLES, fraction=0.2, **filters)


def test_held_out_question_nobody_left_answered_is_named():
    few = [e for e in EXAMPLES if e.country == "Japan" or e.question_id != "Q36"]
    with pytest.raises(ValueError, match="cross_value is empty: .*answered .'Q36'"):
        split_examples(few, fraction=0.2, countries=["Japan"], questions=["Q36"])


def test_nothing_held_out_is_refused():
    with pytest.raises(ValueError, match="held-out split is empty: corpus.heldout_fraction is 0"):
        load_corpus(CorpusConfig(heldout_fraction=0.0))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("path", ""), ("heldout_fraction", 1.0), ("synthetic_archetypes", 1)],
)
def test_impossible_settings_are_named(setting, value):
    with pytest.raises(ValueError, match=f"corpus.{setting}"):
        CorpusConfig(**{setting: value})


@pytest.mark.skipif(not RELEASED.exists(), reason=f"no released corpus at {RELEASED}")
def test_released_split_divides_by_archetype():
    corpus = load_corpus(CorpusConfig(path=str(RELEASED)))
    assert len({e.archetype for e in corpus.heldout}) == 90  # 9 of each country's 46
    assert len(corpus.train) + len(corpus.heldout) == 7183
