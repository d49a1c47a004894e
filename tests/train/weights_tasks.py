"""What tests/train/test_weights.py runs on eight devices: models of every form, in shards."""

import json
import sys

import jax
import numpy as np

from dvmap_jax.model.transformer import Transformer
from dvmap_jax.sharding import MeshConfig, make_mesh, param_shardings
from dvmap_jax.train.weights import load_model


def differences(source: str, dtype: str) -> list[str]:
    """Parameters that are not where they were asked for, or not the ones of a plain load."""
    mesh = make_mesh(MeshConfig(2, 2, 2))
    asked = []

    def shardings_of(config):
        model = Transformer(config)
        shapes = model.abstract_params()
        asked.append(param_shardings(mesh, shapes, model.logical_axes()))
        return asked[-1]

    sharded = load_model(source, dtype, shardings_of=shardings_of).params
    plain = load_model(source, dtype).params
    wrong = []
    for (path, leaf), other in zip(
        jax.tree.leaves_with_path(sharded), jax.tree.leaves(plain), strict=True
    ):
        sharding = asked[-1]
        for key in path:
            sharding = sharding[key.key]
        same = np.array_equal(np.asarray(leaf), np.asarray(other))
        if not (leaf.sharding == sharding and leaf.dtype == dtype and same):
            wrong.append(jax.tree_util.keystr(path))
    return wrong


if __name__ == "__main__":
    print(json.dumps({source: differences(source, sys.argv[1]) for source in sys.argv[2:]}))
