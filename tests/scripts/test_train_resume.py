"""A run killed at any step and started again is the run that was never stopped."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from processes import QUICK

from dvmap_jax.train.checkpoints import read_checkpoint

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 6
SMALL = [
    f"--config.num_steps={STEPS}",
    "--config.warm_start_steps=2",
    "--config.save_every=2",
    "--config.evaluate_every=3",
    "--config.corpus.path=synthetic",
    "--config.corpus.heldout_path=",
    "--config.corpus.heldout_fraction=0.05",
    "--config.corpus.synthetic_archetypes=30",
    "--config.model.num_layers=1",
    "--config.model.width=32",
    "--config.data.batch_size=2",
    "--config.warm_start_batch_size=2",
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


def kill_after(workdir, count):
    """Kills the run as soon as its metrics have `count` rows, however far it is by then."""
    process = start(workdir)
    while process.poll() is None and rows(workdir) < count:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    assert start(workdir).wait() == 0
    return workdir


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3, 4))]
)
def test_killed_run_resumes_to_the_same_bytes(uninterrupted, tmp_path, seed):
    count = int(np.random.default_rng(seed).integers(2, STEPS + 2))
    kill_after(tmp_path, count)
    assert start(tmp_path).wait() == 0
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert (tmp_path / name).read_bytes() == (uninterrupted / name).read_bytes()
    params = [read_checkpoint(workdir).params for workdir in (tmp_path, uninterrupted)]
    for ours, theirs in zip(*map(jax.tree.leaves, params), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_finished_run_says_so_and_changes_nothing(uninterrupted):
    before = {path: path.read_bytes() for path in uninterrupted.rglob("*") if path.is_file()}
    again = start(uninterrupted, stdout=subprocess.PIPE)
    printed = again.communicate()[0].splitlines()
    assert again.returncode == 0
    assert printed[0].startswith("after grpo ") and printed[1].startswith("model")
    assert printed[-1].startswith("finished earlier")
    assert {p: p.read_bytes() for p in uninterrupted.rglob("*") if p.is_file()} == before
