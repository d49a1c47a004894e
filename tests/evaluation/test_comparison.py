"""Models beside one another: right differences of right rows, and bad folders refused by name."""

import json

import numpy as np
import pytest
from invented_results import MODELS, read_rows, write_evaluation, write_evaluations, write_rows

from dvmap_jax.evaluation.comparison import COUNTRY_MAJORITY, Estimate, Gap, compare, verdict
from dvmap_jax.evaluation.intervals import IntervalConfig
from dvmap_jax.evaluation.report_markdown import markdown_table, report_markdown, verdict_text

QUICK = IntervalConfig(resamples=200)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_evaluations(tmp_path_factory.mktemp("three"), archetypes=8)


@pytest.fixture(scope="module")
def comparison(folders):
    return compare(folders, config=QUICK)


@pytest.fixture
def pair(tmp_path):
    """Two folders of one small benchmark, to be damaged."""
    return write_evaluations(tmp_path, archetypes=2, benchmarks=("test",), models=MODELS[:2])


def damage(folder, **changes):
    """Other values in the third row."""
    rows = read_rows(folder)
    rows[2] |= changes
    write_rows(folder, rows)


def test_differences_are_those_of_the_same_rows(comparison, folders):
    warm, grpo = (
        np.array([row["correct"] for row in read_rows(folder) if row["benchmark"] == "cross_value"])
        for folder in folders[:2]
    )
    gap = comparison.gap("cross_value", of=MODELS[1].name, minus=MODELS[0].name)
    assert gap.estimate.value == pytest.approx(grpo.mean() - warm.mean())
    assert gap.rows == len(grpo) == 8 * 16
    assert gap.estimate.low < gap.estimate.value < gap.estimate.high
    assert len(comparison.gaps) == 3 * 4  # pairs of models on each benchmark


def test_rows_are_paired_by_number_not_by_place(folders, tmp_path, comparison):
    shuffled = [tmp_path / "a", tmp_path / "b"]
    for place, folder in enumerate(shuffled):
        write_evaluation(folder, MODELS[place], archetypes=8)
        rows = read_rows(folder)
        write_rows(folder, [rows[i] for i in np.random.default_rng(place).permutation(len(rows))])
    again = compare(shuffled, config=QUICK)
    assert again.gaps == tuple(
        gap for gap in comparison.gaps if {gap.of, gap.minus} == {m.name for m in MODELS[:2]}
    )


def test_the_corpus_splits_stand_in_the_order_of_what_they_hold_out(comparison):
    assert comparison.generalisation() == (
        ("in distribution", "test"),
        ("unseen archetypes", "cross_demographic"),
        ("unseen countries", "cross_country"),
        ("unseen questions", "cross_value"),
    )
    assert comparison.benchmarks == ("test", "cross_demographic", "cross_country", "cross_value")


def test_a_baseline_stands_once_and_twice_where_it_was_fitted_on_something_else(tmp_path):
    folders = write_evaluations(tmp_path, archetypes=2, benchmarks=("mine",), models=MODELS[:2])
    names = [line.name for line in compare(folders, config=QUICK).lines["mine"]]
    assert names == [MODELS[0].name, MODELS[1].name, "baseline:uniform", COUNTRY_MAJORITY]
    metrics = json.loads((folders[1] / "metrics.json").read_text())
    entry = metrics["benchmarks"]["mine"]["entries"][COUNTRY_MAJORITY]
    entry["metrics"]["accuracy"]["value"] += 0.1
    (folders[1] / "metrics.json").write_text(json.dumps(metrics))
    names = [line.name for line in compare(folders, config=QUICK).lines["mine"]]
    assert names[3:] == [COUNTRY_MAJORITY, f"{COUNTRY_MAJORITY} (as in {folders[1]})"]


def test_models_of_one_name_are_told_apart_by_their_folders(tmp_path):
    twins = (MODELS[0], MODELS[0])
    folders = write_evaluations(tmp_path, archetypes=2, benchmarks=("test",), models=twins)
    comparison = compare(folders, config=QUICK)
    assert comparison.models == tuple(f"{MODELS[0].name} ({folder})" for folder in folders)
    assert comparison.gaps[0].estimate == Estimate(0, 0, 0)


