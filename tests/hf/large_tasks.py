"""What tests/hf/test_large.py runs: a large model imported and exported, its memory watched."""

import json
import pathlib
import resource
import sys
import time

import jax

from dvmap_jax.hf.load import load_params, read_config
from dvmap_jax.hf.save import save_model


def resident() -> int:
    """Bytes of this process in memory now."""
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def peak() -> int:
    """The most bytes this process ever had in memory."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def there_and_back(folder: str, target: str, limit: str) -> None:
    """Imports, exports, and exports again onto a disk that is too small."""
    config = read_config(folder)
    jax.block_until_ready(jax.numpy.zeros(1))
    before, times = resident(), [time.perf_counter()]
    params = load_params(folder, config, "bfloat16")
    imported, times = peak() - before, [*times, time.perf_counter()]
    save_model(params, config, target, dtype="bfloat16", max_shard_bytes=2_000_000_000)
    exported, times = peak() - before, [*times, time.perf_counter()]
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    try:
        save_model(params, config, f"{target}_small", dtype="bfloat16")
        refused = ""
    except OSError as error:
        refused = str(error)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    print(json.dumps([size, imported, exported, refused, times[1] - times[0], times[2] - times[1]]))


if __name__ == "__main__":
    there_and_back(*sys.argv[1:])
