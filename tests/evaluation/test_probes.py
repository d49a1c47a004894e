"""All probes of a predictor, as metrics.json holds them: of anything that answers, resumable."""

import copy
import dataclasses
import functools
import json

import jax
import jsonschema
import pytest
from invented_results import MODELS, write_evaluation
from known_predictors import Known, known_examples
from misbehaving_server import answers, serving

from dvmap_jax.data.batches import DataConfig
from dvmap_jax.evaluation.asking import AskedBaseline, Endpoint, LoadedModel
from dvmap_jax.evaluation.baselines import fit_baseline
from dvmap_jax.evaluation.calls import CallConfig
from dvmap_jax.evaluation.endpoint import EndpointConfig
from dvmap_jax.evaluation.evaluator import EvaluationConfig
from dvmap_jax.evaluation.intervals import IntervalConfig
from dvmap_jax.evaluation.journal import Journal
from dvmap_jax.evaluation.metrics_file import (
    metrics_schema,
    read_metrics_file,
    write_metrics_file,
)
from dvmap_jax.evaluation.perturb import question_alone
from dvmap_jax.evaluation.probes import run_probes
from dvmap_jax.evaluation.variants import ProbesConfig
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.survey.codebook import ATTRIBUTE_NAMES
from dvmap_jax.survey.synthetic import synthetic_examples

CONFIG = ProbesConfig(max_rows=0, shares=(0.5,), orders=1, interval=IntervalConfig(resamples=199))
EXAMPLES = known_examples(0)
probes_of = functools.partial(run_probes, benchmark="test", template="answer", config=CONFIG)


@pytest.fixture(scope="module")
def probes():
    return probes_of(Known(("country", "stage")), EXAMPLES)


def test_probes_are_what_the_schema_says_and_are_written(probes, tmp_path):
    schema = {"$defs": metrics_schema()["$defs"], "$ref": "#/$defs/probes"}
    jsonschema.validate(json.loads(json.dumps(probes)), schema)
    assert set(probes) == set(metrics_schema()["$defs"]["probes"]["properties"])
    for kind, part in (("permutation", "permutation"), ("dropped", "dropped")):
        assert set(probes[part][0]) == set(metrics_schema()["$defs"][kind]["properties"])
    write_evaluation(tmp_path, MODELS[1], archetypes=3)
    metrics = copy.deepcopy(read_metrics_file(tmp_path / "metrics.json"))
    metrics["benchmarks"]["test"]["probes"] = probes
    write_metrics_file(tmp_path / "metrics.json", metrics)
    assert read_metrics_file(tmp_path / "metrics.json") == metrics


def test_every_probe_is_there(probes):
    assert [each["name"] for each in probes["permutation"]] == ["attributes", "country"]
    assert [each["attribute"] for each in probes["dropped"]] == list(ATTRIBUTE_NAMES)
    assert list(probes["attribution"]) == ["none", "country", "all"]
    places = {each["name"]: [p["x"] for p in each["points"]] for each in probes["curves"]}
    assert places == {
        "missing": [0.0, 0.5],
        "noise": [0.0, 0.5],
        "order": ["as asked", "reversed", "shuffled 1"],
        "question_only": ["as asked", "question only"],
        "template": ["answer", "answer_reworded_1", "answer_reworded_2"],
    }
    assert probes["rows"] == len(EXAMPLES) == 192
    # As asked, 2 shuffles, 11 left out, 2 told less, 2 with a share, 2 orders, 2 other words.
    assert probes["about"] == "48 archetypes of test: 192 rows, asked 22 times, seed 0"


def test_what_is_found_is_told_apart(probes):
    country = probes_of(Known(("country",)), EXAMPLES)
    nothing = probes_of(Known(()), EXAMPLES)
    p = [[each["p"] for each in found["permutation"]] for found in (probes, country, nothing)]
    assert max(p[0]) <= 0.05 and p[1][1] <= 0.05
    assert min(p[1][0], *p[2]) > 0.05
    gained = [found["attribution"] for found in (probes, country, nothing)]
    assert gained[0]["none"]["value"] < gained[0]["country"]["value"] < gained[0]["all"]["value"]
    assert gained[1]["none"]["high"] < gained[1]["all"]["low"]


def test_notes_say_what_numbers_do_not(probes):
    unchanged, country, gained, drawn = probes["notes"]
    assert "shuffled by itself" in country
    assert unchanged.startswith("country shuffled: ")
    assert unchanged.endswith(" of 48 archetypes are told as before")
    told = probes["attribution"]
    by_rest = told["all"]["value"] - told["country"]["value"]
    assert f"by the rest {by_rest:+.3f} (" in gained and "its country among them" in drawn


class Silent(Known):
    """Draws answers of which none can be read."""

    def __call__(self, examples, *, name, template=None):
        rows = super().__call__(examples, name=name)
        return rows.assign(predicted=None, predictions=[[None]] * len(rows), correct=0.0)


