"""A workdir belongs to one config."""

import json

import pytest

from dvmap_jax.train.workdir import claim_workdir

CONFIG = {
    "num_steps": 10,
    "save_every": 5,
    "grpo": {"group_size": 8, "clip_low": 0.2},
    "corpus": {"heldout_countries": ["Egypt"]},
    "log": {"every": 1},
}


def changed(**sections):
    merged = {key: CONFIG[key] | value for key, value in sections.items() if type(value) is dict}
    return json.dumps(CONFIG | sections | merged)


@pytest.fixture
def claimed(tmp_path):
    workdir = tmp_path / "runs" / "one"
    claim_workdir(workdir, json.dumps(CONFIG))
    (workdir / "metrics.jsonl").touch()
    return workdir


def test_same_config_may_come_back(claimed):
    claim_workdir(claimed, json.dumps(CONFIG))
    assert json.loads((claimed / "config.json").read_text()) == CONFIG


def test_another_config_is_refused_with_the_keys_that_differ(claimed):
    other = changed(grpo={"group_size": 4}, corpus={"heldout_countries": []}, num_steps=20)
    with pytest.raises(ValueError) as error:
        claim_workdir(claimed, other)
    message = str(error.value)
    assert "grpo.group_size 8 -> 4" in message
    assert "corpus.heldout_countries ['Egypt'] -> []" in message
    assert "num_steps" not in message
    assert "\n" not in message
    assert json.loads((claimed / "config.json").read_text()) == CONFIG


def test_length_and_periods_may_change(claimed):
    longer = changed(num_steps=20, save_every=2, log={"every": 3})
    claim_workdir(claimed, longer)
    assert (claimed / "config.json").read_text() == longer


def test_a_folder_with_files_of_no_run_is_refused(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("mine\n")
    with pytest.raises(ValueError, match="holds metrics.jsonl but no config.json"):
        claim_workdir(tmp_path, json.dumps(CONFIG))
    assert not (tmp_path / "config.json").exists()


def test_a_start_that_left_nothing_to_lose_claims_nothing(tmp_path):
    claim_workdir(tmp_path, json.dumps(CONFIG))
    other = changed(grpo={"group_size": 4})
    claim_workdir(tmp_path, other)
    assert (tmp_path / "config.json").read_text() == other


def test_a_broken_config_file_is_refused(claimed):
    (claimed / "config.json").write_text('{"num_st')
    with pytest.raises(ValueError, match="is not JSON"):
        claim_workdir(claimed, json.dumps(CONFIG))
