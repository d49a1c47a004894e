"""A run's config survives files and flags, and keeps its keys and types."""

import json

import pytest

from dvmap_jax.config import RunConfig, config_dict, run_config, to_json


def test_config_survives_json():
    assert run_config(json.loads(to_json(RunConfig()))) == RunConfig()


def test_config_survives_a_config_dict():
    values = config_dict(RunConfig())
    values.num_steps = 7
    values.grpo.group_size = 4
    run = run_config(values.to_dict())
    assert (run.num_steps, run.grpo.group_size) == (7, 4)
    assert run.optimizer == RunConfig().optimizer


def test_config_dict_takes_no_unknown_key_and_no_other_type():
    values = config_dict(RunConfig())
    with pytest.raises(AttributeError, match="group_size"):
        values.grpo.grup_size = 4
    with pytest.raises(TypeError, match="num_steps"):
        values.num_steps = "many"


@pytest.mark.parametrize(
    "change",
    [
        {"objective": "ppo"},
        {"num_steps": -1},
        {"save_every": -1},
        {"warm_start_batch_size": 0},
        {"warm_start_learning_rate": 0.0},
        {"grpo": {"group_size": 1}},
    ],
)
def test_impossible_runs_are_refused(change):
    with pytest.raises(ValueError, match=r"objective|num_steps|every|warm_start|group_size"):
        run_config(change)
