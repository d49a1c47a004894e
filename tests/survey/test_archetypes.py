"""Archetypes against the rules written as plain loops."""

import collections
import math

import numpy as np
import pytest
import scipy.stats

from dvmap_jax.survey.archetypes import (
    RuleConfig,
    answer_entropy,
    cells_of,
    group_respondents,
    kept_cells,
)
from dvmap_jax.survey.codebook import Attribute, Codebook, Question
from dvmap_jax.survey.respondents import Respondents

ATTRIBUTES = (
    Attribute("Country", "B_COUNTRY", ((840, "US"), (392, "Japan"), (818, "Egypt"))),
    Attribute("Gender", "Q260", ((1, "Male"), (2, "Female"))),
    Attribute("Income Bracket", "Q288", ((1, "Low"), (4, "Middle")), True, required=True),
)
FOUR = Question("Q1", "S", "Four?", ("a", "b", "c", "d"), ((1,), (2,), (3,), (4,)))
TEN = Question("Q49", "S", "Ten?", ("Low", "Medium", "High"), ((1, 2, 3), (4, 5, 6, 7), (8, 9, 10)))
CODEBOOK = Codebook(
    "small", "ID", "", "", (("no answer", (-2,)), ("asked not", (-4,))), ATTRIBUTES, (FOUR, TEN)
)


def survey(seed, size, weights=None) -> Respondents:
    rng = np.random.default_rng(seed)
    labels = np.stack(
        [
            rng.integers(0, 3, size),
            rng.integers(-1, 2, size),
            rng.choice([-1, 0, 1], size, p=[0.2, 0.4, 0.4]),
        ],
        axis=1,
    )
    spread = rng.integers(1, 5)  # few codes make many ties
    answers = {
        "Q1": rng.choice([-4, -2, 1, 2, 3, 4][: 2 + spread], size),
        "Q49": rng.choice([-2, *rng.integers(1, 11, 2 * spread)], size),
    }
    weights = np.ones(size) if weights is None else weights
    return Respondents(CODEBOOK, (FOUR, TEN), labels, answers, weights, np.zeros(size, int))


def released_by_loops(respondents, question):
    """survey.md, the construction rule: group, mode of raw codes, upper-middle tie, recode."""
    groups = collections.defaultdict(list)
    for row, code in zip(respondents.attributes, respondents.answers[question.id], strict=True):
        if row[2] >= 0:  # income is required
            groups[tuple(row.tolist())].append(int(code))
    answers = {}
    for archetype, codes in groups.items():
        counts = collections.Counter(code for code in codes if code > 0)
        tied = sorted(code for code, n in counts.items() if n == max(counts.values()))
        if tied:
            mode = tied[len(tied) // 2]
            answers[archetype] = next(i for i, own in enumerate(question.codes) if mode in own)
    return answers


def released(respondents, question):
    config = RuleConfig("released")
    archetypes = group_respondents(respondents)
    cells = cells_of(respondents, archetypes, question, config=config)
    kept = kept_cells(cells, config)
    rows = map(tuple, archetypes.attributes[kept].tolist())
    return dict(zip(rows, cells.answer[kept].tolist(), strict=True))


@pytest.mark.parametrize("question", [FOUR, TEN], ids=["four", "recoded"])
@pytest.mark.parametrize("seed", range(20))
def test_released_rule_is_the_plain_loops(seed, question):
    respondents = survey(seed, size=[1, 2, 5, 30, 80, 400][seed % 6])
    assert released(respondents, question) == released_by_loops(respondents, question)


def test_order_of_the_respondents_changes_nothing():
    respondents = survey(3, 300)
    order = np.random.default_rng(1).permutation(300)
    other = Respondents(
        CODEBOOK,
        (FOUR, TEN),
        respondents.attributes[order],
        {name: codes[order] for name, codes in respondents.answers.items()},
        respondents.weights,
        respondents.waves,
    )
    assert list(released(respondents, TEN).items()) == list(released(other, TEN).items())


def one_cell(codes, question, config, weights=None):
    size = len(codes)
    respondents = Respondents(
        CODEBOOK,
        (question,),
        np.tile([0, 1, 0], (size, 1)),
        {question.id: np.array(codes)},
        np.ones(size) if weights is None else np.array(weights, float),
        np.zeros(size, int),
    )
    archetypes = group_respondents(respondents)
    return cells_of(respondents, archetypes, question, config=config)


@pytest.mark.parametrize(
    ("codes", "mode"), [([1, 2], 2), ([1, 2, 3], 2), ([1, 2, 3, 4], 3), ([4, 4, 1], 4)]
)
def test_ties_go_to_the_upper_middle(codes, mode):
    cells = one_cell(codes, FOUR, RuleConfig("released"))
    assert cells.answer[0] == mode - 1


def test_released_rule_recodes_after_the_mode_and_consensus_before():
    codes = [9, 9, 1, 2, 3]  # 9 is the most frequent code, Low the most frequent option
    assert one_cell(codes, TEN, RuleConfig("released")).answer[0] == 2
    assert one_cell(codes, TEN, RuleConfig("consensus")).answer[0] == 0
    cell = one_cell(codes, TEN, RuleConfig("released"))
    assert cell.counts[0].tolist() == [3, 0, 2] and cell.share[0] == pytest.approx(0.4)


def test_missing_codes_count_for_nothing():
    cells = one_cell([-4, -2, -2], FOUR, RuleConfig("released"))
    assert cells.answer[0] == -1 and cells.support[0] == 0 and cells.entropy[0] == 0
    assert not kept_cells(cells, RuleConfig("released")).any()
    assert one_cell([-4, 3, -2], FOUR, RuleConfig("released")).support[0] == 1


def test_weights_move_the_answer_and_not_the_support():
    weighted = RuleConfig("consensus", weighted=True)
    cells = one_cell([1, 1, 4], FOUR, weighted, weights=[0.5, 0.5, 3.0])
    assert cells.answer[0] == 3 and cells.support[0] == 3
    assert cells.share[0] == pytest.approx(0.75)
    assert one_cell([1, 1, 4], FOUR, RuleConfig("consensus")).answer[0] == 0


def test_entropy_is_that_of_the_shares_over_the_logarithm_of_the_options():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(4), 50)
    expected = scipy.stats.entropy(shares, axis=1) / math.log(4)
    np.testing.assert_allclose(answer_entropy(shares), expected, rtol=1e-12)
    assert answer_entropy(np.eye(3)).tolist() == [0, 0, 0]
    np.testing.assert_allclose(answer_entropy(np.full((1, 5), 0.2)), 1)


