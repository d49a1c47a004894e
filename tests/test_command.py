"""A person's mistake on the command line is one line and a non-zero exit code."""

import pathlib
import subprocess
import sys

import pytest

from dvmap_jax.command import FolderParser

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = """
from dvmap_jax.run_flags import define_config, define_processes, read_config, run_main
CONFIG = define_config()
define_processes()
def main():
    run = read_config(CONFIG)
    if run.num_steps == 13:
        open("no/such/corpus.parquet")
    if run.num_steps == 14:
        raise RuntimeError("a fault of the program")
    print("steps", run.num_steps, "group", run.grpo.group_size)
if __name__ == "__main__":
    run_main(main)
"""
CONFIG = """
from dvmap_jax.config import RunConfig, config_dict
def get_config():
    config = config_dict(RunConfig())
    config.{line}
    return config
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    (folder / "script.py").write_text(SCRIPT)
    (folder / "good.py").write_text(CONFIG.format(line="num_steps = 3"))
    (folder / "typo.py").write_text(CONFIG.format(line="grpo.grup_size = 3"))
    return folder


def run(folder, *arguments):
    command = [sys.executable, str(folder / "script.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def test_flags_after_the_file_win(folder):
    done = run(folder, "--config=good.py", "--config.grpo.group_size=4")
    assert (done.returncode, done.stdout) == (0, "steps 3 group 4\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["--config=good.py", "--config.grpo.grup_size=4"],
            2,
            "did you mean config.grpo.group_size",
        ),
        (
            ["--config=good.py", "--config.grpo.group_size=x"],
            2,
            "config.grpo.group_size=x: invalid",
        ),
        (["--config=typo.py"], 2, 'Did you mean "group_size"'),
        (["--config=absent.py"], 2, "absent.py: there is no such config file"),
        (["--config=good.py", "--confg=x"], 2, "Unknown command line flag 'confg'"),
        (["--config=good.py", "x"], 2, "'x' is not a flag"),
        ([], 1, "--config is missing"),
        (["--config=good.py", "--config.grpo.group_size=1"], 1, "grpo.group_size is 1"),
        (["--config=good.py", "--config.num_steps=13"], 1, "no/such/corpus.parquet"),
    ],
)
def test_a_mistake_is_one_line(folder, arguments, code, message):
    done = run(folder, *arguments)
    assert done.returncode == code
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_fault_of_the_program_shows_where_it_is(folder):
    done = run(folder, "--config=good.py", "--config.num_steps=14")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_traceback_can_be_asked_for(folder):
    done = run(folder, "--config=good.py", "--config.num_steps=13", "--traceback")
    assert "Traceback" in done.stderr


def test_folder_is_one_on_a_disk(tmp_path):
    assert FolderParser().parse(str(tmp_path)) == tmp_path
    for name in ("gs://bucket/run", "s3://bucket/run", ""):
        with pytest.raises(ValueError, match="must be a folder on a disk"):
            FolderParser().parse(name)


@pytest.mark.parametrize(
    ("script", "flag", "others"),
    [
        ("train", "workdir", ["--config=configs/demo.py"]),
        ("convert", "target", ["--source=absent"]),
        ("evaluate", "output", ["--model=absent", "--benchmark=absent"]),
        ("build_corpus", "output", ["--survey=synthetic"]),
    ],
)
def test_no_script_makes_a_folder_of_a_buckets_name(tmp_path, script, flag, others):
    command = [sys.executable, ROOT / "scripts" / f"{script}.py", f"--{flag}=gs://bucket/x"]
    others = [other.replace("configs/", f"{ROOT}/configs/") for other in others]
    done = subprocess.run(
        [*command, *others], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"--{flag}=gs://bucket/x: must be a folder on a disk" in done.stderr
    assert list(tmp_path.iterdir()) == []
