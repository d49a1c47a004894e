"""Mesh axes and logical axes: the one place that says which parameter lives where."""

import contextlib
import dataclasses
from collections.abc import Iterator

import jax
import numpy as np
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
