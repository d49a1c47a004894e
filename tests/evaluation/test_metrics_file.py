"""`metrics.json`: what is written is what the schema promises, and what is wrong has a name."""

import copy
import json

import jsonschema
import numpy as np
import pytest
from invented_results import MODELS, write_evaluation

from dvmap_jax.evaluation.metrics_file import metrics_schema, read_metrics_file, write_metrics_file


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    write_evaluation(folder, MODELS[1], archetypes=3)
    return read_metrics_file(folder / "metrics.json")


def changed(metrics, path, value):
    """A copy with another value at a path of keys and places; `...` takes the key away."""
    new = copy.deepcopy(metrics)
    inner = new
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return new


def test_what_is_written_holds_the_schema(metrics, tmp_path):
    accuracy = {"value": np.float32(0.5), "low": None, "high": np.float64(1)}
    entry = ("benchmarks", "test", "entries", "baseline:uniform", "metrics", "accuracy")
    write_metrics_file(tmp_path / "metrics.json", changed(metrics, entry, accuracy))
    written = json.loads((tmp_path / "metrics.json").read_text())
    jsonschema.Draft202012Validator.check_schema(metrics_schema())
    jsonschema.validate(written, metrics_schema())
    assert read_metrics_file(tmp_path / "metrics.json") == written
    assert written["benchmarks"]["test"]["entries"]["baseline:uniform"]["metrics"]["accuracy"] == {
        "value": 0.5,
        "low": None,
        "high": 1.0,
    }


ENTRY = ("benchmarks", "test", "entries", "baseline:uniform")
WRONG = {
    "version": (("version",), 2, "version is 2; this program reads version 1"),
    "mode": (("mode",), "guess", "mode is 'guess'; it must be one of 'score', 'generate'"),
    "no model": (("model",), ..., "model is missing"),
    "empty model": (("model",), "", "model is ''; it must be a text that is not empty"),
    "rows": (("benchmarks", "test", "rows"), 0, "benchmarks.test.rows is 0"),
    "rows are counted": (("benchmarks", "test", "rows"), 2.5, "rows is 2.5; it must be of type i"),
    "a flag is no number": (("benchmarks", "test", "rows"), True, "rows is True"),
    "no benchmark": (("benchmarks",), {}, "benchmarks is empty"),
    "a text for a value": (
        (*ENTRY, "metrics", "accuracy", "value"),
        "0.5",
        "entries['baseline:uniform'].metrics.accuracy.value is '0.5'; it must be of type number",
    ),
    "an end left out": ((*ENTRY, "metrics", "accuracy", "low"), ..., "accuracy.low is missing"),
    "notes": ((*ENTRY, "notes"), ["x", 3], "notes[1] is 3; it must be of type string"),
    "a difference": (
        ("benchmarks", "test", "differences", 0, "minus"),
        None,
        "benchmarks.test.differences[0].minus is None",
    ),
    "a point": (
        ("benchmarks", "test", "probes", "curves", 2, "points", 1, "x"),
        None,
        "probes.curves[2].points[1].x is None; it must be of type number or string",
    ),
    "probes": (("benchmarks", "test", "probes"), [], "probes is []; it must be of type object"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_field_is_named_with_its_file(case, metrics, tmp_path):
    path, value, said = WRONG[case]
    wrong = changed(metrics, path, value)
    file = tmp_path / "metrics.json"
    file.write_text(json.dumps(wrong), encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        read_metrics_file(file)
    assert str(file) in str(caught.value) and said in str(caught.value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, metrics_schema())


def test_a_number_that_is_none_is_not_written(metrics, tmp_path):
    path = (*ENTRY, "metrics", "accuracy", "value")
    with pytest.raises(ValueError, match="accuracy.value is nan; it must be finite"):
        write_metrics_file(tmp_path / "metrics.json", changed(metrics, path, float("nan")))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_broken_file_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"metrics\.json is missing; scripts/evaluate\.py"):
        read_metrics_file(tmp_path / "metrics.json")
    (tmp_path / "metrics.json").write_text('{"version": 1', encoding="utf-8")
    with pytest.raises(ValueError, match="is not JSON: .* line 1"):
        read_metrics_file(tmp_path / "metrics.json")
    (tmp_path / "metrics.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match="the file is .*; it must be of type object"):
        read_metrics_file(tmp_path / "metrics.json")
