"""Programs compiled before they run: what each needs of a device, and whether it fits."""

import dataclasses
import functools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from dvmap_jax.config import RunConfig
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.processes import is_out_of_memory
from dvmap_jax.sharding import make_mesh
from dvmap_jax.train.ahead import Ahead
from dvmap_jax.train.collectives import collectives
from dvmap_jax.train.costs import GIB, Chip, roofline
from dvmap_jax.train.placement import check_mesh, placed_reference, placed_state
from dvmap_jax.train.programs import Program, programs

SPARE = 0.05  # of a device's memory, which a run needs besides its programs
UPDATING = ("update", "reference", "old log-probabilities")  # programs of micro-batches


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A program as compiled; bytes are those of one device.

    `arguments` are its inputs, `resident` what lies there besides, `peak` the most that is there at
    any time, both included. `sent` gives, by kind of collective, the bytes a device sends in one
    run. A program that is too large to compile has no numbers, and `refusal` says why.
    """

    name: str
    seconds: float
    arguments: int = 0
    resident: int = 0
    peak: int = 0
    flops: float = 0.0
    sent: dict[str, float] = dataclasses.field(default_factory=dict)
    roofline: dict[str, float] = dataclasses.field(default_factory=dict)
    every_step: bool = False
    refusal: str = ""

    def fits(self, memory: float) -> bool:
        """Whether a device with so many bytes has room for it, with `SPARE` left over."""
        return not self.refusal and self.peak <= memory * (1 - SPARE)


def compile_programs(
    config: RunConfig,
    model: ModelConfig,
    devices: Sequence[Any],
    *,
    chip: Chip | None = None,
    only: Callable[[Program], bool] = lambda program: True,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Compiled]:
    """Compiles a run's programs for the devices, which need not be there.

    With a `chip` there are roofline estimates. `progress` is told how many are done. Raises
    ValueError where the mesh does not suit the devices, the model or the batches.
    """
    mesh = make_mesh(config.mesh, devices)
    check_mesh(config, model, mesh)
    with jax.set_mesh(mesh):
        found = []
        for program in filter(only, programs(config, model, mesh)):
            found.append(
                _compiled(program, functools.partial(_compile, program), chip=chip, mesh=mesh)
            )
            progress(len(found))
    return found


def check_room(config: RunConfig, found: Sequence[Program], ahead: Ahead, mesh: Mesh) -> None:
    """Waits for the run's programs where `config.preflight` asks for it, and weighs each.

    Raises MemoryError where one needs more than a device has.
    """
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    if config.preflight == "off" or (config.preflight == "auto" and on_cpu):
        return
    known = jax.local_devices()[0].memory_stats() or {}
    memory = known.get("bytes_limit", math.inf)
    for program in found:
        one = _compiled(program, functools.partial(ahead.compiled, program.name), mesh=mesh)
        if one.fits(memory):
            continue
        section, name = at_a_time(config, one.name)
        raise MemoryError(
            f"{one.name} needs {one.peak / GIB:.2f} GiB of a device's {memory / GIB:.2f} GiB at "
            f"its longest prompts and completions{one.refusal and ': '}{one.refusal}; lower "
            f"{section}.{name}, or see scripts/compile.py for what would fit"
        )


def _compile(program: Program) -> jax.stages.Compiled:
    return program.lower().compile()


def _compiled(
    program: Program,
    compiled: Callable[[], jax.stages.Compiled],
    *,
    mesh: Mesh,
    chip: Chip | None = None,
) -> Compiled:
    """What a program needs once it is `compiled`."""
    started = time.perf_counter()
    try:
        done = compiled()
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        text = " ".join(str(error).split())[:300]
        return Compiled(program.name, time.perf_counter() - started, refusal=text)
    seconds = time.perf_counter() - started
    memory = done.memory_analysis()
    peak = memory.argument_size_in_bytes + memory.output_size_in_bytes
    peak += memory.temp_size_in_bytes - memory.alias_size_in_bytes
    if mesh.devices.flat[0].platform == "tpu":  # elsewhere it leaves temporaries out
        peak = memory.peak_memory_in_bytes
    sent: Counter = Counter()
    for one in collectives(done.as_text()):
        sent[one.kind] += one.times * one.num_bytes
    resident = _bytes_per_device(program.resident)
    limits = chip and roofline(program.work, chip, chips=mesh.size, sent=tuple(sent.values()))
    return Compiled(
        name=program.name,
        seconds=seconds,
        arguments=memory.argument_size_in_bytes,
        resident=resident,
        peak=peak + resident,
        flops=program.work.flops,
        sent=dict(sent),
        roofline=limits or {},
        every_step=program.every_step,
    )


def _bytes_per_device(tree: Any) -> int:
    """Bytes that one device holds of arrays with shardings."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * np.dtype(leaf.dtype).itemsize
        for leaf in jax.tree.leaves(tree)
    )


