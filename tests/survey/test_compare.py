"""What moved between two builds: planted changes are found, chance is not taken for one."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from dvmap_jax.survey.archetypes import RuleConfig
from dvmap_jax.survey.benchmark import BenchmarkConfig
from dvmap_jax.survey.build import BuildConfig, build_corpus
from dvmap_jax.survey.codebook import Attribute, Codebook, Question
from dvmap_jax.survey.compare import (
    changed_examples,
    compare_corpora,
    comparison_lines,
    difference_interval,
)
from dvmap_jax.survey.respondents import Respondents

LANDS = Attribute("Country", "LAND", ((1, "US"), (2, "Japan"), (3, "India")))
AGES = Attribute("Life Stage", "AGE", tuple((i, f"age {i}") for i in range(20)))
QUESTIONS = tuple(
    Question(f"Q{i}", "S", f"{i}?", ("yes", "no", "maybe"), ((1,), (2,), (3,))) for i in (1, 2)
)
BOOK = Codebook("small", "ID", "", "", (("none", (-2,)),), (LANDS, AGES), QUESTIONS)
CONFIG = BuildConfig(RuleConfig(), BenchmarkConfig(country_share=0, question_share=0))


def people(seed, shares=(0.6, 0.3, 0.1), moved=None, size=6000):
    """Everybody answers with the same shares; in `moved` (country, question) with others."""
    rng = np.random.default_rng(seed)
    labels = np.stack([rng.integers(0, 3, size), rng.integers(0, 20, size)], axis=1)
    answers = {q.id: rng.choice([1, 2, 3], size, p=shares) for q in QUESTIONS}
    if moved:
        place, question, other = moved
        there = labels[:, 0] == place
        answers[question][there] = rng.choice([1, 2, 3], int(there.sum()), p=other)
    nothing = np.zeros(size, int)
    return Respondents(BOOK, QUESTIONS, labels, answers, np.ones(size), nothing)


def built(folder, respondents, **options):
    build_corpus(respondents, folder, CONFIG, source={}, **options)
    return folder / "examples.parquet"


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    old = built(folder / "old", people(0))
    new = built(folder / "new", people(1, moved=(1, "Q2", (0.2, 0.2, 0.6))))
    return compare_corpora(old, new)


def test_a_planted_change_is_found_where_it_was_planted(compared):
    rows = {(row["country"], row["question"]): row for row in compared["country_questions"]}
    for key, row in rows.items():
        change = row["shift"]["change"]
        if key == ("Japan", "Q2"):
            assert row["shift"]["option"] == "maybe"
            assert change["low"] < 0.5 < change["high"] and change["low"] > 0.4
            assert row["other_answer"]["low"] > 0.9
        else:
            assert abs(change["value"]) < 0.05 and row["other_answer"]["high"] < 0.3
    assert "Japan" in comparison_lines(compared)[1] and "+0.4" in comparison_lines(compared)[1]


def test_moved_archetypes_are_those_of_the_planted_change(compared):
    moved = [(row["archetype"][0], row["question"]) for row in compared["moved"]]
    assert moved.count(("Japan", "Q2")) == 20  # every archetype of Japan, of 100 respondents each
    assert len(moved) - 20 <= 0.1 * (compared["cells"]["tested"] - 20)
    row = compared["moved"][0]
    assert row["old_answer"] == "yes" and row["change"]["high"] < 0
    assert row["change"]["value"] == pytest.approx(
        row["share_of_old_answer"][1] - row["share_of_old_answer"][0], abs=2e-6
    )


def test_counts_and_changes_are_those_of_the_two_tables(tmp_path):
    old, new = (
        built(tmp_path / "a", people(2, size=300)),
        built(tmp_path / "b", people(3, size=300)),
    )
    found = compare_corpora(old, new)
    frames = [pd.read_parquet(path) for path in (old, new)]
    both = frames[0].merge(frames[1], on=["Country", "Life Stage", "Q_id"])
    assert found["cells"]["both"] == len(both) and found["cells"]["old"] == len(frames[0])
    assert found["cells"]["other_answer"] == (both["answer_x"] != both["answer_y"]).sum()
    question = both[both["Q_id"] == "Q1"]
    shares = [
        np.array([counts.max() / counts.sum() for counts in question[name]])
        for name in ("answer_counts_x", "answer_counts_y")
    ]
    row = found["questions"][0]
    assert row["consensus_share_change"]["value"] == pytest.approx(
        float((shares[1] - shares[0]).mean()), abs=1e-6
    )
    changed = changed_examples(old, tmp_path / "b" / "train.parquet").to_pandas()
    train = pd.read_parquet(tmp_path / "b" / "train.parquet")
    known = {
        tuple(row) for row in frames[0][["Country", "Life Stage", "Q_id", "answer"]].to_numpy()
    }
    kept = [
        tuple(row) not in known
        for row in train[["Country", "Life Stage", "Q_id", "answer"]].to_numpy()
    ]
    assert len(changed) == sum(kept) > 0


def test_chance_alone_moves_one_cell_in_twenty():
    """Two draws of the same shares: of 20,000 intervals 3 to 6 % do not hold zero."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(5, 60, (2, 20_000))
    shares = rng.binomial(sizes, 0.7) / sizes
    low, high = difference_interval(shares[0], sizes[0], shares[1], sizes[1])
    assert 0.03 < ((low > 0) | (high < 0)).mean() < 0.06


