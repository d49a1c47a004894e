"""The code is formatted and clean by the project's own rules."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("arguments", [("format", "--check"), ("check",)], ids=" ".join)
def test_ruff_finds_nothing(arguments, root):
    command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", "."]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
