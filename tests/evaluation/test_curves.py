"""Attribution and robustness of predictors whose accuracy under every change can be worked out."""

import dataclasses

import numpy as np
import pytest
from known_predictors import STAGE, STAGES, Known, known_examples, told

from dvmap_jax.evaluation import curves
from dvmap_jax.evaluation.attribution import attribution, dropped_attributes
from dvmap_jax.evaluation.intervals import IntervalConfig
from dvmap_jax.evaluation.variants import Asking, Given, ProbesConfig
from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES

EXAMPLES = known_examples(3, archetypes=96, noise=0)
CONFIG = ProbesConfig(interval=IntervalConfig(resamples=200))
# Places of answers by question, of which 1 and 3 hang on the life stage.
PLACES = np.array([e.answer_index for e in EXAMPLES]).reshape(-1, 4)
FIRST = PLACES == 0  # right by saying the first option, [archetypes, questions]


def asked(*uses, drawn=0.0, **config):
    return Asking(
        Known(uses, drawn), EXAMPLES, "test", "answer", dataclasses.replace(CONFIG, **config)
    )


def test_attribution_tells_the_country_from_the_rest():
    found = attribution(asked("country", "stage"))
    none, country = FIRST.mean(), np.mean([1, 1, *FIRST[:, [1, 3]].mean(axis=0)])
    assert found.none.correct.mean() == pytest.approx(none)
    assert found.country.correct.mean() == pytest.approx(country)
    assert found.all.correct.mean() == 1
    assert found.by_country.value == pytest.approx(country - none)
    assert found.by_rest.value == pytest.approx(1 - country)
    assert found.by_country.low > 0 and found.by_rest.low > 0


def test_only_the_attributes_that_are_used_change_the_accuracy():
    found = {each.attribute: each for each in dropped_attributes(asked("country", "stage"))}
    assert tuple(found) == ATTRIBUTE_NAMES
    used = {"Country": [0, 2], "Life Stage": [1, 3]}
    for name, each in found.items():
        lost = (FIRST[:, used[name]].mean() - 1) / 2 if name in used else 0
        assert each.value == pytest.approx(lost)
        assert each.high < 0 if name in used else each.low == each.high == 0


def test_missing_attributes_cost_what_they_told():
    curve = curves.missing_curve(asked("country", "stage", shares=(0.25, 0.75)))
    assert [point.x for point in curve.points] == [0.0, 0.25, 0.75]
    assert (curve.points[0].value, curve.points[0].agreement) == (1.0, None)
    for point in curve.points[1:]:
        expected = 1 - point.x + point.x * FIRST.mean()
        # Two draws for each of 96 archetypes decide two rows each: an error of .03 at most.
        assert point.value == pytest.approx(expected, abs=0.09)
        assert point.agreement == pytest.approx(point.value)  # all was right before


def test_wrong_attributes_cost_all_unless_they_tell_the_same():
    curve = curves.noise_curve(asked("country", "stage", shares=(1.0,)))
    stages = [STAGES.index(e.attributes[STAGE]) for e in EXAMPLES[::4]]
    seen = sorted(set(stages))
    same = [np.mean([o % 4 == s % 4 for o in seen if o != s]) for s in stages]
    assert curve.points[-1].value == pytest.approx(np.mean(same) / 2, abs=0.06)


def test_labels_stay_the_same_in_another_order():
    curve = curves.order_curve(asked("country", "stage", orders=3))
    names = ["as asked", "reversed", "shuffled 1", "shuffled 2", "shuffled 3"]
    assert [point.x for point in curve.points] == names
    assert {point.value for point in curve.points} == {1.0}
    assert [point.agreement for point in curve.points] == [None, 1, 1, 1, 1]


class Places:
    """Answers with the option at a place, whatever it is called."""

    def __call__(self, examples, *, name, template=None):
        rows = Known()(examples, name=name)
        rows["predicted"] = [e.option_list[0] for e in examples]
        rows["correct"] = [float(e.answer_index == 0) for e in examples]
        return rows


def test_an_answer_by_place_changes_with_the_order():
    asking = Asking(Places(), EXAMPLES, "test", "answer", CONFIG)
    first, back, *shuffled = curves.order_curve(asking).points
    assert first.value == FIRST.mean() and back.value == (PLACES == 3).mean()
    assert back.agreement == 0
    # Of the 23 orders that are not the one asked, 5 leave the first option where it was.
    assert all(each.agreement == pytest.approx(5 / 23, abs=0.07) for each in shuffled)
    assert len({each.agreement for each in shuffled}) == len(shuffled)


def test_the_question_alone_is_asked_once_for_all_that_need_it():
    asking = asked("country")
    curve = curves.question_only_curve(asking)
    attribution(asking)
    assert [point.x for point in curve.points] == ["as asked", "question only"]
    assert curve.points[1].value == FIRST.mean()
    variants = [name.split("/")[1] for name in asking.ask.asked]
    assert variants == ["as asked, answer", "question only, answer", "country only, answer"]


def test_other_words_are_asked_under_their_own_name():
    asking = asked("country")
    curve = curves.template_curve(asking, ["one", "two"])
    assert [point.x for point in curve.points] == ["answer", "one", "two"]
    asked_for = {(name.split("/")[1], how) for name, (_, how) in asking.ask.asked.items()}
    assert asked_for == {(f"as asked, {each}", each) for each in ("answer", "one", "two")}


def test_intervals_are_of_archetypes():
    point = curves.question_only_curve(asked("country")).points[1]
    by_archetype = FIRST.mean(axis=1)
    error = by_archetype.std() / np.sqrt(len(by_archetype))
    assert point.high - point.low == pytest.approx(2 * 1.96 * error, rel=0.2)


def test_agreement_is_over_answers_that_could_be_read():
    nothing = np.zeros(3)
    before = Given(nothing, ("Yes", None, "No"))
    assert curves.agreement(before, Given(nothing, ("Yes", "Yes", None))) == 0.5
    assert curves.agreement(before, before) == 1
    assert curves.agreement(Given(nothing, (None,) * 3), before) is None


def test_settings_that_cannot_be_are_named():
    with pytest.raises(ValueError, match=r"probes.shares are \(0.5, 1.5\)"):
        ProbesConfig(shares=(0.5, 1.5))
    with pytest.raises(ValueError, match="probes.max_rows is -1"):
        ProbesConfig(max_rows=-1)


def test_the_known_survey_hangs_on_country_and_life_stage():
    assert all(told(e.attributes, n % 4) == e.answer_index for n, e in enumerate(EXAMPLES))
