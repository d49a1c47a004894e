"""What `measure` says of functions whose seconds, programs and memory are known."""

import os
import time

import jax
import numpy as np
import pytest

from dvmap_jax.bench.measure import compilations, in_fresh_process, measure, peak_memory
from dvmap_jax.bench.workloads import parts_of


def test_programs_are_counted_once_each():
    double, triple = jax.jit(lambda x: 2 * x), jax.jit(lambda x: 3 * x)
    x = np.ones(3, np.float32)
    with compilations() as first:
        jax.block_until_ready((double(x), triple(x), double(x)))
    with compilations() as again:
        jax.block_until_ready((double(x), triple(x)))
    assert (first.programs, again.programs) == (2, 0)
    assert first.compile_s > 0 and first.trace_s > 0 and again.compile_s == 0
    jax.block_until_ready(double(np.ones(4, np.float32)))
    assert again.programs == 0  # a count ends with its block


def test_phases_end_where_the_run_yields():
    def run(_):
        time.sleep(0.02)
        yield "slow"
        yield "fast"
        time.sleep(0.01)

    found = measure(run, repeats=3)
    assert 0.02 <= found["phases"]["slow"]["median_s"] < 0.2
    assert found["phases"]["fast"]["median_s"] < 0.01
    assert found["min_s"] >= 0.03 and len(found["all_s"]) == 3


def test_a_shape_that_comes_later_is_a_program_of_its_repeat():
    add = jax.jit(lambda x: x + 1)
    found = measure(lambda i: _run(add, 5 + (i == 2)), repeats=3)
    assert found["programs"] == 1 and found["programs_all"] == [0, 1, 0]


def _run(function, size):
    jax.block_until_ready(function(np.ones(size, np.float32)))


def test_peak_memory_is_that_of_the_repeats():
    start = measure(lambda _: None, repeats=1)["peak_rss_mb"]
    found = measure(lambda _: _touch(200), repeats=1)["peak_rss_mb"]
    after = measure(lambda _: None, repeats=1)["peak_rss_mb"]
    assert found - start == pytest.approx(200, abs=20)
    assert after < start + 50 and peak_memory()["peak_rss_mb"] > 0


def _touch(mib):
    np.ones(mib << 20, np.uint8).sum()


def test_fresh_process_is_another_one():
    assert in_fresh_process(os.getpid) != os.getpid()


def test_measured_parts_are_found_wherever_they_are():
    part = {"median_s": 1.0, "programs": 0, "phases": {"a": {"median_s": 1.0}}}
    assert parts_of({"x": [part], "y": {"z": part}, "how": "so"}) == [("x[0]", part), ("y.z", part)]
