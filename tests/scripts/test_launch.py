"""The launchers without a cloud: what they print, and what stand-ins for its commands receive."""

import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import time

import pytest

WORKDIR = "/mnt/shared/it's a run"
FLAGS = ["--config.num_steps=3", "--config.corpus.path=/mnt/my $(HOME)/a;b 'x' \"y\".parquet"]
TRAIN = ["scripts/train.py", "--config=configs/demo.py", f"--workdir={WORKDIR}", *FLAGS]
RUN = ["--config=configs/demo.py", "--workdir", WORKDIR]
SLICE = ["--name=slice", "--zone=us-a"]
SET = ["--name=run", "--image=registry/dvmap:1", "--claim=disk", "--nodes=4"]
TPUS = ["--accelerator=tpu-v5-lite-podslice", "--topology=4x4"]
NEEDED = {"tpu_vm.sh": [*SLICE, *RUN], "slurm.sbatch": RUN, "jobset.sh": [*SET, *TPUS, *RUN]}


@pytest.fixture(scope="module")
def folder(root):
    return root / "scripts" / "launch"


@pytest.fixture
def launch(folder, tmp_path):
    """Runs a launcher from another folder; stand-ins in `tmp_path/bin` come before all commands."""

    def run(script, *arguments, **environment):
        (tmp_path / "bin").mkdir(exist_ok=True)
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
        return subprocess.run(
            ["bash", str(folder / script), *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**kept, "PATH": path, **environment},
            timeout=60,
            check=False,
        )

    return run


def stand_in(tmp_path, name, text):
    """Puts a script in the place of a command."""
    file = tmp_path / "bin" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/usr/bin/env bash\n{text}\n", encoding="utf-8")
    file.chmod(0o755)


def printed(done):
    """The commands a dry run printed, as lists of words."""
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def after(words, first):
    return words[words.index(first) :]


def rendered(done):
    yaml = pytest.importorskip("yaml", reason="PyYAML, which reads the JobSet back, is absent")
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


def pod(jobset):
    [workers] = jobset["spec"]["replicatedJobs"]
    return workers["template"]["spec"]["template"]["spec"]


def test_scripts_are_bash(folder):
    for script in [*folder.glob("*.sh"), *folder.glob("*.sbatch")]:
        done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), script


def test_shellcheck_finds_nothing(folder):
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    scripts = [*folder.glob("*.sh"), *folder.glob("*.sbatch")]
    command = ["shellcheck", "-x", *scripts]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder.parents[1], check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", NEEDED)
def test_help_names_every_option(script, launch, folder):
    done = launch(script, "--help")
    parsed = re.search(r'^parse "(.*)" "(.*)" "\$@"$', (folder / script).read_text(), re.MULTILINE)
    options = {"config", "workdir", "dry-run"} | set(" ".join(parsed.groups()).split())
    assert done.returncode == 0
    assert {name for name in options if f"--{name}" not in done.stdout} == set()
    assert "set -euo pipefail" in (folder / script).read_text()


@pytest.mark.parametrize(
    ("script", "missing"),
    [
        (script, option.split("=")[0])
        for script, arguments in NEEDED.items()
        for option in arguments
        if option.startswith("--") and not option.startswith("--topology")
    ],
)
def test_missing_value_is_one_line(script, missing, launch):
    rest = [word for word in NEEDED[script] if not word.startswith(missing) and word != WORKDIR]
    rest += [] if missing == "--workdir" else [f"--workdir={WORKDIR}"]
    rest = [word for word in rest if word != "--workdir"]
    for arguments in (rest, [*rest, f"{missing}="]):
        done = launch(script, *arguments, "--dry-run")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: {missing} is ")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("script", NEEDED)
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--workdri=x"], "--workdri is no option"),
        (["x"], "'x' is no option"),
        (["--config=configs/nmae.py"], "there is no such file"),
        (["--workdir=gs://bucket/run"], "a file system that every host mounts"),
        (["--workdir"], "needs a value"),
    ],
)
def test_wrong_value_is_one_line(script, wrong, said, launch):
    done = launch(script, *NEEDED[script], "--dry-run", *wrong)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_tpu_vm_dry_run_is_the_training_command(launch):
    done = launch("tpu_vm.sh", *SLICE, "--project=p", *RUN, "--dry-run", "--", *FLAGS)
    archive, copy, install, start = printed(done)
    assert archive[:1] == ["git"]
    for words in (copy, install, start):
        assert words[:4] == ["gcloud", "compute", "tpus", "tpu-vm"]
        assert {"--worker=all", "--zone=us-a", "--project=p"} <= set(words)
    [command] = [word for word in start if word.startswith("--command=")]
    inner = shlex.split(command.removeprefix("--command="))
    assert after(inner, ".venv/bin/python")[1 : 1 + len(TRAIN)] == TRAIN
    assert "-e '.[tpu,gcs]'" in " ".join(install)


