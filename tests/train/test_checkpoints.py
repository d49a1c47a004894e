"""A step is saved whole or not at all, and latest and best survive restarts."""

import dataclasses
import math
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dvmap_jax.model.config import PRESETS, ModelConfig
from dvmap_jax.train.checkpoints import (
    Best,
    CheckpointConfig,
    Checkpoints,
    is_checkpoint,
    read_checkpoint,
)

METRIC = "reward/mean"
DATA = {"next_index": 96, "epoch": 1}
MODEL = PRESETS["llama3p2_3b"]  # has a nested record, the rope scaling


def make_state(step=0, *, size=8, dtype=jnp.float32):
    """Parameters with AdamW's moments, every number telling the step."""
    params = {
        "embed": {"table": jnp.full((size, 4), step, dtype)},
        "norm": {"scale": jnp.full((4,), step, jnp.bfloat16)},
    }
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3)).init(params)
    return {"step": jnp.int32(step), "params": params, "optimizer": optimizer}


def abstract(state):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)


def save(checkpoints, step, value=None, *, state=None):
    meta = {"model": dataclasses.asdict(MODEL), "skipped": 2}
    metrics = {} if value is None else {METRIC: value, "other": 1.0}
    state = make_state(step) if state is None else state
    checkpoints.save(step, state, data=DATA, meta=meta, metrics=metrics)


def kept_steps(workdir):
    return {int(folder.name) for folder in (workdir / "checkpoints").iterdir()}


def open_checkpoints(workdir, mode="max"):
    return Checkpoints(workdir, CheckpointConfig(best_metric=METRIC, best_mode=mode))


def test_restore_gives_back_every_bit(tmp_path):
    state = make_state(7) | {"key": jax.random.normal(jax.random.key(0), (5, 3))}
    with open_checkpoints(tmp_path) as checkpoints:
        save(checkpoints, 7, 0.5, state=state)
        checkpoints.wait()
        restored = checkpoints.restore(abstract(state))
    assert jax.tree.structure(restored.state) == jax.tree.structure(state)
    for found, saved in zip(jax.tree.leaves(restored.state), jax.tree.leaves(state), strict=True):
        assert found.dtype == saved.dtype
        np.testing.assert_array_equal(found, saved)
    assert (restored.step, restored.data, restored.meta["skipped"]) == (7, DATA, 2)


@pytest.mark.parametrize(("seed", "mode"), [(0, "max"), (1, "min"), (2, "max")])
def test_latest_and_best_are_kept_through_restarts(tmp_path, seed, mode):
    rng = random.Random(seed)
    values = [rng.choice([0.1, 0.2, 0.3, None, math.nan]) for _ in range(10)]
    sign = 1 if mode == "max" else -1
    scored = {}
    checkpoints = open_checkpoints(tmp_path, mode)
    for step, value in enumerate(values, start=1):
        if step in (4, 8):
            checkpoints.close()
            checkpoints = open_checkpoints(tmp_path, mode)
        save(checkpoints, step, value)
        checkpoints.wait()
        if value is not None and math.isfinite(value):
            scored[step] = value
        best = max(scored, key=lambda at: (sign * scored[at], at), default=None)
        assert kept_steps(tmp_path) == {step} | ({best} if best else set())
        assert checkpoints.best == (Best(METRIC, scored[best], best) if best else None)
    restored = checkpoints.restore(abstract(make_state()))
    assert restored.step == 10
    assert restored.meta["best"] == dataclasses.asdict(checkpoints.best)
    checkpoints.close()


def test_state_may_be_donated_right_after_save(tmp_path):
    bump = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 1, state), donate_argnums=0)
    state = bump(make_state(3, size=500_000))
    wanted = np.array(state["params"]["embed"]["table"])
    with open_checkpoints(tmp_path) as checkpoints:
        save(checkpoints, 1, state=state)
        for _ in range(5):
            state = bump(state)
        checkpoints.wait()
        restored = checkpoints.restore(abstract(state))
    np.testing.assert_array_equal(restored.state["params"]["embed"]["table"], wanted)


