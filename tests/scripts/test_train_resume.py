"""A run killed at any step and started again is the run that was never stopped."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from processes import QUICK

ROOT = pathlib.Path(__file__).parents[2]
STEPS, WARM = 6, 8
SMALL = [
    f"--config.num_steps={STEPS}",
    f"--config.warm_start_steps={WARM}",
    "--config.warm_start_objective=distribution",
    "--config.save_every=2",
    "--config.evaluate_every=3",
    "--config.sample_every=1",
    "--config.corpus.path=synthetic",
    "--config.corpus.heldout_path=",
    "--config.corpus.heldout_fraction=0.05",
    "--config.corpus.synthetic_archetypes=30",
    "--config.model.num_layers=1",
    "--config.model.width=32",
    "--config.data.batch_size=2",
    "--config.data.attribute_dropout=0.2",
    "--config.data.option_order=random",
    "--config.data.rewordings=True",
    "--config.warm_start_batch_size=2",
    "--config.rewards.kind=quadratic",
    "--config.grpo.group_size=3",
    "--config.grpo.normalize_by_std=False",
    "--config.grpo.redraws=1",
    "--config.optimizer.average_decay=0.9",
    "--config.evaluation.max_examples=32",
    "--config.evaluation.batch_size=2",
    "--config.export=False",
]


def start(workdir, stdout=subprocess.DEVNULL):
    command = [sys.executable, "scripts/train.py", "--config=configs/demo.py", *SMALL]
    return subprocess.Popen(
        [*command, f"--workdir={workdir}"],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": QUICK},
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def rows(workdir):
    path = workdir / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def saved(workdir):
    """The newest step that is saved whole."""
    names = [path.name for path in workdir.glob("checkpoints/*")]
    return max((int(name) for name in names if name.isdigit()), default=0)


def kill_when(workdir, has_come):
    """Kills the run as soon as that is true, however far it is by then."""
    process = start(workdir)
    while process.poll() is None and not has_come():
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def written(workdir):
    """What a run and its warm start say of their steps, by the files' names, in bytes."""
    names = ("metrics.jsonl", "samples.jsonl", "heldout/*.jsonl")
    files = [file for name in names for file in workdir.rglob(name)]
    return {str(file.relative_to(workdir)): file.read_bytes() for file in files}


def states(workdir):
    """All that the checkpoints of a run and its warm start hold: parameters, average, moments."""
    folders = workdir.rglob("checkpoints/*/state")
    return {str(folder.relative_to(workdir)): arrays(folder) for folder in folders}


def arrays(folder):
    """A saved tree in numpy."""
    with ocp.PyTreeCheckpointer() as reader:
        tree = reader.metadata(folder).item_metadata.tree
        how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return reader.restore(folder, restore_args=how)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    assert start(workdir).wait() == 0
    return workdir


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3, 4))]
)
def test_killed_run_resumes_to_the_same_bytes(uninterrupted, tmp_path, seed):
    """Killed once while it learns distributions, and once while it learns from rewards."""
    rng = np.random.default_rng(seed)
    step, count = int(rng.integers(2, WARM - 3)), int(rng.integers(2, STEPS + 2))
    kill_when(tmp_path, lambda: saved(tmp_path / "warm_start") >= step)
    kill_when(tmp_path, lambda: rows(tmp_path) >= count)
    assert start(tmp_path).wait() == 0
    assert written(tmp_path) == written(uninterrupted)
    found, due = states(tmp_path), states(uninterrupted)
    assert {"params", "average", "optimizer"} < found[f"checkpoints/{STEPS}/state"].keys()
    assert found.keys() == due.keys()
    jax.tree.map(np.testing.assert_array_equal, found, due)


def test_the_run_that_is_killed_uses_what_it_is_to_cover(uninterrupted):
    """Some groups are drawn again, and the average is not the parameters."""
    metrics = (uninterrupted / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert any(json.loads(row).get("redrawn/groups", 0) > 0 for row in metrics)
    for state in states(uninterrupted).values():
        gaps = jax.tree.map(lambda a, b: np.abs(a - b).max(), state["params"], state["average"])
        assert max(jax.tree.leaves(gaps)) > 0


def test_a_finished_run_says_so_and_changes_nothing(uninterrupted):
    before = {path: path.read_bytes() for path in uninterrupted.rglob("*") if path.is_file()}
    again = start(uninterrupted, stdout=subprocess.PIPE)
    printed = again.communicate()[0].splitlines()
    assert again.returncode == 0
    assert printed[0].startswith("after grpo ") and printed[1].startswith("model")
    assert printed[-1].startswith("finished earlier")
    assert {p: p.read_bytes() for p in uninterrupted.rglob("*") if p.is_file()} == before
