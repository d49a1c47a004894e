"""Compiled programs of a mesh: no table, no stack of layers and no logits are whole in them."""

import dataclasses
import importlib.util
import json
import pathlib

import jax
import pytest
from processes import run_alone

from dvmap_jax.config import RunConfig
from dvmap_jax.data.batches import DataConfig
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.train.ahead import Ahead
from dvmap_jax.train.compilation import SPARE, advice, at_a_time, check_room, compile_programs
from dvmap_jax.train.costs import CHIPS
from dvmap_jax.train.programs import programs
from dvmap_jax.train.state import OptimizerConfig

TASKS = pathlib.Path(__file__).with_name("compile_tasks.py")
VOCAB, WIDTH, MLP, LAYERS, HEADS, KV_HEADS = 4608, 256, 640, 3, 192, 64


@pytest.fixture(scope="module", params=["cpu:8", "v5e:2x4"])
def compiled(request):
    if request.param != "cpu:8" and importlib.util.find_spec("libtpu") is None:
        pytest.skip("no compiler for TPUs here: the extra `tpu` is not installed")
    return json.loads(run_alone(TASKS, request.param, timeout=900))


def test_the_programs_of_a_run_are_all_there(compiled):
    names = ["rollout", "reference", "update", "evaluation: score", "evaluation: generate"]
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


SMALL = ModelConfig(vocab_size=64, width=32, mlp_width=48, num_layers=1, head_dim=8)
RUN = RunConfig(
    preflight="on",
    data=DataConfig(batch_size=8, max_prompt_length=64),
    sampling=SamplingConfig(max_tokens=64),
)


def drawn(config):
    """The compiled rollout of a run on one device."""
    how = {"only": lambda program: program.name == "rollout"}
    return compile_programs(config, SMALL, jax.devices()[:1], **how)[0]


def chip(memory):
    return dataclasses.replace(CHIPS["v5e"], memory=memory)


def test_where_something_does_not_fit_the_rows_that_would_are_named():
    whole = drawn(RUN)
    quarter = dataclasses.replace(RUN, sampling=dataclasses.replace(RUN.sampling, batch_size=2))
    memory = drawn(quarter).peak / (1 - SPARE)
    assert whole.fits(2 * whole.peak) and not whole.fits(memory)
    how = {"large": whole, "devices": jax.devices()[:1]}
    said = advice(RUN, SMALL, chip=chip(memory), **how)
    assert said == "with sampling.batch_size = 2 it would"
    assert "fewer rows at a time do not help" in advice(RUN, SMALL, chip=chip(1000), **how)


def test_less_at_a_time_is_asked_for_in_the_unit_of_the_config():
    def asked(program, **optimizer):
        return at_a_time(RunConfig(optimizer=OptimizerConfig(**optimizer)), program)

    assert asked("update", micro_batch_size=4) == ("optimizer", "micro_batch_size")
    assert asked("reference", micro_batch_tokens=4096) == ("optimizer", "micro_batch_tokens")
    assert asked("rollout", micro_batch_tokens=4096) == ("sampling", "batch_size")


def test_a_run_that_does_not_fit_its_devices_stops_before_it_starts(monkeypatch):
    mesh = jax.sharding.Mesh(
        [[[jax.devices()[0]]]],
        ("data", "fsdp", "tensor"),
        axis_types=(jax.sharding.AxisType.Auto,) * 3,
    )
    with jax.set_mesh(mesh):
        found = programs(RUN, SMALL, mesh)[:1]
        with Ahead(found, lambda what: None) as ahead:
            check_room(RUN, found, ahead, mesh)

    def full(self, name):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no room for 1 GiB")

    monkeypatch.setattr(Ahead, "compiled", full)
    with pytest.raises(MemoryError, match=r"rollout needs .* no room for 1 GiB; lower sampling"):
        check_room(RUN, found, ahead, mesh)
    asked = dataclasses.replace(RUN, preflight="auto")
    check_room(asked, found, ahead, mesh)  # a CPU is not asked
