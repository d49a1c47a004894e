"""Mesh axes and logical axes: the one place that says which array lives where.

Parameters, moments and gradients are stored over `fsdp` and `tensor` (`STORED`). A layout says how
arrays are divided while they are used: "update" divides rows over `data` and `fsdp` and gathers
weights layer by layer; "swapped", for decoding, exchanges the roles of `fsdp` and `tensor`, so that
weights stay in pieces through a loop over tokens and rows are divided over what remains.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

MESH_AXES = ("data", "fsdp", "tensor")
BATCH_AXES = ("data", "fsdp")
PARALLELISM = ("mesh", "pmap")
DECODE_LAYOUTS = ("update", "swapped")

# Logical axis -> mesh axes; one that is absent is replicated.
STORED = {
    "vocab": "tensor",
    "embed": "fsdp",
    "heads": "tensor",
    "kv_heads": "tensor",
    "mlp": "tensor",
}
# A table is used in other pieces than it is stored in: looked up by columns and scored by rows, so
# that neither a whole table nor the logits of all tokens ever lie on one device.
LAYOUTS = {
    "update": {
        "batch": BATCH_AXES,
        "residual": "tensor",
        "heads": "tensor",
        "kv_heads": "tensor",
        "mlp": "tensor",
        "lookup_embed": ("fsdp", "tensor"),
        "scored_vocab": ("tensor", "fsdp"),
        "table_batch": "data",
        "sampled_batch": MESH_AXES,
    },
    "swapped": {
        "batch": ("data", "tensor"),
        "heads": "fsdp",
        "kv_heads": "fsdp",
        "mlp": "fsdp",
        "lookup_embed": "fsdp",
        "scored_vocab": "fsdp",
        "table_batch": ("data", "tensor"),
        "sampled_batch": ("data", "tensor", "fsdp"),
    },
}
# Where a size need not divide: a vocabulary is what it is, the others only save memory.
MAY_STAY_WHOLE = {"vocab", "lookup_embed", "scored_vocab", "sampled_batch", "residual"}


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; -1 once means all that remain.

    `decode` is the layout completions are drawn under: "update", the same as the update's, or
    "swapped", which spares gathering the weights for every token where `fsdp` is above 1.
    `parallelism="pmap"` replicates everything and divides rows over the devices of one host.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    decode: str = "update"
    parallelism: str = "mesh"

    def __post_init__(self):
        sizes = (self.data, self.fsdp, self.tensor)
        if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
            raise ValueError(f"mesh sizes are {sizes}; each is positive, at most one is -1")
        for name, known in (("decode", DECODE_LAYOUTS), ("parallelism", PARALLELISM)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"mesh.{name} is {getattr(self, name)!r}; it must be one of {known}"
                )
        if self.parallelism == "pmap" and (self.fsdp, self.tensor) != (1, 1):
            raise ValueError(
                "mesh.parallelism is 'pmap', which replicates the parameters; mesh.fsdp and "
                f"mesh.tensor must be 1, they are {self.fsdp} and {self.tensor}"
            )


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh `(data, fsdp, tensor)` over the devices, all there are where none are given.

    Raises ValueError where the sizes do not multiply to their number.
    """
    sizes = [config.data, config.fsdp, config.tensor]
    number = len(devices) if devices is not None else jax.device_count()
    known = int(np.prod([size for size in sizes if size > 0]))
    if -1 in sizes and number % known == 0:
        sizes[sizes.index(-1)] = number // known
    if -1 in sizes or int(np.prod(sizes)) != number:
        raise ValueError(
            f"mesh (data, fsdp, tensor) = {tuple(sizes)} does not multiply to {number} devices; "
            "set config.mesh"
        )
    placed = mesh_utils.create_device_mesh(
        tuple(sizes), devices=devices, allow_split_physical_axes=True
    )
    return Mesh(placed, MESH_AXES, axis_types=(jax.sharding.AxisType.Auto,) * len(sizes))


@contextlib.contextmanager
def use_mesh(config: MeshConfig) -> Iterator[Mesh]:
    """Makes the mesh and leaves it as the current one for what runs inside."""
    mesh = make_mesh(config)
    with jax.set_mesh(mesh):
        yield mesh


def without_mesh():
    """A context without a current mesh, where Flax makes modules: it would place them itself."""
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ()))


def constrain(x: jax.Array, axes: Sequence[str | None], layout: str) -> jax.Array:
    """`x` divided over the current mesh as the layout says of its logical axes, one a dimension.

    Without a mesh it is `x` itself. Dimensions beyond `axes` are not divided.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if not _is_ours(mesh):
        return x
    return jax.lax.with_sharding_constraint(x, _spec(mesh, axes, x.shape, LAYOUTS[layout]))


def constrain_rows(x: jax.Array) -> jax.Array:
    """`x`, whose first axis is rows, divided as an update divides them."""
    return constrain(x, ("batch",), "update")


def divided_into(axis: str, layout: str) -> int:
    """Into how many parts the current mesh divides a dimension under the layout; 1 without one."""
    mesh = jax.sharding.get_abstract_mesh()
    if not _is_ours(mesh):
        return 1
    return _number(mesh, _as_tuple(LAYOUTS[layout].get(axis)))


def constrain_tree(tree, logical_axes, layout: str):
    """`constrain` for every array of a tree of which another one names the axes."""
    return jax.tree.map(lambda x, axes: constrain(x, axes, layout), tree, logical_axes)


def on_each_device(function: Callable, *, axes_in, axes_out, layout: str) -> Callable:
    """`function` of what each device of the current mesh has; itself where there is no mesh.

    The trees of logical axes say how the layout divides its arguments and results. For what a
    compiler does not divide by itself.
    """
    if not _is_ours(jax.sharding.get_abstract_mesh()):
        return function

    def specs(axes):
        named = (_as_tuple(LAYOUTS[layout].get(axis)) or None for axis in axes)
        return PartitionSpec(*named)

    axes_in, axes_out = (
        jax.tree.map(specs, tree, is_leaf=_is_axes) for tree in (axes_in, axes_out)
    )
    return jax.shard_map(function, in_specs=axes_in, out_specs=axes_out, check_vma=False)


def current_platform() -> str:
    """What the current mesh's devices are, there or not; without one what JAX runs on."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return device.platform if device else jax.default_backend()


