"""Measuring: a function in; its seconds, phases, memory, compilations and neighbours' load out."""

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax

MIB = 2**20
# What jax.monitoring tells once for every program that its backend compiles, eager ones included,
# and for what comes before.
COMPILED = "/jax/core/compile/backend_compile_duration"
TRACED = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
)

# A measured function: its argument is the number of the call, its phases end where it yields.
Run = Callable[[int], Iterable[str] | None]


@dataclasses.dataclass
class Compilations:
    """Programs that the backend compiled, and the seconds for that and for tracing them."""

    programs: int = 0
    compile_s: float = 0.0
    trace_s: float = 0.0


@contextlib.contextmanager
def compilations() -> Iterator[Compilations]:
    """Counts the programs compiled inside the block, by the events of jax.monitoring."""
    found = Compilations()

    def note(event: str, seconds: float, **_: Any) -> None:
        found.programs += event == COMPILED
        found.compile_s += seconds * (event == COMPILED)
        found.trace_s += seconds * (event in TRACED)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def measure(run: Run, *, repeats: int, warmup: int = 1) -> dict[str, Any]:
    """Times `run(i)`, which must not return before its work is done, after `warmup` calls.

    The keys are those of the peers' `workload.measure`; besides, `phases` that the run names by
    yielding at their ends, what the first calls compiled, and how many programs each repeat still
    compiled. `other_cores` says how many cores other processes used meanwhile. Peaks are over the
    repeats; a device's cannot be set back and is that of the process so far.
    """
    started = time.perf_counter()
    with compilations() as first:
        for i in range(warmup):
            _timed(run, i)
    first_s = time.perf_counter() - started
    reset_peak_memory()
    rows = [_timed(run, i) for i in range(warmup, warmup + repeats)]
    found = summary([row["seconds"] for row in rows])
    other = [row["other"] for row in rows]
    found |= {
        "other_cores": round(statistics.median(other), 2),
        "other_cores_all": [round(cores, 2) for cores in other],
        "first_s": round(first_s, 3),
        "programs": first.programs,
        "compile_s": round(first.compile_s, 3),
        "trace_s": round(first.trace_s, 3),
        "programs_all": [row["programs"] for row in rows],
    }
    names = rows[0]["phases"]
    phases = {name: summary([row["phases"][name] for row in rows]) for name in names}
    return found | peak_memory() | ({"phases": phases} if phases else {})


def summary(seconds: list[float]) -> dict[str, Any]:
    """Median, least and all of the seconds of some repeats."""
    return {
        "median_s": statistics.median(seconds),
        "min_s": min(seconds),
        "all_s": [round(s, 5) for s in seconds],
    }


def _timed(run: Run, i: int) -> dict[str, Any]:
    phases: dict[str, float] = {}
    with compilations() as compiled:
        busy, own, started = busy_seconds(), own_seconds(), time.perf_counter()
        last = started
        for name in run(i) or ():
            now = time.perf_counter()
            phases[name] = now - last
            last = now
        seconds = time.perf_counter() - started
        other = (busy_seconds() - busy) - (own_seconds() - own)
    return {
        "seconds": seconds,
        "other": max(0.0, other) / seconds,
        "programs": compiled.programs,
        "phases": phases,
    }


def in_fresh_process(function: Callable[..., Any], *args: Any) -> Any:
    """What the function returns in a process of its own: no memory or program of ours is there."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args).result()


def busy_seconds() -> float:
    """Seconds that all cores together have worked, for whomever, since the machine started."""
    times = [int(x) for x in pathlib.Path("/proc/stat").read_text("ascii").split()[1:9]]
    return (sum(times) - times[3] - times[4]) / os.sysconf("SC_CLK_TCK")  # not idle, not waiting


def own_seconds() -> float:
    """Seconds of the processor that this process and its ended children have used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def reset_peak_memory() -> None:
    """Lets the peak of this process's resident memory begin anew (Linux)."""
    pathlib.Path("/proc/self/clear_refs").write_text("5", "ascii")


def peak_memory() -> dict[str, float]:
    """Peak resident memory since the last reset in MiB, and the device's where it tells."""
    lines = pathlib.Path("/proc/self/status").read_text("ascii").splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    found = {"peak_rss_mb": round(kib / 1024, 1)}
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        found["peak_device_mb"] = round(stats["peak_bytes_in_use"] / MIB, 1)
    return found