def test_saving_a_step_twice_leaves_it_as_it_is(tmp_path):
    with open_checkpoints(tmp_path) as checkpoints:
        save(checkpoints, 5, 0.5)
        save(checkpoints, 5, 0.9, state=make_state(6))
        checkpoints.wait()
        assert checkpoints.best == Best(METRIC, 0.5, 5)
        assert int(checkpoints.restore(abstract(make_state())).state["step"]) == 5


ENDLESS_SAVES = """
import pathlib, sys
import test_checkpoints as t
checkpoints = t.open_checkpoints(pathlib.Path(sys.argv[1]))
state = t.make_state(1, size=2_000_000)
for step in range(1, 1000):
    state["step"] = t.jnp.int32(step)
    t.save(checkpoints, step, float(step % 3), state=state)
    print(step, flush=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.15])
def test_kill_during_a_save_leaves_the_previous_step(tmp_path, delay):
    here = pathlib.Path(__file__).parent
    command = [sys.executable, "-c", ENDLESS_SAVES, str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=here)
    for line in child.stdout:
        if line.strip() == "4":
            break
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    with open_checkpoints(tmp_path) as checkpoints:
        step = checkpoints.latest_step
        restored = checkpoints.restore(abstract(make_state(size=2_000_000)))
        assert step >= 3
        assert int(restored.state["step"]) == step
        assert checkpoints.best.value == 2.0
        save(checkpoints, step + 1, 3.0)
        checkpoints.wait()
        assert kept_steps(tmp_path) == {step + 1}


def test_read_checkpoint_takes_params_of_the_step_that_is_named(tmp_path):
    with open_checkpoints(tmp_path) as checkpoints:
        save(checkpoints, 1, 0.9)
        save(checkpoints, 2, 0.1)
    best, latest = read_checkpoint(tmp_path), read_checkpoint(tmp_path, step="latest")
    first, second = read_checkpoint(tmp_path / "checkpoints/1"), read_checkpoint(tmp_path, step="2")
    assert isinstance(latest.config, ModelConfig)
    assert latest.config == MODEL
    assert latest.tokenizer == tmp_path / "tokenizer"
    for model, step in ((best, 1), (latest, 2), (first, 1), (second, 2)):
        assert model.step == step
        saved = make_state(step)["params"]
        assert jax.tree.structure(model.params) == jax.tree.structure(saved)
        for found, wanted in zip(
            jax.tree.leaves(model.params), jax.tree.leaves(saved), strict=True
        ):
            assert found.dtype == wanted.dtype
            np.testing.assert_array_equal(found, wanted)


def test_read_checkpoint_prefers_the_average_of_parameters(tmp_path):
    average = jax.tree.map(lambda leaf: leaf + 5, make_state(1)["params"])
    with open_checkpoints(tmp_path) as checkpoints:
        save(checkpoints, 1, 0.5, state=make_state(1) | {"average": average})
    found = read_checkpoint(tmp_path).params
    jax.tree.map(np.testing.assert_array_equal, found, average)


def test_a_step_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    with open_checkpoints(tmp_path) as checkpoints:
        save(checkpoints, 4, 0.5)
    with pytest.raises(FileNotFoundError, match="of step '3'; there are 4, 'best' and 'latest'"):
        read_checkpoint(tmp_path, step="3")


def test_reading_a_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    assert is_checkpoint(tmp_path)
    assert not is_checkpoint(tmp_path / "model")
    for path, message in (
        (tmp_path / "model", "neither a run's workdir nor a step"),
        (tmp_path, "no complete checkpoint"),
        (tmp_path / "checkpoints" / "3", "no complete checkpoint"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            read_checkpoint(path)


def test_restoring_another_shape_is_refused_in_one_line(tmp_path):
    with open_checkpoints(tmp_path) as checkpoints:
        save(checkpoints, 1)
        checkpoints.wait()
        message = r"params/embed/table holds float32 \[8, 4\], needed is float32 \[9, 4\]"
        with pytest.raises(ValueError, match=message) as error:
            checkpoints.restore(abstract(make_state() | {"params": make_state(size=9)["params"]}))
        assert "\n" not in str(error.value)


def test_restoring_where_nothing_was_saved_is_refused(tmp_path):
    with (
        open_checkpoints(tmp_path) as checkpoints,
        pytest.raises(FileNotFoundError, match="no checkpoint of step None"),
    ):
        checkpoints.restore(abstract(make_state()))
