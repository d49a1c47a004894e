"""Operations counted from shapes, beside what XLA counts where no loop hides anything."""

import jax
import jax.numpy as jnp
import pytest

from dvmap_jax.model.config import ComputeConfig, ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level, branch_logprobs
from dvmap_jax.train.costs import TreeShape, forward_flops, num_params

WIDE = ModelConfig(
    vocab_size=512,
    width=256,
    mlp_width=640,
    num_layers=1,
    num_heads=8,
    num_kv_heads=4,
    head_dim=32,
    tie_embeddings=False,
)


def test_a_forward_pass_has_the_operations_xla_counts():
    model = Transformer(WIDE, ComputeConfig(remat="none", logprob_chunk=10_000))
    levels = (Level(jnp.zeros((2, 1, 96), int), jnp.full((2, 1), 96)),)
    branches = Level(jnp.zeros((2, 4, 64), int), jnp.full((2, 4), 64))
    compiled = jax.jit(lambda p: branch_logprobs(model, p, levels, branches)[0]).lower(
        model.abstract_params()
    )
    counted = compiled.compile().cost_analysis()["flops"]
    tree = TreeShape(((1, 96), (4, 64)))
    ours = 2 * forward_flops(WIDE, tree, scored=4 * 64)
    assert ours == pytest.approx(counted, rel=0.1)  # XLA also counts what is no product


def test_parameters_are_those_of_the_model_but_norms():
    shapes = jax.tree_util.tree_leaves_with_path(Transformer(WIDE).abstract_params())
    assert num_params(WIDE) == sum(leaf.size for path, leaf in shapes if path[-1].key != "scale")


def test_queries_meet_their_ancestors_and_themselves():
    assert TreeShape(((1, 10), (2, 3))).scores == 10 * 10 + 2 * 3 * (10 + 3)
    assert TreeShape(((1, 10), (2, 3))).tokens == 16
