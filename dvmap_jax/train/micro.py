"""Micro-batches: how many roots of a batch are computed at a time, and the batch in such parts."""

from collections.abc import Sequence

import jax

from dvmap_jax.model.tree import AnyLevel
from dvmap_jax.train.state import OptimizerConfig


def tree_tokens(levels: Sequence[AnyLevel]) -> int:
    """Tokens of one root's tree, padding included."""
    return sum(level.tokens.shape[1] * level.tokens.shape[2] for level in levels)


def roots_at_a_time(
    config: OptimizerConfig, roots: int, *, tree: Sequence[AnyLevel], parts: int
) -> int:
    """Roots of a micro-batch of an update of so many, which are divided into `parts`.

    With `micro_batch_tokens` the most whose trees stay within it, decided by the shapes of the
    `tree`; the least there can be where none do.
    """
    if not config.micro_batch_tokens:
        return config.micro_batch_size or roots
    sizes = [size for size in range(parts, roots + 1, parts) if roots % size == 0] or [roots]
    limit = config.micro_batch_tokens // tree_tokens(tree)
    return max((size for size in sizes if size <= limit), default=sizes[0])


def num_roots(batch) -> int:
    """How many roots a batch has: the leading axis of all its arrays."""
    return jax.tree.leaves(batch)[0].shape[0]


def split_rows(batch, size: int):
    """Leading axis of every array split into parts of that many roots; raises if it does not."""
    roots = num_roots(batch)
    if roots % size:
        raise ValueError(
            f"optimizer.micro_batch_size is {size}, which does not divide the {roots} roots of an "
            "update (data.batch_size / grpo.updates_per_rollout)"
        )
    return jax.tree.map(lambda x: x.reshape(roots // size, size, *x.shape[1:]), batch)