def param_shardings(mesh: Mesh, shapes, logical_axes) -> object:
    """Where parameters of these shapes are stored, by their logical axis names."""

    def place(leaf, axes):
        return NamedSharding(mesh, _spec(mesh, axes, leaf.shape, STORED))

    return jax.tree.map(place, shapes, logical_axes)


def _spec(mesh, axes: Sequence[str | None], shape: Sequence[int], rules) -> PartitionSpec:
    return PartitionSpec(
        *(_mesh_axes(mesh, *pair, rules) for pair in zip(axes, shape, strict=False))
    )


def _mesh_axes(mesh, axis: str | None, size: int, rules) -> tuple[str, ...] | None:
    """The mesh axes a dimension is divided over; of `MAY_STAY_WHOLE` only those that divide it."""
    found = _as_tuple(rules.get(axis))
    while axis in MAY_STAY_WHOLE and size % _number(mesh, found):
        found = found[:-1]
    return found or None


def _is_axes(leaf) -> bool:
    return type(leaf) is tuple and all(axis is None or isinstance(axis, str) for axis in leaf)


def _is_ours(mesh) -> bool:
    return set(MESH_AXES) <= set(mesh.axis_names)


def _as_tuple(axes: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (axes,) if isinstance(axes, str) else axes or ()


def _number(mesh, axes: Sequence[str]) -> int:
    return int(np.prod([mesh.shape[axis] for axis in axes]))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of a value every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def row_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of an array whose first axis is rows."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def check_divides(mesh: Mesh, sizes: dict[str, tuple[int, str]], layout: str) -> None:
    """Raises ValueError where a size does not divide over the mesh axes its logical axis has.

    `sizes` gives by logical axis a size and its name; the layout "stored" is that of parameters.
    """
    rules = STORED if layout == "stored" else LAYOUTS[layout]
    for axis, (size, name) in sizes.items():
        used = _as_tuple(rules.get(axis))
        if size % _number(mesh, used):
            product = " x ".join(f"mesh.{axis}" for axis in used)
            raise ValueError(
                f"{name} is {size}, which {product} = {_number(mesh, used)} does not divide "
                f"(layout {layout!r}); choose another mesh or another size"
            )


def own_rows(count: int) -> np.ndarray:
    """Which of a batch's rows this process computes: those of its devices, in ascending order.

    All of them without a mesh. Raises ValueError where the mesh does not divide them.
    """
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return np.arange(count)
    check_divides(mesh, {"batch": (count, "the number of rows of a batch")}, "update")
    places = row_sharding(mesh).addressable_devices_indices_map((count,)).values()
    return np.unique(np.concatenate([np.arange(count)[index] for index in places]))


def rows_on_mesh(count: int) -> int:
    """The least number of rows from `count` on that the current mesh divides in every layout."""
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return count
    parts = mesh.shape["data"] * math.lcm(mesh.shape["fsdp"], mesh.shape["tensor"])
    return -(-count // parts) * parts


def put_own_rows(tree, count: int):
    """Arrays of this process's rows, in the order of `own_rows`, as arrays of all `count` rows."""
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return tree
    own = own_rows(count)

    def put(x):
        x = np.asarray(x)

        def part(index):
            return x[np.searchsorted(own, np.arange(count)[index[0]])]

        shape = (count, *x.shape[1:])
        return jax.make_array_from_callback(shape, row_sharding(mesh), part)

    return jax.tree.map(put, tree)


def put_rows(tree):
    """Arrays of all rows, which every process has, divided over the current mesh."""
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return tree

    def put(x):
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, row_sharding(mesh), lambda index: x[index])

    return jax.tree.map(put, tree)


def read_own_rows(tree):
    """The rows of `own_rows` of arrays divided over the current mesh, as numpy."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, tree)

    def read(x):
        parts = {
            shard.index[0].start or 0: np.asarray(shard.data) for shard in x.addressable_shards
        }
        return np.concatenate([parts[start] for start in sorted(parts)])

    return jax.tree.map(read, tree)


def read_rows(tree):
    """All rows of arrays divided over the current mesh, as numpy in every process."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, tree)
    whole = _gatherer(replicated(jax.sharding.get_mesh()))
    return jax.tree.map(np.asarray, whole(tree))


@functools.cache
def _gatherer(whole: NamedSharding):
    """Gives every device all of an array; one function, so that it compiles once a shape."""
    return jax.jit(lambda tree: tree, out_shardings=whole)


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
