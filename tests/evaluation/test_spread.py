"""Spread and what explains it: by hand, against the survey's planted truth, and by redrawing."""

import numpy as np
import pandas as pd
import pytest

from dvmap_jax.evaluation.intervals import IntervalConfig
from dvmap_jax.evaluation.metric import MetricsConfig
from dvmap_jax.evaluation.suite import METRICS, measure
from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES
from dvmap_jax.survey.synthetic import draw, planted_by_question, synthetic_examples

QUICK = MetricsConfig(interval=IntervalConfig(resamples=200))
OPTIONS = ["no", "perhaps", "yes"]
GENDERS = [{"Gender": "Male"}] * 3 + [{"Gender": "Female"}] * 3
CERTAIN = [[1, 0, 0]] * 3 + [[0, 0, 1]] * 3
SPREAD = ("dispersion_retention", "dispersion_retention/predicted")


def table(answers: str, predicted: str = "", probabilities=None, **columns) -> pd.DataFrame:
    """A row for each letter: n, p or y, anything else being unreadable."""
    first = {option[0]: option for option in OPTIONS}
    count = len(answers)
    return pd.DataFrame(
        {
            "archetype": [f"person {i}" for i in range(count)],
            "question_id": "Q1",
            "country": "Japan",
            "attributes": [{"Gender": "Male"}] * count,
            "options": [OPTIONS] * count,
            "answer": [first[letter] for letter in answers],
            "predicted": [first.get(letter) for letter in predicted or answers],
            "correct": 0.0,
            "probabilities": probabilities or [[1 / 3] * 3] * count,
        }
        | columns
    )


def values(results: pd.DataFrame, *names: str) -> list[float]:
    found = measure(results, config=QUICK, names=names).metrics
    return [found[name].value for name in names]


