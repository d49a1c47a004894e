"""Compiled programs of a mesh: no table, no stack of layers and no logits are whole in them."""

import importlib.util
import json
import pathlib

import pytest
from processes import run_alone

TASKS = pathlib.Path(__file__).with_name("compile_tasks.py")
VOCAB, WIDTH, MLP, LAYERS, HEADS, KV_HEADS = 4608, 256, 640, 3, 192, 64


@pytest.fixture(scope="module", params=["cpu:8", "v5e:2x4"])
def compiled(request):
    if request.param != "cpu:8" and importlib.util.find_spec("libtpu") is None:
        pytest.skip("no compiler for TPUs here: the extra `tpu` is not installed")
    return json.loads(run_alone(TASKS, request.param, timeout=900))


def test_the_programs_of_a_run_are_all_there(compiled):
    names = ["rollout", "update", "evaluation: score", "evaluation: generate"]
    assert list(compiled["programs"]) == names


def test_no_program_holds_a_stack_of_layers_whole(compiled):
    whole = [{LAYERS, WIDTH, size} for size in (MLP, HEADS, KV_HEADS)]
    for name, program in compiled["programs"].items():
        assert len(program["shapes"]) > 50, name
        for kind, sizes in program["shapes"]:
            assert not any(part <= set(sizes) for part in whole), (name, kind, sizes)


def test_no_program_holds_a_table_whole(compiled):
    for name, program in compiled["programs"].items():
        for kind, sizes in program["shapes"]:
            assert not {VOCAB, WIDTH} <= set(sizes), (name, kind, sizes)


def test_logits_are_exchanged_and_never_gathered(compiled):
    for name, program in compiled["programs"].items():
        gathered = [one for one in program["sent"] if one["kind"] == "all-gather"]
        assert gathered, name
        for one in gathered:
            sizes = one["shape"].split("[")[1].split("]")[0].split(",")
            assert sizes[-1] != str(VOCAB), (name, one)  # a table's last axis is its width


def test_a_deep_model_compiles_to_a_program_of_the_same_size(compiled):
    lines = compiled["programs"]["update"]["lines"]
    assert abs(compiled["deep_update_lines"] / lines - 1) < 0.02
