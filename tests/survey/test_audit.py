"""The audit's numbers against plain loops over the respondents of an invented survey."""

import collections
import functools
import itertools
import json

import numpy as np
import pandas as pd
import pytest

from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES


@pytest.fixture(scope="module")
def audit(built_corpus):
    return json.loads((built_corpus / "audit.json").read_text())


@pytest.fixture(scope="module")
def corpus(built_corpus):
    return json.loads((built_corpus / "corpus.json").read_text())


@pytest.fixture(scope="module")
def cells(built_corpus):
    """Every cell with its answer counts as integers."""
    frame = pd.read_parquet(built_corpus / "examples.parquet")
    frame["archetype"] = list(map(tuple, frame[list(ATTRIBUTE_NAMES)].to_numpy()))
    frame["counts"] = [tuple(map(int, counts)) for counts in frame["answer_counts"]]
    return frame


def answers(counts):
    return [option for option, count in enumerate(counts) for _ in range(count)]


def upper_middle(codes):
    counts = collections.Counter(codes)
    tied = sorted(code for code, n in counts.items() if n == max(counts.values()))
    return tied[len(tied) // 2]


def test_people_and_cells_add_up(audit, corpus, cells):
    without = sum(audit["respondents"]["without"].values())
    assert audit["respondents"]["read"] == 4000 and without > 0
    sizes = audit["archetypes"]["by_respondents"]
    assert sum(sizes.values()) == audit["archetypes"]["number"] == corpus["num_archetypes"]
    supports = collections.Counter(cells["support"].clip(upper=2).tolist())
    assert audit["cells"]["by_support"]["1"] == supports[1]
    assert sum(audit["cells"]["by_support"].values()) == len(cells)
    assert sum(audit["cells"]["entropy_of_two_or_more"].values()) == supports[2]
    unanimous = ((cells["support"] > 1) & (cells["entropy"] < 1e-9)).sum()
    assert audit["cells"]["entropy_of_two_or_more"]["0"] == unanimous


def test_missing_answers_are_kept_apart_by_kind(audit):
    kinds = audit["respondents"]["missing_answers"]
    assert set(kinds["Q1"]) == {"don't know", "no answer"}
    assert set(kinds["Q36"]) == {"don't know", "no answer", "not asked"}


def test_consensus_by_country_and_question_is_the_mean_share(audit, cells):
    several = cells[cells["support"] > 1]
    for (question, country), own in several.groupby(["Q_id", "Country"]):
        found = audit["consensus"][question][country]
        assert found["cells"] == len(own)
        assert found["consensus_share"] == pytest.approx(own["consensus_share"].mean(), abs=1e-6)


def test_twins_agree_as_pairs_of_respondents_do(audit, cells):
    agreed = asked = 0.0
    for counts in cells["counts"]:
        group = answers(counts)
        if len(group) > 1:
            pairs = list(itertools.permutations(group, 2))
            agreed += sum(a == b for a, b in pairs) / (len(group) - 1)
            asked += len(group)
    found = audit["twins"][0]
    assert found["responses"] == asked
    assert found["twin_agreement"]["value"] == pytest.approx(agreed / asked, abs=1e-6)
    assert found["twin_agreement"]["low"] < agreed / asked < found["twin_agreement"]["high"]


@pytest.mark.parametrize("attribute", ["Life Stage", "Religion", None])
def test_an_attribute_adds_what_left_out_modes_gain(audit, cells, attribute):
    """A respondent alone in its narrower group is predicted from its country."""
    told = collections.defaultdict(list)
    for country, question, label, counts in zip(
        cells["Country"],
        cells["Q_id"],
        cells[attribute] if attribute else cells["Country"],
        cells["counts"],
        strict=True,
    ):
        told[country, question].append((label, counts))
    hits = collections.Counter()
    for rows in told.values():
        everybody = sum(np.array(counts) for _, counts in rows)
        narrow = collections.defaultdict(lambda: 0)
        for label, counts in rows:
            narrow[label] = narrow[label] + np.array(counts)
        for label, counts in rows:
            for option, count in enumerate(counts):
                country_hit = predicted(tuple(everybody), option)
                alone = narrow[label].sum() == 1
                hit = country_hit if alone else predicted(tuple(narrow[label]), option)
                hits["country"] += count * country_hit
                hits["gain"] += count * (hit - country_hit)
                hits["asked"] += count
    found = audit["attributes"]
    assert found["country_alone"]["value"] == pytest.approx(
        hits["country"] / hits["asked"], abs=1e-6
    )
    gain = found["added"][attribute]["value"] if attribute else 0
    assert gain == pytest.approx(hits["gain"] / hits["asked"], abs=1e-6)


@functools.cache
def predicted(counts, option):
    if not counts[option]:
        return 0
    others = answers(count - (place == option) for place, count in enumerate(counts))
    return int(bool(others) and upper_middle(others) == option)


def test_rules_keep_of_each_other_what_the_cells_say(audit, cells):
    rules = audit["rules"]
    few = cells["support"] < rules["min_support"]
    agreed = cells["entropy"] <= rules["max_entropy"]
    assert rules["released"] == len(cells)
    assert rules["too_little_support"] == few.sum()
    assert rules["too_much_entropy"] == (~few & ~agreed).sum()
    assert rules["consensus"] == (~few & agreed).sum()
    assert rules["consensus_of_released"] == pytest.approx((~few & agreed).mean(), abs=1e-6)


def test_planted_consensus_is_recovered(audit):
    found = audit["planted"]
    assert found["min_support"] == 2 and found["cells"] > 100
    assert found["recovered_share"] >= 0.95


def test_every_combination_of_what_is_held_out_is_counted(corpus, built_corpus):
    combined = corpus["combinations"]
    assert sum(sum(row.values()) for row in combined.values()) == corpus["num_examples"]["examples"]
    for split in ("train", "dev", "test", "cross_demographic"):
        assert combined[split]["training questions"] == corpus["num_examples"][split]
    assert combined["train"]["held-out questions"] == corpus["num_examples"]["cross_value"]
    abroad = combined["held-out countries"]["training questions"]
    assert abroad == corpus["num_examples"]["cross_country"] > 0
    unseen = pd.read_parquet(built_corpus / "cross_country.parquet", columns=["Country"])
    assert sorted(unseen["Country"].unique()) == sorted(corpus["heldout_countries"])
    assert len(corpus["heldout_countries"]) == len(corpus["heldout_questions"]) == 2
    assert all(split["clean"] for split in corpus["leaks"].values())