def survey(archetypes: int, seed: int) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Rows of an invented survey, and the shares that each answer is drawn from."""
    examples = synthetic_examples(archetypes, seed)
    shares = planted_by_question([example.attributes for example in examples])
    truth = [shares[example.question_id][row] for row, example in enumerate(examples)]
    rows = [
        {
            "archetype": example.archetype,
            "question_id": example.question_id,
            "country": example.country,
            "attributes": dict(zip(ATTRIBUTE_NAMES, example.attributes, strict=True)),
            "options": example.option_list,
            "answer": example.answer,
            "correct": 0.0,
        }
        for example in examples
    ]
    return pd.DataFrame(rows), truth


@pytest.fixture(scope="module")
def planted():
    return survey(600, seed=0)


def itself(shares: np.ndarray) -> np.ndarray:
    return shares


def answered(planted, shares):
    """The rows with shares made of the true ones, the likeliest option being predicted."""
    rows, truth = planted
    told = [shares(each) for each in truth]
    likeliest = [
        options[np.argmax(each)] for options, each in zip(rows["options"], told, strict=True)
    ]
    return rows.assign(probabilities=[each.tolist() for each in told], predicted=likeliest)


def point(shares: np.ndarray) -> np.ndarray:
    return np.eye(len(shares))[np.argmax(shares)]


def even(shares: np.ndarray) -> np.ndarray:
    return np.full(len(shares), 1 / len(shares))


def test_retained_dispersion_is_the_ratio_of_standard_deviations():
    told = [[0.8, 0.2, 0], [0.6, 0.2, 0.2], [0.5, 0.5, 0], [0.1, 0.5, 0.4]]
    pooled = np.mean(told, axis=0)
    codes = np.repeat(np.arange(3), np.rint(pooled * 100).astype(int))  # pooled has two digits
    expected = codes.std() / np.std([0, 0, 2, 2])
    assert values(table("nnyy", "npnp", told), *SPREAD) == pytest.approx([expected, 0.5])


def test_cells_without_spread_in_the_survey_are_left_out():
    split = {"country": ["Japan"] * 4 + ["Egypt"] * 4}
    results = table("nnyy" + "nnnn", "npnp" + "nnyy", **split)
    assert values(results, SPREAD[1]) == [pytest.approx(0.5)]
    found = measure(table("nnnn", "nnyy"), config=QUICK, names=["accuracy", *SPREAD])
    assert set(found.metrics) == {"accuracy"}
    assert "left out, no country has different answers" in found.notes[0]


def test_what_cannot_be_read_has_no_spread():
    assert values(table("nnyy", "ny??"), SPREAD[1]) == [pytest.approx(1)]
    split = {"country": ["Japan"] * 2 + ["Egypt"] * 2}
    assert values(table("nyny", "np??", **split), SPREAD[1]) == [pytest.approx(0.5)]


def test_rows_without_probabilities_count_as_even():
    told = [[0.5, 0, 0.5], [0.5, 0, 0.5], None, None]
    found = measure(table("nnyy", "nnyy", told), config=QUICK, names=SPREAD[:1])
    assert found.metrics[SPREAD[0]].value == pytest.approx(np.sqrt((1 + 2 / 3) / 2))
    assert found.notes == [
        "dispersion_retention: 2 of 4 rows have probabilities; the rest counts as even"
    ]


def test_over_determination_is_the_ratio_of_adjusted_shares():
    """Of the answers as adjusted R squared is, 1 - (4/3 / 4) / (4 / 5); of certain ones, 1."""
    results = table("nnppyy", "nnnyyy", CERTAIN, attributes=GENDERS)
    assert values(results, "over_determination") == [pytest.approx(1 / (7 / 12))]


def test_the_model_s_share_is_that_of_answers_drawn_from_it():
    """The mean squares are those of many draws, each around the means of its own draw."""
    rng = np.random.default_rng(0)
    told = rng.dirichlet(np.ones(3), size=12)
    label = np.repeat([0, 1, 2], 4)
    drawn = draw(np.tile(told, (50_000, 1)), rng).reshape(-1, 12)
    means = drawn.reshape(-1, 3, 4).mean(axis=2)[:, label]
    within, total = ((drawn - means) ** 2).sum(axis=1).mean() / 9, drawn.var(axis=1, ddof=1).mean()
    answers = np.array([0, 0, 1, 0, 1, 1, 0, 1, 2, 2, 1, 2])
    people = 1 - answers.reshape(3, 4).var(axis=1, ddof=1).mean() / answers.var(ddof=1)
    attributes = [{"Life Stage": f"stage {each}"} for each in label]
    letters = "".join(OPTIONS[each][0] for each in answers)
    results = table(letters, probabilities=told.tolist(), attributes=attributes)
    # The means of 50,000 draws are off by about 0.002 each.
    expected = pytest.approx((1 - within / total) / people, abs=0.01)
    assert values(results, "over_determination") == [expected]


def test_the_planted_truth_is_as_determined_and_spread_as_its_answers(planted):
    found = measure(answered(planted, itself), config=QUICK).metrics
    assert found["over_determination"].value == pytest.approx(1, abs=0.02)
    assert found["over_determination"].low < 1 < found["over_determination"].high
    # Of 60 answers a country, chance takes about a hundredth of the spread.
    assert found["dispersion_retention"].value == pytest.approx(1, abs=0.03)


def test_likeliest_answers_are_more_determined_and_less_spread(planted):
    names = ("over_determination", *SPREAD)
    certain = answered(planted, point)
    found = values(certain, *names)
    assert found[0] > 1.1
    assert found[1] == pytest.approx(found[2])
    assert values(answered(planted, itself), SPREAD[1]) == pytest.approx(found[2:])
    assert found[2] < 0.95


def test_a_model_that_knows_no_people_determines_nothing(planted):
    assert values(answered(planted, even), "over_determination") == [pytest.approx(0, abs=1e-9)]
    for constant in (lambda each: np.eye(len(each))[0], lambda each: np.eye(len(each))[-1]):
        found = values(answered(planted, constant), "over_determination", *SPREAD)
        assert found == [0, 0, 0]


def test_countries_alone_determine_less_than_people(planted):
    rows, truth = planted
    cells = rows.groupby(["country", "question_id"]).indices
    pooled = {key: np.mean([truth[i] for i in places], axis=0) for key, places in cells.items()}
    keys = zip(rows["country"], rows["question_id"], strict=True)
    told = rows.assign(probabilities=[pooled[key].tolist() for key in keys])
    assert 0.5 < values(told, "over_determination")[0] < 0.9


def test_people_who_did_not_answer_are_no_group():
    silent = [{"Gender": "Not Answered"}] * 2
    told = [*CERTAIN, [0.5, 0.5, 0], [0, 1, 0]]
    results = table("nnppyyny", "nnnyyynp", told, attributes=GENDERS + silent)
    assert values(results, "over_determination") == [pytest.approx(1 / (7 / 12))]
    names = ["accuracy", "over_determination"]
    found = measure(results.assign(attributes=silent * 4), config=QUICK, names=names)
    assert found.notes == [
        "over_determination: left out, demographics explain none of the answers' variance"
    ]


DISTANCES = ("wasserstein/probabilities", "jensen_shannon/probabilities", "calibration_error")


@pytest.mark.parametrize(
    ("names", "shares", "archetypes"),
    [(("over_determination", SPREAD[0]), itself, 60), (DISTANCES, even, 200)],
)
def test_intervals_are_as_wide_as_surveys_differ(names, shares, archetypes):
    """Of 40 surveys, of which a standard deviation is known to a tenth."""
    found = np.zeros((40, len(names), 3))
    for seed, each in enumerate(found):
        results = answered(survey(archetypes, seed), shares)
        measured = measure(results, config=QUICK, names=names).metrics
        each[:] = [[m.value, m.low, m.high] for m in (measured[name] for name in names)]
    value, low, high = np.moveaxis(found, 2, 0)
    assert ((low < value) & (value < high)).all()
    np.testing.assert_allclose((high - low).mean(axis=0) / (2 * 1.96), value.std(axis=0), rtol=0.4)


def test_metrics_of_spread_are_best_at_one():
    assert [METRICS[name].best for name in (*SPREAD, "over_determination")] == [1, 1, 1]