def test_answers_that_are_drawn_or_cannot_be_read_are_noted():
    found = probes_of(Silent(), EXAMPLES)
    assert "so there is no agreement with them" in found["notes"][-1]
    assert "answers are drawn" in found["notes"][-2]
    assert {p["agreement"] for curve in found["curves"] for p in curve["points"]} == {None}


def test_a_budget_of_rows_is_kept_and_told():
    config = dataclasses.replace(CONFIG, max_rows=60)
    ask = Known(("country",))
    found = probes_of(ask, EXAMPLES, config=config)
    told = "15 of 48 archetypes of test, countries in turn: 60 of 192 rows, asked 22 times, seed 0"
    assert (found["rows"], found["about"]) == (60, told)
    assert all(len(examples) == 60 for examples, _ in ask.asked.values())


def test_a_country_majority_uses_the_country_and_nothing_else():
    ask = AskedBaseline(fit_baseline("majority_country_question", known_examples(1)))
    attributes, country = probes_of(ask, EXAMPLES)["permutation"]
    assert (attributes["value"], attributes["low"], attributes["p"]) == (0, 0, 1)
    assert country["low"] > 0 and country["p"] == 1 / 200


@pytest.mark.parametrize("seed", [0, 7])
def test_what_is_asked_has_the_same_name_again_and_another_with_another_seed(seed):
    names = []
    for config in (CONFIG, CONFIG, dataclasses.replace(CONFIG, seed=seed + 1)):
        ask = Known(("country",))
        probes_of(ask, EXAMPLES, config=dataclasses.replace(config, seed=config.seed + seed))
        names.append(set(ask.asked))
    assert len(names[0]) == 22 and names[0] == names[1]
    # Shuffles, shares and orders are drawn; as asked, left out and alone are not.
    assert len(names[0] & names[2]) == 22 - 2 - 2 - 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"template": "released"}, "template 'released' takes its prompts from the corpus"),
        ({"examples": question_alone(EXAMPLES)}, r"example 0 \(Q1\) is asked of nobody"),
        ({"config": dataclasses.replace(CONFIG, max_rows=20)}, "20 rows hold 5 archetypes"),
    ],
)
def test_what_cannot_be_probed_is_refused_before_anything_is_asked(change, said):
    ask = Known()
    with pytest.raises(ValueError, match=said):
        probes_of(ask, **({"examples": EXAMPLES} | change))
    assert ask.asked == {}


class StopError(Exception):
    """What ends the probes in the middle."""


def test_probes_of_a_model_go_on_where_they_stopped(tokenizer, tmp_path):
    sizes = {"width": 16, "mlp_width": 16, "num_layers": 1, "head_dim": 8}
    model = Transformer(ModelConfig(vocab_size=600, **sizes, initializer_range=0.3))
    data = DataConfig(template="answer", system_prompt="none", max_prompt_length=512)
    examples = synthetic_examples(2, seed=3)
    batches, compiled = [], {}

    def loaded(folder, limit):
        def progress(done, of):
            batches.append(done)
            if len(batches) == limit:
                raise StopError

        config = EvaluationConfig(batch_size=4)
        params, journal = model.init(jax.random.key(1)), Journal(folder, {})
        found = LoadedModel(model, params, tokenizer, config, data, journal, progress)
        found.__dict__["_evaluators"] = compiled  # by all three, which saves seconds
        return found

    whole = probes_of(loaded(tmp_path / "whole", 0), examples)
    asked = len(batches)
    batches.clear()
    with pytest.raises(StopError):
        probes_of(loaded(tmp_path / "part", asked // 2), examples)
    assert probes_of(loaded(tmp_path / "part", 0), examples) == whole
    assert len(batches) == asked
    rows = Journal(tmp_path / "part", {}).rows()
    assert rows == Journal(tmp_path / "whole", {}).rows()
    assert len(rows) == 22 * len(examples)


def test_probes_of_an_endpoint_go_on_with_another_budget(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    examples = EXAMPLES[:8]  # two archetypes

    def start(server, budget):
        config = EndpointConfig(server.url, "m", calls=CallConfig(max_requests=budget))
        journal = Journal(tmp_path, config.described())
        data = DataConfig(template="answer", system_prompt="none")
        return probes_of(Endpoint(config, data, journal, lambda done, of: None), examples)

    with serving(answers) as server:
        with pytest.raises(ValueError, match="budget of 5 .* spent: 5 of 8 rows of 'test/as"):
            start(server, 5)
        found = start(server, 0)
        assert start(server, 1) == found  # nothing is left to ask
    assert len(server.requests) == 22 * len(examples)
    worded = [sum(words in r.prompt for r in server.requests) for words in ("Options: ", "List: ")]
    assert worded == [20 * len(examples), len(examples)]
    assert "answers are drawn" in found["notes"][-1]