@pytest.mark.parametrize(
    ("ends", "said"),
    [((0.01, 0.05), "beats"), ((-0.01, 0.05), "does not beat"), ((-0.05, -0.01), "is below")],
)
def test_the_verdict_is_of_the_interval(ends, said):
    gap = Gap("test", "m", COUNTRY_MAJORITY, Estimate(sum(ends) / 2, *ends), 0.5, 10)
    assert verdict(gap) == said
    assert verdict_text(gap).startswith(f"m {said} the country majority on test: ")


def test_the_markdown_has_every_model_with_intervals_and_differences(comparison):
    text = report_markdown(comparison)
    assert "country majority on cross_country: " in text
    line = comparison.line("test", MODELS[1].name).metrics["accuracy"]
    assert f"{line.value:.3f} ({line.low:.3f} to {line.high:.3f})" in text
    for said in ("calls failed (timeout)", "reversed", "## Notes", "unseen countries", "p = 0.004"):
        assert said in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    for table in tables:
        assert len({line.replace("\\|", "").count("|") for line in table.split("\n")}) == 1
    assert "\n- the endpoint was not asked\n" in text  # a note of the probes


def test_a_cell_cannot_break_a_table():
    assert markdown_table(["a", "b"], [["x|y\nz", "1"]]).split("\n")[-1] == "| x\\|y z |   1 |"


WRONG_ROWS = {
    "another question": ({"question_id": "K9"}, "line 3: question_id is 'K9', but 'K3' in "),
    "another answer": ({"options": ["a"], "answer": "a", "probabilities": None, "predicted": None,
                        "answer_counts": None},
                       r"line 3: options is \['a'\], but"),
    "duplicate": ({"number": 1}, "line 3 repeats row 1 of benchmark 'test', which line 2 has"),
    "too high": ({"number": 99}, "line 3: number is 99 in benchmark 'test' of 32 rows"),
    "unknown benchmark": ({"benchmark": "dev"}, "has 1 rows of benchmark 'dev', of which"),
    "no option": ({"predicted": "Perhaps"}, "line 3: predicted is 'Perhaps', which is none of"),
    "shares": ({"probabilities": [1.0]}, "line 3: probabilities has 1 values for"),
    "correct": ({"correct": 3}, "line 3: correct is 3; it must lie between 0 and 1"),
    "country": ({"country": None}, "line 3: country is None, which it cannot be"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_a_wrong_row_is_named_by_file_and_line(case, pair):
    changes, said = WRONG_ROWS[case]
    damage(pair[1], **changes)
    with pytest.raises(ValueError, match=said) as caught:
        compare(pair, config=QUICK)
    assert str(pair[1] / "results.jsonl") in str(caught.value)


def test_results_of_other_examples_are_refused(pair):
    metrics = json.loads((pair[1] / "metrics.json").read_text())
    metrics["benchmarks"]["test"]["digest"] = "another"
    (pair[1] / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match="benchmark 'test' has the digest 'another'.*not the same"):
        compare(pair, config=QUICK)


def test_broken_and_missing_files_are_named(pair):
    results = pair[1] / "results.jsonl"
    lines = results.read_text().split("\n")
    results.write_text("\n".join([*lines[:4], lines[4][:20], *lines[5:]]))
    with pytest.raises(ValueError, match=r"results\.jsonl line 5 is not JSON"):
        compare(pair, config=QUICK)
    results.write_text("\n".join(lines[:-3]) + "\n")
    with pytest.raises(ValueError, match="has 30 rows of benchmark 'test', metrics.json counts 32"):
        compare(pair, config=QUICK)
    results.unlink()
    with pytest.raises(ValueError, match=r"results\.jsonl is missing"):
        compare(pair, config=QUICK)
    with pytest.raises(ValueError, match="a folder is named twice"):
        compare([pair[0], pair[0]], config=QUICK)
