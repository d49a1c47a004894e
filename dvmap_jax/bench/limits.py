"""What this machine can do at best, measured here, and what share of it a measured part reaches."""

import importlib.metadata
import os
import pathlib
import platform
import time
from typing import Any

import jax
import jax.numpy as jnp

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "grain")
MATRIX = {"cpu": 2048}  # rows of the square matrices multiplied; elsewhere LARGE_MATRIX
VECTOR = {"cpu": 1 << 26}  # float32 entries of each of three arrays; elsewhere LARGE_VECTOR
LARGE_MATRIX, LARGE_VECTOR = 8192, 1 << 28
SECONDS = 1.0  # spent on each limit, of which the best time counts


def machine_limits() -> dict[str, Any]:
    """Operations a second of the best matrix product, by type, and bytes a second of a + s b.

    In jax's default precision, which may be less than float32's own on accelerators.
    """
    kind = jax.default_backend()
    size, entries = MATRIX.get(kind, LARGE_MATRIX), VECTOR.get(kind, LARGE_VECTOR)
    found: dict[str, Any] = {"matrix": size, "vector": entries}
    product = jax.jit(jnp.matmul)
    for dtype in ("float32", "bfloat16"):
        a = jax.random.normal(jax.random.key(0), (size, size), dtype)
        found[f"{dtype}_flops_per_s"] = 2 * size**3 / best_seconds(product, a, a)
    triad = jax.jit(lambda a, b: a + 3.0 * b)
    a, b = jnp.ones(entries), jnp.full(entries, 2.0)
    found["bytes_per_s"] = 3 * a.nbytes / best_seconds(triad, a, b)
    return found


def best_seconds(function, *args: jax.Array) -> float:
    """The shortest of the calls that fit into `SECONDS`, three at least."""
    jax.block_until_ready(function(*args))
    seconds: list[float] = []
    while len(seconds) < 3 or sum(seconds) < SECONDS:
        started = time.perf_counter()
        jax.block_until_ready(function(*args))
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def set_beside_limits(result: Any, limits: dict[str, Any], dtype: str) -> None:
    """Adds rates and shares to every measured part below `result` that knows its operations.

    `of_limit` is the time that operations or bytes need at the least, over the median.
    """
    if isinstance(result, dict):
        for value in list(result.values()):
            set_beside_limits(value, limits, dtype)
    if isinstance(result, list):
        for value in result:
            set_beside_limits(value, limits, dtype)
    if not isinstance(result, dict) or not {"median_s", "model_flops"} <= result.keys():
        return
    peak = limits["bfloat16_flops_per_s" if dtype == "bfloat16" else "float32_flops_per_s"]
    least = max(result["model_flops"] / peak, result.get("least_bytes", 0) / limits["bytes_per_s"])
    result["flops_per_s"] = result["model_flops"] / result["median_s"]
    result["of_limit"] = least / result["median_s"]
    if "tokens" in result:
        result["tokens_per_s"] = result["tokens"] / result["median_s"]


def environment() -> dict[str, Any]:
    """The device, the host and the versions that numbers were measured with."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "num_devices": jax.device_count(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "loadavg_end": os.getloadavg(),
    }


def _processor() -> str:
    lines = pathlib.Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
