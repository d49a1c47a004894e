"""What a program has to compute and to move, counted from its shapes, and what a chip can do.

XLA's own count takes the body of a loop once, so products are counted here: a product of [m, k]
with [k, n] is 2 m k n operations.
"""

import dataclasses
from collections.abc import Sequence

from dvmap_jax.model.config import ModelConfig

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """Usable memory in bytes, bfloat16 operations, memory and link bytes, each a second.

    `link` is what a chip sends along one axis of its torus, in both directions together.
    """

    memory: float
    flops: float
    bandwidth: float
    link: float


# Cloud TPU documentation (v5e, v5p, v6e system architecture); links: Austin et al. 2025, "How to
# Scale Your Model", chapter 2. Usable memory is what the compiler reports as the limit.
CHIPS = {
    "v5e": Chip(15.75 * GIB, 197e12, 819e9, 9e10),
    "v5p": Chip(95.74 * GIB, 459e12, 2765e9, 1.8e11),
    "v6e": Chip(31.25 * GIB, 918e12, 1640e9, 1.8e11),
}


@dataclasses.dataclass(frozen=True)
class Work:
    """Operations of all chips together, and bytes each chip moves to and from its memory."""

    flops: float
    bytes_per_chip: float


@dataclasses.dataclass(frozen=True)
class TreeShape:
    """Tokens of a tree below one root: for each level its rows and the tokens of each."""

    levels: tuple[tuple[int, int], ...]

    @property
    def tokens(self) -> int:
        """Tokens of all levels."""
        return sum(rows * size for rows, size in self.levels)

    @property
    def scores(self) -> int:
        """Pairs of a query and a key that are multiplied; causality saves none of them."""
        pairs, above = 0, 0
        for rows, size in self.levels:
            pairs += rows * size * (above + size)
            above += size
        return pairs


def matrix_params(model: ModelConfig) -> int:
    """Parameters of a layer's matrices."""
    heads = (2 * model.num_heads + 2 * model.num_kv_heads) * model.head_dim
    return model.width * (heads + 3 * model.mlp_width)


def num_params(model: ModelConfig) -> int:
    """Parameters of the matrices and tables; norms are left out."""
    tables = 1 if model.tie_embeddings else 2
    return model.num_layers * matrix_params(model) + tables * model.vocab_size * model.width


def forward_flops(model: ModelConfig, tree: TreeShape, *, scored: int) -> float:
    """Operations of one tree's forward pass with log-probabilities of `scored` tokens."""
    layer = 2 * matrix_params(model) * tree.tokens
    layer += 4 * model.num_heads * model.head_dim * tree.scores
    return model.num_layers * layer + 2 * model.vocab_size * model.width * scored


def update_work(
    model: ModelConfig,
    tree: TreeShape,
    *,
    roots: int,
    micro_batches: int,
    chips: int,
) -> Work:
    """An update: forward, again for the gradient, and twice that backward.

    Memory traffic: AdamW's state and gradients once, and for each micro-batch twenty reads or
    writes of the stream in every layer besides the weights, which each pass reads.
    """
    scored = tree.levels[-1][0] * tree.levels[-1][1]
    passes = 4
    flops = roots * passes * forward_flops(model, tree, scored=scored)
    weights = 2 * num_params(model) * micro_batches * passes
    stream = roots * tree.tokens * model.width * 2 * 20 * model.num_layers * passes / chips
    return Work(flops, weights + stream + 40 * num_params(model) / chips)


def decode_work(
    model: ModelConfig, tree: TreeShape, *, roots: int, parts: int, weight_shards: int, chips: int
) -> Work:
    """Prefill, then one token at a time: each reads the weights and all keys and values so far."""
    *trunk, (rows, size) = tree.levels
    start = TreeShape(tuple(trunk))
    flops = roots * forward_flops(model, tree, scored=rows * size)
    weights = 2 * num_params(model) / weight_shards
    kept = 2 * 2 * model.num_layers * model.num_kv_heads * model.head_dim
    read = kept * roots * (start.tokens + rows * size / 2) / chips
    return Work(flops, parts * size * weights + size * read)


def roofline(work: Work, chip: Chip, *, chips: int, sent: Sequence[float]) -> dict[str, float]:
    """Seconds that operations, memory and links need at the least, each by itself."""
    return {
        "compute": work.flops / chips / chip.flops,
        "memory": work.bytes_per_chip / chip.bandwidth,
        "links": sum(sent) / chip.link,
    }
