"""Corpora on disk: what is written, twice the same, whole or not at all."""

import json

import numpy as np
import pandas as pd
import pytest

from dvmap_jax.survey.archetypes import RuleConfig
from dvmap_jax.survey.benchmark import SPLITS, BenchmarkConfig
from dvmap_jax.survey.build import BuildConfig, build_corpus
from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES, Attribute, Codebook, Question
from dvmap_jax.survey.corpus import read_examples
from dvmap_jax.survey.prompts import user_prompt
from dvmap_jax.survey.respondents import Respondents
from dvmap_jax.survey.tables import answer_frequency

ATTRIBUTES = (
    Attribute("Country", "B_COUNTRY", ((840, "US"), (392, "Japan"), (818, "Egypt"))),
    Attribute("Gender", "Q260", ((1, "Male"), (2, "Female"))),
    Attribute("Education Level", "Q275", tuple((i, f"level {i}") for i in range(9))),
)
QUESTIONS = (
    Question("Q1", "S", "One?", ("a", "b", "c"), ((1,), (2,), (3,))),
    Question("Q2", "S", "Two?", ("Low", "High"), ((1, 2), (3, 4))),
    Question("Q3", "T", "Three?", ("yes", "no"), ((1,), (2,))),
)
CODEBOOK = Codebook("small", "ID", "", "", (("none", (-2,)),), ATTRIBUTES, QUESTIONS)
SPLIT = BenchmarkConfig(heldout_countries=("Egypt",), heldout_questions=("Q3",))


def survey(size=400, seed=0) -> Respondents:
    rng = np.random.default_rng(seed)
    labels = rng.integers([0, -1, 0], [3, 2, 9], (size, 3))
    answers = {q.id: rng.choice([-2, *q.raw_codes], size) for q in QUESTIONS}
    return Respondents(CODEBOOK, QUESTIONS, labels, answers, np.ones(size), np.zeros(size, int))


