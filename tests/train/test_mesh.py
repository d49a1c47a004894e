"""A mesh of eight devices, or a pmap over them, gives the updates and draws of one device."""

import json
import pathlib

import pytest
from processes import run_alone

TASKS = pathlib.Path(__file__).with_name("mesh_tasks.py")
TOLERANCE = 1e-5  # of each array's largest entry: float32 sums in another order


@pytest.mark.parametrize("head", ["tied", "untied"])
def test_every_mesh_gives_the_update_of_one_device(head):
    found = json.loads(run_alone(TASKS, head))
    meshes = [f"{name}, update" for name in ("data", "fsdp", "tensor", "all", "pmap")]
    wanted = [*meshes, "all, micro", "pmap, micro"] if head == "tied" else meshes
    assert list(found) == wanted
    for name, differences in found.items():
        assert differences["state"] < TOLERANCE, (name, differences)
        assert differences["metrics"] < TOLERANCE, (name, differences)
        if head == "tied":
            assert differences["other_tokens"] == 0 < differences["tokens"], name
            assert differences["logprobs"] < 1e-4, (name, differences)
