"""A person's mistake on the command line is one line and a non-zero exit code."""

import subprocess
import sys

import pytest

SCRIPT = """
from dvmap_jax.run_flags import define_config, read_config, run_main
CONFIG = define_config()
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
