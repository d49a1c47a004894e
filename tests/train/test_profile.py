"""A traced run: its table names operations, programs and lines, and the run is what it was."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from run_configs import TINY_RUN

from dvmap_jax.train.profile import FOLDER, TABLE, Place, own_seconds, places, table
from dvmap_jax.train.trainer import train

# Evaluated at its end alone: what is traced is steps.
UNSEEN = dataclasses.replace(TINY_RUN, evaluate_every=0)


def test_what_runs_inside_an_operation_is_not_its_own():
    spans = [(0, 10e9, "while"), (1e9, 4e9, "dot"), (2e9, 1e9, "add"), (6e9, 3e9, "dot")]
    own = {}
    for key, seconds in own_seconds(spans):
        own[key] = own.get(key, 0) + seconds
    assert own == {"while": 3, "dot": 6, "add": 1}


def test_an_instruction_knows_its_line():
    def squared(x):
        return jnp.tanh(x @ x)

    shape = jax.ShapeDtypeStruct((300, 300), jnp.float32)
    found = places(jax.jit(squared).lower(shape).compile().as_text())
    line = squared.__code__.co_firstlineno + 1
    assert Place("jit(squared)/tanh", f"train/test_profile.py:{line}") in found.values()


def test_without_operations_the_table_is_its_head():
    assert "0.0000" not in table([], 1).splitlines()[1]


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("traced")
    train(UNSEEN, workdir, profile=2)
    return workdir


def test_a_run_writes_its_ten_largest_costs(traced):
    said, head, *rows = (traced / FOLDER / TABLE).read_text().splitlines()
    assert said.startswith("2 steps traced") and head.startswith("s/step")
    assert len(rows) == 10
    seconds = [float(row.split()[0]) for row in rows]
    assert seconds == sorted(seconds, reverse=True) and seconds[0] > 0
    assert any("rollout" in row or "update" in row for row in rows)
    assert any(".py:" in row for row in rows)


def test_a_traced_run_is_the_same_run(traced, tmp_path):
    train(UNSEEN, tmp_path)
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert (tmp_path / name).read_bytes() == (traced / name).read_bytes()
    assert not (tmp_path / FOLDER).exists()
