"""The report's files: what the page embeds, what it lets run, and curves of a run."""

import base64
import hashlib
import json
import re

import pytest
from invented_results import HOSTILE, MODELS, read_rows, write_evaluations, write_workdir

from dvmap_jax.evaluation.comparison import compare
from dvmap_jax.evaluation.learning_curves import MAX_POINTS, learning_curves
from dvmap_jax.evaluation.report_data import SCALE, report_data
from dvmap_jax.evaluation.report_files import write_report
from dvmap_jax.evaluation.report_page import embedded


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_evaluations(tmp_path_factory.mktemp("three"), archetypes=4)


@pytest.fixture(scope="module")
def page(folders, tmp_path_factory):
    output = tmp_path_factory.mktemp("report")
    write_report(folders, output, workdir=write_workdir(output / "workdir"))
    assert (output / "report.md").read_text(encoding="utf-8").startswith("# Evaluation report")
    return (output / "report.html").read_text(encoding="utf-8")


def test_texts_of_the_data_cannot_leave_their_element(page):
    text = embedded({"said": f"{HOSTILE}\u2028&amp;"})
    assert not set(text) & set("<>&\u2028")
    assert json.loads(text) == {"said": f"{HOSTILE}\u2028&amp;"}
    assert page.count("<script") == 2 and page.count("</script>") == 2  # the data and the program


def test_only_the_page_s_own_script_and_style_may_run(page):
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    assert allowed["default-src"] == allowed["form-action"] == "'none'"
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert allowed[directive] == f"'sha256-{digest}'"
    assert "url(" not in page and "innerHTML" not in page
    assert set(re.findall(r'(?:src|href)="([^"]*)"', page)) == {"#main"}


def test_columns_hold_what_the_rows_say(folders):
    data = report_data(compare(folders))
    row = [row for row in read_rows(folders[0]) if row["benchmark"] == "cross_value"][-1]
    examples, answers = data["examples"]["cross_value"], data["answers"][0]["cross_value"]
    options = data["options"][examples["options"][-1]]
    assert options == row["options"]
    assert data["countries"][examples["country"][-1]] == row["country"]
    assert data["questions"][examples["question"][-1]] == row["question_id"]
    assert options[examples["answer"][-1]] == row["answer"]
    assert options[answers["predicted"][-1]] == row["predicted"]
    assert examples["counts"][-len(options) :] == row["answer_counts"]
    assert answers["shares"][-len(options) :] == [round(p * SCALE) for p in row["probabilities"]]
    person = examples["people"][-1]
    assert data["people"][person] == row["archetype"]
    for name, column in data["attributes"].items():
        assert column["labels"][column["codes"][person]] == row["attributes"][name]


def test_metrics_are_told_with_direction_formula_and_source(folders):
    told = report_data(compare(folders))["metrics"]
    assert told["calibration_error"]["higher"] is False and told["accuracy"]["higher"] is True
    assert all(each["formula"] and each["source"] for each in told.values())


def test_a_run_s_curves_have_phases_and_ends(tmp_path):
    curves = learning_curves(write_workdir(tmp_path, steps=2000))
    found = {(curve.phase, curve.name): curve for curve in curves}
    accuracy = found["warm start", "eval/score/accuracy"]
    assert accuracy.values[0] == pytest.approx(0.3) and accuracy.low[0] == pytest.approx(0.25)
    loss = found["run", "loss"]
    assert len(loss.steps) == MAX_POINTS and (loss.steps[0], loss.steps[-1]) == (1, 2000)
    assert loss.low is None


def test_a_workdir_without_rows_or_with_a_damaged_one_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"metrics\.jsonl is missing; name the --workdir"):
        learning_curves(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2}\n{"loss": 1}\n{"step')
    with pytest.raises(ValueError, match=r"metrics\.jsonl line 2 has no step"):
        learning_curves(tmp_path)


def test_nothing_is_written_of_folders_that_do_not_fit(tmp_path):
    folders = write_evaluations(tmp_path, archetypes=2, benchmarks=("test",), models=MODELS[:1])
    (folders[0] / "results.jsonl").unlink()
    with pytest.raises(ValueError, match="is missing"):
        write_report(folders, tmp_path / "report")
    assert not (tmp_path / "report").exists()
