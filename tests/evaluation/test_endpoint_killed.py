"""An evaluation over HTTP that is killed midway, at a server that misbehaves, and started again."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from ask_endpoint import PROMPT
from misbehaving_server import chosen_option, seeded_faults, serving

from dvmap_jax.evaluation.endpoint import failures_by_kind
from dvmap_jax.evaluation.journal import FILE
from dvmap_jax.survey.synthetic import synthetic_examples

PROGRAM = pathlib.Path(__file__).with_name("ask_endpoint.py")
KEY = "sk-5ecret/Key+0123456789abcdefXYZ"
ROWS = 320
TIMEOUT = 120.0  # seconds; a start takes about five


@pytest.fixture
def start(root, tmp_path):
    def run(url: str) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(root), "OPENAI_API_KEY": KEY}
        said = (tmp_path / "said.txt").open("a")
        command = [sys.executable, PROGRAM, url, tmp_path / "out", str(ROWS)]
        with said:
            return subprocess.Popen(command, env=environment, stdout=said, stderr=said)

    return run


def lines(path: pathlib.Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def kill_at(process: subprocess.Popen, path: pathlib.Path, count: int) -> None:
    """Kills the process, without a word, once the journal has so many lines."""
    limit = time.monotonic() + TIMEOUT
    while len(lines(path)) < count:
        assert process.poll() is None and time.monotonic() < limit, "it ended before it was killed"
        time.sleep(0.01)
    process.kill()
    assert process.wait(TIMEOUT) == -signal.SIGKILL


def test_a_killed_evaluation_goes_on_with_every_row_once(start, tmp_path):
    journal = tmp_path / "out" / FILE
    with serving(seeded_faults(seed=11)) as server:
        for count in (40, 150):
            kill_at(start(server.url), journal, count)
            assert count - 2 <= len(lines(journal)) < ROWS + 1
        assert start(server.url).wait(TIMEOUT) == 0, (tmp_path / "said.txt").read_text()
        asked = len(server.requests)
        assert start(server.url).wait(TIMEOUT) == 0
        assert len(server.requests) == asked  # nothing was left to ask
    rows = [json.loads(line) for line in lines(journal)[1:]]
    assert Counter(row["number"] for row in rows) == Counter(range(ROWS))
    examples = synthetic_examples(ROWS // 16, seed=1)
    for row in rows:
        example = examples[row["number"]]
        told = chosen_option(PROMPT(example)[-1]["content"])
        assert row["predicted"] == (None if "failure" in row else told)
        assert row["correct"] == float(row["predicted"] == example.answer)
    failed = failures_by_kind(rows)
    assert 0 < sum(failed.values()) < ROWS / 10 and all(failed)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path
            assert KEY[:12].encode() not in path.read_bytes(), path
    assert (tmp_path / "out" / "log.txt").read_text()  # so that the search found something to read
