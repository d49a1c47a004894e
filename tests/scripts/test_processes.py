"""Two real processes make the run of one, survive each other, and say what is wrong with them."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from processes import QUICK, free_address
from safetensors.numpy import load_file

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 6
SMALL = [
    "--config.warm_start_objective=distribution",
    "--config.warm_start_steps=300",  # few tokens are likely then: draws lie on no border
    "--config.warm_start_questions=4",
    "--config.warm_start_batch_size=8",
    "--config.distribution.mass=1",
    "--config.save_every=2",
    "--config.evaluate_every=0",  # the best step of the warm start is then its last
    "--config.sample_every=1",
    "--config.log.samples=64",
    "--config.corpus.path=synthetic",
    "--config.corpus.heldout_path=",
    "--config.corpus.heldout_fraction=0.05",
    "--config.corpus.synthetic_archetypes=30",
    "--config.model.num_layers=1",
    "--config.model.width=32",
    "--config.data.batch_size=8",
    "--config.data.questions=2",
    "--config.rewards.kind=terms",
    "--config.grpo.group_size=4",
    "--config.grpo.redraws=2",
    "--config.grpo.kl_coef=0.01",
    "--config.grpo.mask_truncated=True",
    "--config.sampling.max_tokens=32",  # more than an answer has, so that some share a row
    "--config.optimizer.average_decay=0.9",
    "--config.evaluation.max_examples=32",
    "--config.evaluation.batch_size=2",
]
TOLERANCE = 1e-5


def start(workdir, *flags, devices=1):
    """A running train.py that sees so many devices."""
    environment = {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {QUICK}",
    }
    command = [sys.executable, "scripts/train.py", "--config=configs/demo.py", *SMALL, *flags]
    return subprocess.Popen(
        [*command, f"--workdir={workdir}"],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_pair(workdir, *flags, other=()):
    """Two processes of four devices; `other` are flags of the second alone."""
    together = [f"--coordinator={free_address()}", "--num_processes=2", "--heartbeat=10", *flags]
    return [
        start(workdir, *together, f"--process_id={i}", *(other if i else ()), devices=4)
        for i in range(2)
    ]


def ended(process, timeout=300):
    """Exit code and what it said on stderr."""
    try:
        said = process.communicate(timeout=timeout)[1]
    finally:
        process.kill()
    return process.returncode, said


def finish(*running):
    for process in running:
        code, said = ended(process)
        assert code == 0, said[-3000:]


def rows(workdir, name="metrics"):
    return [json.loads(line) for line in (workdir / f"{name}.jsonl").read_text().splitlines()]


def training_rows(workdir):
    """Metrics of the steps; of two log-probabilities that should be equal, only how nearly."""
    found = [row for row in rows(workdir) if "actor/grad_norm" in row]
    return [{k: v for k, v in row.items() if not k.startswith("sampler_gap")} for row in found]


def evaluations(workdir):
    return [row for row in rows(workdir) if "eval/score/accuracy" in row]


def assert_same_rows(ours, theirs):
    """The same metrics to rounding, row by row."""
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        np.testing.assert_allclose(
            list(one.values()), list(other.values()), rtol=TOLERANCE, atol=TOLERANCE
        )


def assert_same_run(ours, theirs):
    """The same metrics and averages of parameters to rounding, and the very same completions."""
    for part in ("warm_start", "."):
        assert_same_rows(training_rows(ours / part), training_rows(theirs / part))
        assert_same_rows(evaluations(ours / part), evaluations(theirs / part))
    assert rows(ours, "samples") == rows(theirs, "samples")
    assert len({row["completion"] for row in rows(ours, "samples")}) > STEPS
    exports = [load_file(workdir / "hf" / "model.safetensors") for workdir in (ours, theirs)]
    assert exports[0].keys() == exports[1].keys()
    for name, value in exports[0].items():
        np.testing.assert_allclose(value, exports[1][name], rtol=0, atol=TOLERANCE)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of one process on one device."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    finish(start(workdir, f"--config.num_steps={STEPS}"))
    return workdir


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The run of two processes of four devices."""
    workdir = tmp_path_factory.mktemp("pair") / "run"
    finish(*start_pair(workdir, f"--config.num_steps={STEPS}"))
    return workdir


def warmed(workdir, source):
    """`workdir`, with the warm start of another run of the same config."""
    shutil.copytree(source / "warm_start", workdir / "warm_start")
    return workdir


def test_two_processes_make_the_run_of_one(alone, pair):
    assert_same_run(pair, alone)
    assert [row["step"] for row in evaluations(pair)] == [0, STEPS]


def test_the_runs_have_what_processes_must_agree_on(alone):
    """Distributions are learned, groups drawn again, completions packed, parameters changed."""
    warm, found = training_rows(alone / "warm_start"), training_rows(alone)
    assert warm[-1]["distribution/mass"] < warm[0]["distribution/mass"] / 10
    assert sum(0 < row["redrawn/groups"] < 1 for row in found) > 1
    assert sum(row["response_length/mean"] < 16 for row in found) > 1  # two to a row of 32
    assert all(row["actor/grad_norm"] > 0 for row in found)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(alone, tmp_path):
    workdir = warmed(tmp_path / "run", alone)
    finish(*start_pair(workdir, "--config.num_steps=2", "--config.export=False"))
    finish(start(workdir, "--config.num_steps=4", "--config.export=False"))
    finish(*start_pair(workdir, f"--config.num_steps={STEPS}"))
    assert_same_run(workdir, alone)


def test_a_killed_process_ends_the_other_and_the_command_goes_on(pair, tmp_path):
    """The resumed run is that of two processes nobody killed, bit for bit."""
    workdir = warmed(tmp_path / "run", pair)
    running = start_pair(workdir, f"--config.num_steps={STEPS}")
    while running[0].poll() is None and not (workdir / "checkpoints" / "2").exists():
        time.sleep(0.01)
    os.kill(running[1].pid, signal.SIGKILL)
    killed = time.monotonic()
    code, said = ended(running[0], timeout=120)
    assert time.monotonic() - killed < 120 and code not in (0, 2)
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: another process of this run has stopped")
    assert "the same command" in last
    ended(running[1])
    finish(*start_pair(workdir, f"--config.num_steps={STEPS}"))
    for name in ("metrics.jsonl", "samples.jsonl", "hf/model.safetensors"):
        assert (workdir / name).read_bytes() == (pair / name).read_bytes(), name


def test_processes_with_other_configs_are_named(tmp_path):
    running = start_pair(tmp_path / "run", other=["--config.grpo.group_size=2"])
    for process in running:
        code, said = ended(process)
        assert code == 1
        assert "error: process 1 has another config than process 0: grpo.group_size 4 -> 2" in said
    assert not (tmp_path / "run").exists()


def test_a_coordinator_that_never_answers_is_named_with_the_limit(tmp_path):
    address = free_address()
    flags = [f"--coordinator={address}", "--num_processes=2", "--process_id=1"]
    code, said = ended(start(tmp_path / "run", *flags, "--coordinator_timeout=5"), timeout=60)
    last = said.strip().splitlines()[-1]
    assert code not in (0, 2) and f"did not meet within 5 s at the coordinator {address}" in last
    assert not (tmp_path / "run").exists()
