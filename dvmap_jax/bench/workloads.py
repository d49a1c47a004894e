"""The workloads by name: one is chosen and run, and its numbers are set beside the machine's."""

import importlib
import os
from typing import Any

from dvmap_jax.bench.limits import environment, machine_limits, set_beside_limits
from dvmap_jax.bench.settings import BenchConfig

# Each is a module of this room with `run(config) -> numbers by part`.
WORKLOADS = ("peers", "smollm2", "options", "data", "long", "growth", "ragged", "score")

HOW = (
    "programs are counted, and compile_s summed, by jax.monitoring's backend_compile_duration "
    "events, eager operations included; of_limit is the least time by operations (or bytes) over "
    "the median; other_cores are cores busy for other processes"
)


def run_workload(name: str, config: BenchConfig) -> dict[str, Any]:
    """The numbers of one workload, ready for JSON.

    The limits come last: a workload may need the device for processes of its own, and counts the
    seconds to its first step from the start of this process.
    """
    # Only the chosen module is imported, since a first step counts from the process's start.
    module = importlib.import_module(f"dvmap_jax.bench.{name}")
    result: dict[str, Any] = {
        "peer": "dvmap_jax",
        "workload": name,
        "how": HOW,
        "compute": vars(config.compute),
        "repeats": config.repeats,
        "loadavg_start": os.getloadavg(),
    }
    result |= module.run(config)
    result["limits"] = machine_limits()
    set_beside_limits(result, result["limits"], config.compute.dtype)
    return result | environment()


def table(result: dict[str, Any]) -> str:
    """The measured parts for people, one a line, and the numbers of the first update."""
    lines = [
        f"{name}: {part['median_s']:.3f} s"
        + (f", {part['tokens_per_s']:.0f} tokens/s" if "tokens_per_s" in part else "")
        + (f", {100 * part['of_limit']:.0f} % of the limit" if "of_limit" in part else "")
        + (f", {part['rows_per_s']:.1f} rows/s" if "rows_per_s" in part else "")
        + (f", {part['programs']} programs in {part['compile_s']:.1f} s" if here(part) else "")
        + (f", other cores {part['other_cores']}" if here(part) else "")
        for name, part in parts_of(result)
    ]
    for name in ("delivered_over_consumed", "peak_of_ten_times_the_corpus"):
        if name in result:
            lines.append(f"{name}: {result[name]:.4g}")
    for name in ("first_update", "first_dense_update"):
        if name in result:
            said = (f"{key} {value:.7g}" for key, value in sorted(result[name].items()))
            lines.append(f"{name}: {', '.join(said)}")
    return "\n".join(lines)


def here(part: dict[str, Any]) -> bool:
    """Whether this process ran it, and not a peer's."""
    return "programs" in part


def parts_of(result: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """The measured parts below a result with their paths, phases left out."""
    if isinstance(result, list):
        return [one for i, row in enumerate(result) for one in parts_of(row, f"{path}[{i}]")]
    if not isinstance(result, dict):
        return []
    if "median_s" in result:
        return [(path, result)]
    below = ((f"{path}.{key}" if path else key, value) for key, value in result.items())
    return [one for key, value in below for one in parts_of(value, key)]