def build(folder, respondents=None, **rule):
    config = BuildConfig(RuleConfig(**rule), SPLIT)
    source = {"file": "survey.csv"}
    return build_corpus(
        survey() if respondents is None else respondents, folder, config, source=source
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_file_is_read_back_as_examples(tmp_path):
    built = build(tmp_path / "corpus")
    counts = {name: len(read_examples(tmp_path / "corpus" / f"{name}.parquet")) for name in SPLITS}
    assert counts == {name: built["num_examples"][name] for name in SPLITS}
    assert min(counts.values()) > 0
    assert len(read_examples(tmp_path / "corpus")) == built["num_examples"]["examples"]


def test_splits_hold_what_they_promise(tmp_path):
    build(tmp_path)
    parts = {name: read_examples(tmp_path / f"{name}.parquet") for name in SPLITS}
    train = {example.archetype for example in parts["train"]}
    for name in ("dev", "test", "cross_demographic", "cross_country"):
        assert not train & {example.archetype for example in parts[name]}
        assert {e.question_id for e in parts[name]} == {"Q1", "Q2"}
        assert ({e.country for e in parts[name]} == {"Egypt"}) == (name == "cross_country")
    assert {e.question_id for e in parts["cross_value"]} == {"Q3"}
    assert {e.archetype for e in parts["cross_value"]} <= train | {
        e.archetype for e in read_examples(tmp_path) if e.question_id == "Q3"
    }
    everything = [e for name in SPLITS for e in parts[name]]
    assert len({(e.archetype, e.question_id) for e in everything}) == len(everything)


def test_columns_say_what_the_respondents_said(tmp_path):
    respondents = survey()
    build(tmp_path, respondents)
    frame = pd.read_parquet(tmp_path / "examples.parquet")
    row = frame[frame["Q_id"] == "Q2"].iloc[7]
    place = [0, 1, 4]
    names = [ATTRIBUTE_NAMES[i] for i in place]
    assert names == ["Country", "Gender", "Education Level"]
    labels = [
        (("Not Answered", *attribute.values)).index(row[name]) - 1
        for attribute, name in zip(ATTRIBUTES, names, strict=True)
    ]
    same = (respondents.attributes == labels).all(axis=1)
    codes = respondents.answers["Q2"][same]
    counts = [int(((codes == 1) | (codes == 2)).sum()), int((codes >= 3).sum())]
    assert row["answer_counts"].tolist() == counts and row["support"] == sum(counts)
    assert row["Religion"] == "Not Answered" and row["Options"] == "Low, High"


def test_frequency_is_that_of_the_answer_inside_its_split(tmp_path):
    build(tmp_path)
    for name in ("train", "dev"):
        frame = pd.read_parquet(tmp_path / f"{name}.parquet")
        cell = frame.groupby(["Country", "Q_id"])["answer"]
        expected = frame.groupby(["Country", "Q_id", "answer"])["answer"].transform("size")
        np.testing.assert_allclose(frame["frequency"], expected / cell.transform("size"))
    assert answer_frequency(np.array([3, 3, 1, 3]), np.array([0, 1, 0, 0])).tolist() == [
        2 / 3,
        1 / 3,
        1.0,
        2 / 3,
    ]


def test_the_same_build_gives_the_same_bytes_in_any_order(tmp_path):
    respondents, order = survey(), np.random.default_rng(3).permutation(400)
    other = Respondents(
        CODEBOOK,
        QUESTIONS,
        respondents.attributes[order],
        {name: codes[order] for name, codes in respondents.answers.items()},
        respondents.weights,
        respondents.waves,
    )
    build(tmp_path / "a", respondents)
    build(tmp_path / "b", other)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_corpus_is_replaced_and_other_folders_are_not(tmp_path):
    build(tmp_path / "corpus")
    first = contents(tmp_path / "corpus")
    build(tmp_path / "corpus", rule="consensus", min_support=3)
    assert contents(tmp_path / "corpus") != first
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("worth keeping")
    with pytest.raises(ValueError, match=r"mine holds other files and no corpus.json"):
        build(tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_what_fails_leaves_what_was_there(tmp_path, monkeypatch):
    build(tmp_path / "corpus")
    before = contents(tmp_path / "corpus")
    with pytest.raises(ValueError, match=r"min_support=500 and max_entropy=0.5 keep nothing"):
        build(tmp_path / "corpus", rule="consensus", min_support=500)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dvmap_jax.survey.tables.pq.ParquetWriter.write_table", full)
    with pytest.raises(OSError, match="No space left"):
        build(tmp_path / "corpus")
    assert contents(tmp_path / "corpus") == before
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_a_country_without_a_valid_answer_is_named(tmp_path):
    respondents = survey()
    japan = respondents.attributes[:, 0] == 1
    for codes in respondents.answers.values():
        codes[japan] = -2
    with pytest.raises(ValueError, match=r"^Japan: nobody gave a valid answer"):
        build(tmp_path / "corpus", respondents)


def test_corpus_json_says_how_it_was_built(tmp_path):
    built = build(tmp_path, rule="consensus", min_support=2, max_entropy=0.9)
    said = json.loads((tmp_path / "corpus.json").read_text())
    assert said == json.loads(json.dumps(built))
    assert said["settings"]["rule"]["max_entropy"] == 0.9
    assert said["source"] == {"file": "survey.csv"} and said["num_respondents"] == 400
    assert said["leaks"]["test"]["shared_archetypes"] == 0


def test_splits_hold_the_prompt_the_original_reads(tmp_path):
    build(tmp_path)
    for example in read_examples(tmp_path / "train.parquet")[::50]:
        assert example.prompt == user_prompt(example, template="reasoning")
        assert example.question in example.prompt and example.options in example.prompt
    assert not any(example.prompt for example in read_examples(tmp_path))
    config = BuildConfig(benchmark=SPLIT, prompts=False)
    build_corpus(survey(), tmp_path, config, source={})
    assert not any(example.prompt for example in read_examples(tmp_path / "train.parquet"))


def test_labels_may_be_kept_as_a_distribution(tmp_path):
    build(tmp_path, labels="distribution")
    frame = pd.read_parquet(tmp_path / "train.parquet")
    for counts, shares in zip(frame["answer_counts"], frame["answer_shares"], strict=True):
        np.testing.assert_allclose(shares, counts / counts.sum())
    build(tmp_path)
    assert "answer_shares" not in pd.read_parquet(tmp_path / "train.parquet")


def test_waves_are_carried_and_counted_apart(tmp_path):
    respondents = survey()
    respondents.waves[::2] = 6
    respondents.waves[1::2] = 7
    built = build(tmp_path, respondents, attributes=("Country", "Education Level"))
    assert built["waves"] == [6, 7]
    frame = pd.read_parquet(tmp_path / "examples.parquet")
    key = ["wave", "Country", "Q_id"]
    assert frame.groupby([*key, "Education Level"]).size().max() == 1
    assert frame["wave"].nunique() == 2
    same = frame.groupby([*key, "answer"])["answer"].transform("size")
    whole = frame.groupby(key)["answer"].transform("size")
    np.testing.assert_allclose(frame["frequency"], same / whole)
