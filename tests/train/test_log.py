"""A resumed run's files are those of an uninterrupted one."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from dvmap_jax.train.log import Log, LogConfig, read_rows

QUIET = LogConfig(tensorboard=False, progress=False)


def run(workdir, steps, *, restored_step=None, config=QUIET):
    """Logs like a training loop: each step's update, every third step also an evaluation."""
    with Log(workdir, config, num_steps=9, restored_step=restored_step) as log:
        for step in steps:
            log.write(step, {"reward/mean": jnp.float32(step) / 3, "actor/pg_loss": np.sin(step)})
            log.write_timing(step, {"timing_s/step": 0.1 + step})
            log.write_samples(step, [{"prompt": "Wie geht’s?", "completion": f"{step}\n"}])
            if step % 3 == 0:
                log.write(step, {"accuracy": step / 9})
            log.progress(step, reward=step)


def contents(workdir):
    return {path.name: path.read_bytes() for path in workdir.glob("*.jsonl")}


@pytest.mark.parametrize("restored_step", [0, 2, 3, 8])
def test_resumed_run_leaves_the_same_bytes(tmp_path, restored_step):
    run(tmp_path / "whole", range(1, 10))
    run(tmp_path / "cut", range(1, 9))
    with (tmp_path / "cut" / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 9, "rewa')  # the process died inside a line
    run(tmp_path / "cut", range(restored_step + 1, 10), restored_step=restored_step)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_run_without_a_checkpoint_starts_its_files_afresh(tmp_path):
    run(tmp_path / "whole", range(10))
    run(tmp_path / "again", range(5))
    run(tmp_path / "again", range(10), restored_step=None)
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")


def test_rows_are_on_disk_as_soon_as_they_are_written(tmp_path):
    with Log(tmp_path, QUIET, num_steps=3) as log:
        log.write(1, {"loss": 0.5})
        assert read_rows(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 0.5}]


def test_numbers_read_back_exactly_and_non_finite_ones_as_null(tmp_path):
    value = float(jnp.float32(0.1))
    with Log(tmp_path, QUIET, num_steps=3) as log:
        log.write(1, {"b": jnp.float32(0.1), "a": math.nan, "c": np.float64(1) / 3})
    line = (tmp_path / "metrics.jsonl").read_text()
    assert line == f'{{"step": 1, "a": null, "b": {value!r}, "c": {1 / 3!r}}}\n'


def test_order_of_metrics_does_not_change_the_row(tmp_path):
    for name, metrics in (("one", {"a": 1, "b": 2}), ("two", {"b": 2, "a": 1})):
        with Log(tmp_path / name, QUIET, num_steps=3) as log:
            log.write(1, metrics)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_tensorboard_gets_metrics_and_timings(tmp_path):
    run(tmp_path, range(1, 4), config=LogConfig(progress=False))
    (events,) = (tmp_path / "tensorboard").iterdir()
    written = events.read_bytes()
    assert all(name in written for name in (b"reward/mean", b"timing_s/step", b"accuracy"))


def test_bar_shows_step_and_values_on_stderr(tmp_path, capsys):
    with Log(tmp_path, LogConfig(tensorboard=False), num_steps=9) as log:
        log.note("resumed from step 3")
        log.doing("evaluating")
        log.progress(4, reward=0.25)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert all(text in shown.err for text in ("resumed from step 3", "evaluating", "4/9", "0.25"))


def test_a_foreign_file_is_refused(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("my notes\n")
    with pytest.raises(ValueError, match="metrics.jsonl holds a line that is not a row"):
        Log(tmp_path, QUIET, num_steps=3, restored_step=2)
    assert (tmp_path / "metrics.jsonl").read_text() == "my notes\n"


def test_samples_are_plain_json(tmp_path):
    run(tmp_path, [1])
    row = json.loads((tmp_path / "samples.jsonl").read_text())
    assert row == {"step": 1, "prompt": "Wie geht’s?", "completion": "1\n"}
