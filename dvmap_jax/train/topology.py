"""Devices that are not there: the name of a slice in, devices to compile for out."""

import difflib
import os
import re
from typing import Any

import jax
from jax.experimental import topologies

from dvmap_jax.train.costs import CHIPS

CPU = "cpu"
# What libtpu wants to know of the machine where it finds no TPU.
STAND_IN = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # compilers do not compete for a chip
}
TYPES = {"v5e": "v5litepod-{chips}", "v5p": "v5p-{cores}", "v6e": "v6e-{chips}"}
SHAPE = re.compile(r"\d+(x\d+){1,2}")


def topology_devices(name: str) -> list[Any]:
    """The devices of a slice such as `v5e:4x4`, or so many fake ones of `cpu:8`.

    Call it before anything runs. Raises ValueError for a slice nobody knows and ImportError where
    the compiler for TPUs is not installed.
    """
    kind, _, shape = name.partition(":")
    if kind == CPU and shape.isdigit() and int(shape):
        jax.config.update("jax_platforms", CPU)
        jax.config.update("jax_num_cpu_devices", int(shape))
        return jax.devices(CPU)
    if kind not in CHIPS or not SHAPE.fullmatch(shape):
        known = [*(f"{chip}:4x4" for chip in CHIPS), "v5p:2x2x2", "cpu:8"]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known are for instance {', '.join(known)}"
        raise ValueError(f"there is no topology {name!r}; {hint}")
    chips = 1
    for size in shape.split("x"):
        chips *= int(size)
    kind_name = TYPES[kind].format(chips=chips, cores=2 * chips)
    for key, value in (STAND_IN | {"TPU_ACCELERATOR_TYPE": kind_name}).items():
        os.environ.setdefault(key, value)
    jax.config.update("jax_platforms", CPU)  # whatever runs here meanwhile
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=name)
    except (RuntimeError, ValueError, OSError) as error:
        raise ValueError(
            f"the compiler does not know the topology {name!r}, or is not there: {error}; "
            "check its name, and install the extra `tpu`"
        ) from error
    return list(found.devices)