def test_tpu_vm_mounts_and_skips_the_installation(launch):
    done = launch("tpu_vm.sh", *SLICE, *RUN, "--nfs=10.0.0.2:/x", "--skip-install", "--dry-run")
    mount, _ = printed(done)
    assert mount[-2].endswith("sudo mount -t nfs 10.0.0.2:/x /mnt/shared")


def test_tpu_vm_refuses_a_config_that_the_ref_lacks(launch):
    done = launch("tpu_vm.sh", *SLICE, *RUN, "--ref=no-such-ref", "--dry-run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --config=configs/demo.py is not in --ref=no-such-ref; commit it\n"


@pytest.fixture
def worker(tmp_path):
    """A worker's home folder, in which a stand-in for gcloud runs what it is told to."""
    home = tmp_path / "home"
    (home / "dvmap_jax" / ".venv" / "bin").mkdir(parents=True)
    interpreter = home / "dvmap_jax" / ".venv" / "bin" / "python"
    interpreter.write_text(
        '#!/usr/bin/env bash\nprintf "%s\\0" "$@" >../words\necho started\n'
        'while [[ "$1" ]]; do sleep 0.1; done\n'
    )
    interpreter.chmod(0o755)
    remote = f'cd {home} && HOME={home} exec bash -c "${{word#--command=}}"'
    copy = f'if [[ $4 == scp ]]; then cp "$5" {home}/"${{6#*:}}"; fi'
    text = f"{copy}; for word; do [[ $word != --command=* ]] || {{ {remote}; }}; done"
    stand_in(tmp_path, "gcloud", text)
    yield home
    record = home / "dvmap_jax.pid"
    if record.exists():
        try:
            os.killpg(int(record.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            return


@pytest.fixture
def installing(worker, tmp_path):
    """What the worker's python3 is told; a stand-in whose uv makes the interpreter above."""
    shutil.copy(worker / "dvmap_jax" / ".venv" / "bin" / "python", tmp_path / "interpreter")
    make = f"mkdir -p .venv/bin; cp {tmp_path / 'interpreter'} .venv/bin/python"
    told = tmp_path / "told"
    stand_in(tmp_path, "python3", f'echo "$PWD $*" >>{told}; [[ $3 != venv ]] || {{ {make}; }}')
    return told


def wait_for(file):
    for _ in range(100):
        if file.exists() and file.read_bytes():
            return file.read_bytes()
        time.sleep(0.1)
    raise AssertionError(f"{file} did not come")


def test_worker_runs_the_command_once_and_stops_it(launch, worker):
    start = (*SLICE, *RUN, "--skip-install", "--", *FLAGS)
    assert launch("tpu_vm.sh", *start).returncode == 0
    assert wait_for(worker / "words").decode().split("\0")[:-1] == TRAIN
    assert (worker / "dvmap_jax.log").read_text() == "started\n"
    again = launch("tpu_vm.sh", *start)
    assert (again.returncode, "a run is going on" in again.stderr) == (1, True)
    leader = int((worker / "dvmap_jax.pid").read_text())
    assert launch("tpu_vm.sh", *SLICE, "--stop").returncode == 0
    cmdline = pathlib.Path(f"/proc/{leader}/cmdline")  # empty once ended and not yet waited for
    assert not cmdline.exists() or not cmdline.read_bytes()
    assert launch("tpu_vm.sh", *SLICE, "--stop").stdout == "no run here\n"
    assert launch("tpu_vm.sh", *start).returncode == 0  # resumed by the same call
    assert launch("tpu_vm.sh", *SLICE, "--stop").returncode == 0


def test_worker_gets_the_files_of_the_ref_and_the_tpu_extra(launch, worker, installing, root):
    (worker / "dvmap_jax" / "stale.py").touch()
    done = launch("tpu_vm.sh", *SLICE, *RUN, "--", *FLAGS)
    assert done.returncode == 0, done.stderr
    assert wait_for(worker / "words").decode().split("\0")[:-1] == TRAIN
    assert not (worker / "dvmap_jax" / "stale.py").exists()
    assert (worker / "dvmap_jax" / "configs" / "demo.py").is_file()
    calls = installing.read_text().replace(f"{worker}/dvmap_jax ", "").splitlines()
    assert [call.split()[2] for call in calls] == ["install", "venv", "pip"]
    assert calls[-1].endswith("--python .venv/bin/python -e .[tpu,gcs]")
    assert launch("tpu_vm.sh", *SLICE, "--stop").returncode == 0


def test_slurm_dry_run_is_the_training_command(launch):
    [words] = printed(launch("slurm.sbatch", *RUN, "--dry-run", "--", *FLAGS))
    assert words[0] == "srun"
    assert after(words, "scripts/train.py") == TRAIN


def test_slurm_asks_for_one_task_a_gpu_and_for_requeue(launch, folder):
    asked = re.findall(
        r"^#SBATCH --([\w-]+)(?:=(\S+))?$", (folder / "slurm.sbatch").read_text(), re.M
    )
    asked = dict(asked)
    assert asked["ntasks-per-node"] == asked["gpus-per-node"]
    assert "requeue" in asked
    uneven = {"SLURM_NTASKS_PER_NODE": "1", "SLURM_GPUS_ON_NODE": "8"}
    done = launch("slurm.sbatch", *RUN, "--dry-run", **uneven)
    assert (done.returncode, "1 tasks on a node of 8 GPUs" in done.stderr) == (2, True)


def test_slurm_gives_back_the_code_of_the_tasks(launch, tmp_path, root):
    stand_in(tmp_path, "srun", 'printf "%s\\0" "$@" >"$OUT/words"; sleep 0.3; exit 7')
    job = {"SLURM_SUBMIT_DIR": str(root), "SLURM_JOB_ID": "5", "OUT": str(tmp_path)}
    assert launch("slurm.sbatch", *RUN, "--", *FLAGS, **job).returncode == 7
    words = (tmp_path / "words").read_bytes().decode().split("\0")[:-1]
    assert after(words, "scripts/train.py") == TRAIN


@pytest.mark.parametrize(("sent", "left"), [("USR1", "requeue 5\n"), ("TERM", "terminated\n")])
def test_slurm_requeues_before_the_end_of_time_and_passes_preemption_on(
    sent, left, launch, tmp_path, root
):
    stand_in(tmp_path, "scontrol", 'echo "$@" >"$OUT/left"; kill "$(cat "$OUT/tasks")"')
    stand_in(
        tmp_path,
        "srun",
        "[[ $SENT == USR1 ]] || trap 'echo terminated >\"$OUT/left\"; exit 143' TERM\n"
        'echo $$ >"$OUT/tasks"; kill -$SENT $PPID; for _ in {1..100}; do sleep 0.1; done',
    )
    job = {"SLURM_SUBMIT_DIR": str(root), "SLURM_JOB_ID": "5", "OUT": str(tmp_path), "SENT": sent}
    assert launch("slurm.sbatch", *RUN, **job).returncode == 143
    assert (tmp_path / "left").read_text() == left


def test_jobset_of_a_slice(launch):
    jobset = rendered(launch("jobset.sh", *NEEDED["jobset.sh"], "--dry-run", "--", *FLAGS))
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert jobset["metadata"]["name"] == "run"
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] == 20
    [workers] = jobset["spec"]["replicatedJobs"]
    job = workers["template"]["spec"]
    assert (job["parallelism"], job["completions"], job["backoffLimit"]) == (4, 4, 0)
    assert job["completionMode"] == "Indexed"
    spec = pod(jobset)
    assert spec["restartPolicy"] == "Never"
    assert spec["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    [container] = spec["containers"]
    assert container["image"] == "registry/dvmap:1"
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    # Kubernetes makes one $ of two and reads $(NAME) otherwise.
    assert [word.replace("$$", "$") for word in container["command"]] == ["python", *TRAIN]
    assert "$$(HOME)" in container["command"][-1]
    assert spec["volumes"][0]["persistentVolumeClaim"] == {"claimName": "disk"}


def test_jobset_of_gpus_names_its_processes(launch):
    gpus = ["--accelerator=nvidia-h100-80gb", "--devices=8", "--restarts=3"]
    jobset = rendered(launch("jobset.sh", *SET, *gpus, *RUN, "--dry-run"))
    spec = pod(jobset)
    assert spec["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}
    assert spec["containers"][0]["resources"]["requests"] == {"nvidia.com/gpu": 8}
    assert spec["containers"][0]["command"][-3:] == [
        "--coordinator=run-workers-0-0.run:8476",
        "--num_processes=4",
        "--process_id=$(JOB_COMPLETION_INDEX)",
    ]
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] == 3
    assert "annotations" not in jobset["metadata"]


def test_jobset_goes_to_kubectl(launch, tmp_path):
    stand_in(tmp_path, "kubectl", 'echo "$@" >"$OUT/words"; cat >"$OUT/jobset.yaml"')
    shown = launch("jobset.sh", *NEEDED["jobset.sh"], "--dry-run").stdout
    done = launch("jobset.sh", *NEEDED["jobset.sh"], "--namespace=n", OUT=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "words").read_text() == "--namespace=n apply -f -\n"
    assert (tmp_path / "jobset.yaml").read_text() == shown


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("--topology=4x8", "32 chips; --nodes=4 of --devices=4 have 16"),
        ("--topology=large", "must look like 4x4"),
        ("--nodes=many", "must be a whole number"),
        ("--name=Run_1", "at most 40"),
        ("--workdir=/home/run", "must lie in /mnt/shared"),
    ],
)
def test_jobset_refuses_what_cannot_run(wrong, said, launch):
    done = launch("jobset.sh", *NEEDED["jobset.sh"], wrong, "--dry-run")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_image_holds_code_only(folder, root):
    lines = (folder / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = {name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]}
    assert copied == {"pyproject.toml", "README.md", "LICENSE", "dvmap_jax", "configs", "scripts"}
    assert {name for name in copied if not (root / name).exists()} == set()
