"""Every shipped config is a run that can be built."""

import importlib.util
import pathlib

import pytest

from dvmap_jax.config import run_config

CONFIGS = sorted((pathlib.Path(__file__).parents[1] / "configs").glob("*.py"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_valid_and_states_its_command(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = run_config(module.get_config().to_dict())
    assert f"--config=configs/{path.name}" in module.__doc__
    roots = config.data.batch_size // config.grpo.updates_per_rollout
    assert roots % (config.optimizer.micro_batch_size or roots) == 0
