"""Compiles a run for devices that need not be there: memory, collectives and a roofline.

scripts/compile.py --config=configs/qwen3_8b.py --topology=v5e:4x4 [--output=FILE.json]

Topologies are slices of v5e, v5p and v6e chips, for which the extra `tpu` must be installed, or
fake devices as in `cpu:8`. Exits with 1 where a program does not fit, and says what would.
"""

import dataclasses
import json
import pathlib

from absl import flags

from dvmap_jax.command import moving_bar
from dvmap_jax.files import write_text
from dvmap_jax.run_flags import define_config, read_config, run_main
from dvmap_jax.train.compilation import (
    advice,
    compile_programs,
    step_seconds,
    stored_bytes,
    table,
)
from dvmap_jax.train.costs import CHIPS, GIB
from dvmap_jax.train.start import expected_sizes
from dvmap_jax.train.topology import topology_devices

CONFIG = define_config()
TOPOLOGY = flags.DEFINE_string("topology", None, "v5e:4x4, v5p:2x2x2, cpu:8 ...", required=True)
OUTPUT = flags.DEFINE_string("output", "", "A JSON file for the same numbers.")
PROGRAMS = flags.DEFINE_list("programs", [], "Only these programs; default all.")


def main() -> None:
    """Compiles, prints the table, and fails where something does not fit."""
    config, name = read_config(CONFIG), TOPOLOGY.value
    devices, chip = topology_devices(name), CHIPS.get(name.partition(":")[0])
    memory = chip.memory if chip else 0
    model = expected_sizes(config)

    def wanted(program) -> bool:
        return not PROGRAMS.value or program.name in PROGRAMS.value

    with moving_bar("compiling", "program") as bar:
        found = compile_programs(
            config, model, devices, chip=chip, only=wanted, progress=lambda done: bar(done, 0)
        )
    print(f"{name}, {len(devices)} devices of {memory / GIB:.2f} GiB, mesh {config.mesh}")
    stored = stored_bytes(config, model, devices)
    kept = ", ".join(f"{part} {number / GIB:.2f} GiB" for part, number in stored.items())
    print(f"kept on each: {kept}")
    print(table(found, memory))
    if chip:
        print(f"a step of the longest prompts and completions: {step_seconds(found):.1f} s at best")
    if OUTPUT.value:
        rows = {"topology": name, "devices": len(devices), "memory": memory, "kept": stored}
        rows |= {"programs": [dataclasses.asdict(one) for one in found]}
        write_text(pathlib.Path(OUTPUT.value), json.dumps(rows, indent=2) + "\n")
    large = [one for one in found if chip and not one.fits(memory)]
    for one in large:
        print(f"{one.name} does not fit: {advice(config, model, devices, chip=chip, large=one)}")
    if large:
        raise SystemExit(1)


if __name__ == "__main__":
    run_main(main)