def stored_bytes(config: RunConfig, model: ModelConfig, devices: Sequence[Any]) -> dict[str, int]:
    """Bytes of a device that a run keeps throughout: parameters, optimizer state, reference."""
    mesh = make_mesh(config.mesh, devices)
    transformer = Transformer(model, config.compute)
    state = placed_state(config, transformer, mesh)
    with jax.set_mesh(mesh):
        reference = placed_reference(config, transformer, state)
    return {
        "parameters": _bytes_per_device(state.params),
        "optimizer": _bytes_per_device(state.optimizer),
        "reference": _bytes_per_device(reference),
    }


def advice(
    config: RunConfig,
    model: ModelConfig,
    devices: Sequence[Any],
    *,
    chip: Chip,
    large: Compiled,
) -> str:
    """What would make the `large` program fit, found by compiling it with fewer rows at a time."""
    section, name = at_a_time(config, large.name)
    for size in _smaller(config, section, name):
        record = dataclasses.replace(getattr(config, section), **{name: size})
        tried = dataclasses.replace(config, **{section: record})
        try:
            found = compile_programs(
                tried, model, devices, chip=chip, only=lambda one: one.name == large.name
            )
        except ValueError:  # the mesh divides no fewer rows
            break
        if found[0].fits(chip.memory):
            return f"with {section}.{name} = {size} it would"
    return (
        "fewer rows at a time do not help; divide the parameters further with mesh.fsdp or "
        "mesh.tensor, on more chips"
    )


def at_a_time(config: RunConfig, program: str) -> tuple[str, str]:
    """The section and the key of a config that say how much the program computes at a time."""
    if program == "rollout":
        return "sampling", "batch_size"
    if program in UPDATING:
        by_tokens = config.optimizer.micro_batch_tokens > 0
        return "optimizer", "micro_batch_tokens" if by_tokens else "micro_batch_size"
    return "evaluation", "batch_size"


def _smaller(config: RunConfig, section: str, name: str) -> Iterator[int]:
    """Halves of what is computed at a time: rows while they are even, tokens down to a root's."""
    size = getattr(getattr(config, section), name) or config.data.batch_size
    tokens = name == "micro_batch_tokens"
    least = config.grpo.group_size * config.sampling.max_tokens if tokens else 1
    while size // 2 >= least and (tokens or size % 2 == 0):
        size //= 2
        yield size


def table(found: Sequence[Compiled], memory: float) -> str:
    """The programs as a table for people; memory is what a device has."""
    head = ("program", "arguments", "besides", "temporaries", "peak", "of memory", "TFLOP")
    head += ("GB sent", "compute s", "memory s", "links s", "binds", "compiled in")
    lines = [head, *(_row(one, memory) for one in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _row(one: Compiled, memory: float) -> tuple[str, ...]:
    if one.refusal:
        return (one.name, *("-",) * 11, f"{one.seconds:.0f} s")
    temporaries = one.peak - one.arguments - one.resident
    sizes = (one.arguments, one.resident, temporaries, one.peak)
    size = [f"{number / GIB:.2f} GiB" for number in sizes]
    share = f"{100 * one.peak / memory:.1f} %" if memory else "-"
    sent = f"{sum(one.sent.values()) / 1e9:.1f}"
    limits = [f"{one.roofline[key]:.2f}" if one.roofline else "-" for key in LIMITS]
    binds = max(LIMITS, key=one.roofline.get) if one.roofline else "-"
    flops = f"{one.flops / 1e12:.1f}"
    return (one.name, *size, share, flops, sent, *limits, binds, f"{one.seconds:.0f} s")


LIMITS = ("compute", "memory", "links")


def step_seconds(found: Sequence[Compiled]) -> float:
    """Seconds of a step by the roofline: each program's largest limit, one after the other."""
    return sum(max(one.roofline.values()) for one in found if one.every_step and one.roofline)
