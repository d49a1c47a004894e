"""Who is drawn where: slots for the roots and branches being drawn, and the queue of the others.

P roots, each with N parents of G branches, stand in D queues, one for each part that rows are
divided into, so that nothing moves between devices. S slots take a root each, and in a slot W
branches of each parent are drawn at a time.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Int

from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.model.transformer import Block
from dvmap_jax.model.tree import Prefix

HALVINGS = 2  # each a loop of its own to compile


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How many of everything there are, by the letters above."""

    queues: int  # D
    roots: int  # P
    slots: int  # S
    parents: int  # N
    branches: int  # G
    drawn: int  # W

    @classmethod
    def of(cls, shape: tuple[int, int], parents: int, queues: int, config: SamplingConfig):
        """For `shape` = (P, N G) branches. ValueError where slots do not divide into queues."""
        roots, columns = shape
        slots = min(config.batch_size or roots, roots)
        if slots % queues or roots % queues:
            raise ValueError(
                f"sampling.batch_size is {slots}, which {queues} devices with rows of their own do "
                "not divide; choose a multiple"
            )
        branches = columns // parents
        drawn = min(config.branches or branches, branches)
        return cls(queues, roots, slots, parents, branches, drawn)

    @property
    def waiting(self) -> bool:
        """Whether any branch has to wait for another to end."""
        return self.slots < self.roots or self.drawn < self.branches

    def halved(self) -> tuple["Sizes", ...]:
        """These, then half as many slots and a quarter, as far as the queues divide them.

        Where all branches are drawn from the beginning only these: they rarely end far apart
        enough to pay for another compiled loop.
        """
        halves = [self]
        while self.waiting and len(halves) <= HALVINGS and not halves[-1].slots % (2 * self.queues):
            halves.append(dataclasses.replace(self, slots=halves[-1].slots // 2))
        return tuple(halves)


@struct.dataclass
class Slots:
    """What is drawn now; a branch of number G is none."""

    roots: Int[Array, "D s"]  # place of each slot's root in its queue
    queued: Int[Array, " D"]  # roots that have left each queue
    begun: Int[Array, "S N"]  # branches of each parent that have begun
    branches: Int[Array, "S N W"]
    ages: Int[Array, "S N W"]  # tokens that each branch has


def first_slots(sizes: Sizes) -> Slots:
    """Slots that no branch is in, with the first roots of every queue."""
    each = sizes.slots // sizes.queues
    rows = (sizes.slots, sizes.parents)
    return Slots(
        roots=jnp.broadcast_to(jnp.arange(each), (sizes.queues, each)),
        queued=jnp.full(sizes.queues, each),
        begun=jnp.zeros(rows, jnp.int32),
        branches=jnp.full((*rows, sizes.drawn), sizes.branches),
        ages=jnp.zeros((*rows, sizes.drawn), jnp.int32),
    )


def begin(sizes: Sizes, slots: Slots, fresh: Bool[Array, " S"], parents: Int[Array, "S N"]):
    """Slots of new roots begin the first branches of every parent that has tokens."""
    real = parents > 0
    first = jnp.where(real[..., None], jnp.arange(sizes.drawn), sizes.branches)
    begun = jnp.where(real, sizes.drawn, sizes.branches)
    now = fresh[:, None, None]
    return slots.replace(
        branches=jnp.where(now, first, slots.branches),
        ages=jnp.where(now, 0, slots.ages),
        begun=jnp.where(now[..., 0], begun, slots.begun),
    )


def follow(sizes: Sizes, slots: Slots, over: Bool[Array, "S N W"]) -> Slots:
    """Branches that are over make room for the next of the same parent."""
    following = slots.begun[..., None] + jnp.cumsum(over, axis=-1) - 1
    following = jnp.minimum(following, sizes.branches)
    begun = jnp.minimum(slots.begun + over.sum(axis=-1), sizes.branches)
    return slots.replace(
        branches=jnp.where(over, following, slots.branches),
        ages=jnp.where(over, 0, slots.ages),
        begun=begun,
    )


def alive(sizes: Sizes, slots: Slots) -> Bool[Array, "S N W"]:
    """Which places have a branch."""
    return slots.branches < sizes.branches


def ready(sizes: Sizes, slots: Slots) -> Bool[Array, "D s"]:
    """Slots whose root is done while others wait."""
    done = ~alive(sizes, slots).any(axis=(1, 2)).reshape(slots.roots.shape)
    return done & (slots.queued < sizes.roots // sizes.queues)[:, None]


def replace_roots(sizes: Sizes, slots: Slots) -> tuple[Slots, Bool[Array, " S"]]:
    """Slots that are ready take the next roots of their queue, as far as there are; and which."""
    free = ready(sizes, slots)
    following = slots.queued[:, None] + jnp.cumsum(free, axis=-1) - 1
    fresh = free & (following < sizes.roots // sizes.queues)
    queued = slots.queued + fresh.sum(axis=-1)
    roots = jnp.where(fresh, following, slots.roots)
    return slots.replace(roots=roots, queued=queued), fresh.reshape(-1)


def places(sizes: Sizes, slots: Slots) -> Int[Array, "D c"]:
    """Number of each place's branch among the P / D x N x G of its queue; none: their count."""
    each = sizes.roots // sizes.queues * sizes.parents * sizes.branches
    parents = slots.roots.reshape(-1, 1) * sizes.parents + jnp.arange(sizes.parents)
    number = parents[..., None] * sizes.branches + slots.branches
    number = jnp.where(alive(sizes, slots), number, each)
    return number.reshape(sizes.queues, -1)


def remaining(sizes: Sizes, slots: Slots) -> Int[Array, ""]:
    """Roots of the fullest queue that are drawn or wait."""
    drawn = alive(sizes, slots).any(axis=(1, 2)).reshape(slots.roots.shape).sum(axis=-1)
    return (drawn + sizes.roots // sizes.queues - slots.queued).max()


def fullest(sizes: Sizes, slots: Slots, count: int) -> Int[Array, "D k"]:
    """Places, within their queue, of its first `count` / D slots that have a branch, in order."""
    busy = alive(sizes, slots).any(axis=(1, 2)).reshape(slots.roots.shape)
    order = jnp.argsort(~busy, axis=-1, stable=True)
    return order[:, : count // sizes.queues]


def kept(slots: Slots, index: Int[Array, "D k"]) -> Slots:
    """Those slots alone."""
    rows = jax.tree.map(lambda x: pick(x, index, 0), (slots.begun, slots.branches, slots.ages))
    roots = jnp.take_along_axis(slots.roots, index, axis=-1)
    return Slots(roots, slots.queued, *rows)


def in_slots(sizes: Sizes, prefix: Prefix, roots: Int[Array, "D s"]) -> Prefix:
    """The prefixes of the roots that are in the slots."""
    if sizes.slots == sizes.roots:
        return prefix
    return over_roots(lambda x, axis: pick(x, roots, axis), prefix)


def pick(x: Array, index: Int[Array, "D k"], axis: int) -> Array:
    """Of an axis that D queues divide, the entries that `index` numbers within each queue."""
    shape = x.shape
    queues, count = index.shape
    x = x.reshape(*shape[:axis], queues, -1, *shape[axis + 1 :])
    of_queue = jax.vmap(
        lambda part, index: jnp.take(part, index, axis=axis, mode="clip"),
        in_axes=(axis, 0),
        out_axes=axis,
    )
    return of_queue(x, index).reshape(*shape[:axis], queues * count, *shape[axis + 1 :])


def over_roots(change: Callable[[Array, int], Array], prefix: Prefix) -> Prefix:
    """The prefix with every array changed along its roots, which are the axis that is told."""
    blocks = tuple(of_block(change, block) for block in prefix.context)
    return Prefix(blocks, change(prefix.last_hidden, 0))


def of_block(change: Callable[[Array, int], Array], block: Block) -> Block:
    """The block with every array changed along its rows, which are the axis that is told."""
    keys, values, scales = jax.tree.map(
        lambda x: change(x, 1), (block.keys, block.values, block.scales)
    )
    lengths = change(block.lengths, 0)
    return block.replace(keys=keys, values=values, scales=scales, lengths=lengths)