def test_newcombe_interval_of_his_example():
    """56 of 70 and 48 of 80: .0524 to .3339 (Newcombe 1998, table II, method 10)."""
    low, high = difference_interval(np.array([48 / 80]), 80, np.array([56 / 70]), 70)
    assert (low[0], high[0]) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))


def test_waves_of_a_cell_are_counted_together(tmp_path):
    one = people(4)
    two = dataclasses.replace(one, waves=np.arange(6000) % 2 + 6)
    apart, together = built(tmp_path / "two", two), built(tmp_path / "one", one)
    found = compare_corpora(together, apart)
    assert found["cells"]["both"] == found["cells"]["old"] < found["cells"]["new"]
    assert all(row["shift"]["change"]["value"] == 0 for row in found["questions"])


def test_what_cannot_be_compared_is_refused(tmp_path):
    old = built(tmp_path / "old", people(5))
    with pytest.raises(FileNotFoundError, match=r"nowhere holds no corpus.json"):
        built(tmp_path / "new", people(6), compare_with=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="would be compared with itself"):
        built(tmp_path / "old", people(6), compare_with=tmp_path / "old")
    assert not (tmp_path / "new").exists()
    pd.read_parquet(old).drop(columns="answer_counts").to_parquet(tmp_path / "foreign.parquet")
    with pytest.raises(ValueError, match="foreign.parquet was not written by build_corpus.py"):
        compare_corpora(tmp_path / "foreign.parquet", old)
    other = pd.read_parquet(old).assign(Options="yes, no, perhaps")
    other.to_parquet(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"Q1 has the options 'yes, no, perhaps' in .*other"):
        compare_corpora(tmp_path / "other.parquet", old)


def test_a_build_leaves_the_comparison_and_what_to_train_on(tmp_path):
    built(tmp_path / "old", people(7))
    moved = people(8, moved=(2, "Q1", (0.1, 0.8, 0.1)))
    built(tmp_path / "new", moved, compare_with=tmp_path / "old")
    said = json.loads((tmp_path / "new" / "compare.json").read_text())
    assert said["cells"]["both"] > 0
    changed = pd.read_parquet(tmp_path / "new" / "changed.parquet")
    where = changed.groupby(["Country", "Q_id"]).size()
    assert where["India", "Q1"] == where.max() and where.max() > 10
    page = (tmp_path / "new" / "audit.html").read_text()
    assert "What changed since the older build" in page
