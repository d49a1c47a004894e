"""The objective `distribution`: exact on one device and on meshes, and a loss that is proper."""

import json
import pathlib

from processes import run_alone

TASKS = pathlib.Path(__file__).with_name("distribution_tasks.py")
TOLERANCE = 1e-9  # float64 sums in another order


def test_loss_and_gradients_are_those_of_every_options_own_row():
    found = json.loads(run_alone(TASKS, timeout=600))
    meshes = [f"{name}, tied" for name in ("one", "data", "fsdp", "tensor", "all", "pmap")]
    assert list(found) == [*meshes, "one, untied"]
    for name, gaps in found.items():
        assert gaps["largest"] > 0.1, name
        assert max(gaps["loss"], gaps["gradient"]) < TOLERANCE, (name, gaps)