def test_kept_sets_are_nested_and_zero_entropy_is_unanimity():
    respondents = survey(11, 400)
    archetypes = group_respondents(respondents)
    sets = []
    for limit in (0.0, 0.3, 0.6, 1.0):
        config = RuleConfig("consensus", min_support=3, max_entropy=limit)
        cells = cells_of(respondents, archetypes, FOUR, config=config)
        kept = kept_cells(cells, config)
        sets.append(set(np.flatnonzero(kept).tolist()))
        assert (cells.support[kept] >= 3).all()
        if limit == 0:
            assert ((cells.counts[kept] > 0).sum(axis=1) == 1).all()
    assert sets[0] <= sets[1] <= sets[2] <= sets[3] and len(sets[0]) < len(sets[3])


def test_grouping_by_a_subset_leaves_the_others_unanswered_and_drops_less():
    respondents = survey(2, 200)
    by_all = group_respondents(respondents)
    by_country = group_respondents(respondents, ("Country",))
    assert len(by_country) == 3 and (by_country.attributes[:, 1:] == -1).all()
    assert (by_country.members >= 0).all() and by_country.num_dropped == {}
    lacking = int((respondents.attributes[:, 2] < 0).sum())
    assert by_all.num_dropped == {"Income Bracket": lacking}
    assert (by_all.members < 0).sum() == lacking


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rule": "relased"}, "'released', 'consensus'"),
        ({"attributes": ("Gendr",)}, "'Gender'"),
        ({"max_entropy": 1.5}, "max_entropy 1.5"),
        ({"min_support": 0}, "min_support is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        RuleConfig(**options)


def test_the_filter_recovers_planted_consensus():
    """500 archetypes of 8 respondents; in half of them all but 3 % agree, in half nobody does."""
    rng = np.random.default_rng(0)
    groups, size, noise = 500, 8, 0.03
    agreeing = np.arange(groups) < groups // 2
    planted = rng.integers(1, 5, groups)
    said = rng.integers(1, 5, (groups, size))
    follows = agreeing[:, None] & (rng.random((groups, size)) > noise)
    codes = np.where(follows, planted[:, None], said).ravel()
    labels = tuple((number, f"country {number}") for number in range(groups))
    country = Attribute("Country", "B_COUNTRY", labels)
    respondents = Respondents(
        Codebook("planted", "ID", "", "", (("none", (-2,)),), (country,), (FOUR,)),
        (FOUR,),
        np.repeat(np.arange(groups), size)[:, None],
        {"Q1": codes},
        np.ones(groups * size),
        np.zeros(groups * size, int),
    )
    config = RuleConfig("consensus", min_support=5, max_entropy=0.5)
    cells = cells_of(respondents, group_respondents(respondents), FOUR, config=config)
    kept = kept_cells(cells, config)
    right = kept & (cells.answer == planted - 1)
    assert right[agreeing].mean() >= 0.95
    assert kept[~agreeing].mean() <= 0.05
