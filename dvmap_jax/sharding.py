"""Mesh axes and logical axes: the one place that says which parameter lives where."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

MESH_AXES = ("data", "fsdp", "tensor")

# Logical axis of a parameter -> mesh axis; an axis that is absent is replicated.
RULES = {
    "vocab": "tensor",
    "embed": "fsdp",
    "heads": "tensor",
    "kv_heads": "tensor",
    "mlp": "tensor",
}
BATCH_AXES = ("data", "fsdp")
TEXT_BYTES = 600  # of an error that processes tell one another


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; -1 once means all that remain."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1

    def __post_init__(self):
        sizes = (self.data, self.fsdp, self.tensor)
        if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
            raise ValueError(f"mesh sizes are {sizes}; each is positive, at most one is -1")


def make_mesh(config: MeshConfig) -> Mesh:
    """The mesh `(data, fsdp, tensor)` over all devices; the sizes must multiply to their number."""
    sizes = [config.data, config.fsdp, config.tensor]
    devices = jax.device_count()
    known = int(np.prod([size for size in sizes if size > 0]))
    if -1 in sizes and devices % known == 0:
        sizes[sizes.index(-1)] = devices // known
    if -1 in sizes or int(np.prod(sizes)) != devices:
        raise ValueError(
            f"mesh (data, fsdp, tensor) = {tuple(sizes)} does not multiply to {devices} devices; "
            "set config.mesh"
        )
    return jax.make_mesh(tuple(sizes), MESH_AXES, axis_types=(jax.sharding.AxisType.Auto,) * 3)


def param_shardings(mesh: Mesh, logical_axes) -> object:
    """Shardings of a tree of logical axis names, one tuple (or None) a parameter."""

    def place(axes):
        return NamedSharding(mesh, PartitionSpec(*(RULES.get(axis) for axis in axes)))

    return jax.tree.map(place, logical_axes, is_leaf=lambda axes: isinstance(axes, tuple))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of a value every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def row_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of an array whose first axis is rows."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def row_shards(mesh: Mesh) -> int:
    """Into how many parts rows are divided."""
    return int(np.prod([mesh.shape[axis] for axis in BATCH_AXES]))


def put_rows(mesh: Mesh, tree):
    """Places a tree of host arrays with rows first on the mesh; rows must divide evenly."""
    return jax.device_put(tree, row_sharding(mesh))


@contextlib.contextmanager
def use_mesh(config: MeshConfig) -> Iterator[Mesh]:
    """Makes the mesh and leaves it as the current one for what runs inside."""
    mesh = make_mesh(config)
    with jax.set_mesh(mesh):
        yield mesh


def readable(array: jax.Array | np.ndarray, layer: int | None = None) -> jax.Array | np.ndarray:
    """An array, or one layer of a stacked one, so that this process can read all of it.

    What is sharded over several processes is gathered from them, which all must ask for it alike.
    It is a new array: numpy values that JAX keeps with an array it once read go with it.
    """
    if isinstance(array, np.ndarray):
        return array if layer is None else array[layer]
    whole = None if array.is_fully_addressable else replicated(array.sharding.mesh)
    one = _picker(layer is not None, whole)(array, np.int32(layer or 0))
    return one.block_until_ready()  # else gathered layers pile up where nobody reads them


@functools.cache
def _picker(stacked: bool, sharding: NamedSharding | None):
    """Takes a layer, or all of an array; compiled once a shape, whichever layer it is."""

    def pick(array, layer):
        stack = array if stacked else array[None]
        return jax.lax.dynamic_index_in_dim(stack, layer, keepdims=False)

    return jax.jit(pick, out_shardings=sharding)


def all_succeed(action: Callable[[], None]) -> None:
    """Runs each process's own `action`; where one of them fails, all of them raise.

    The one that failed raises its own error, the others an OSError that quotes it. All processes
    must come here together, so an action must not leave others waiting within it.
    """
    own = None
    try:
        action()
    except BaseException as error:  # also Ctrl-C: the others would wait for this process
        own = error
    failures = _exchange("" if own is None else f"{own}" or type(own).__name__)
    if own is not None:
        raise own
    for process, text in enumerate(failures):
        if text:
            raise OSError(f"process {process} of {len(failures)} failed: {text}")


def _exchange(text: str) -> list[str]:
    """The texts of all processes, in their order, cut where they are long."""
    if jax.process_count() == 1:
        return [text]
    data = text.encode("utf-8")[:TEXT_BYTES]
    padded = np.frombuffer(data.ljust(TEXT_BYTES, b"\0"), np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [bytes(row).rstrip(b"\0").decode("utf-8", errors="replace") for row in rows]
