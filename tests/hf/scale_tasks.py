"""What tests/hf/test_scale.py runs: import onto eight devices, export from two processes."""

import json
import math
import os
import pathlib
import resource
import sys

import jax
import numpy as np

from dvmap_jax.hf.load import SafetensorsFolder, assemble, load_params, read_config
from dvmap_jax.hf.save import save_model
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.sharding import MeshConfig, make_mesh, param_shardings


class CountingSource(SafetensorsFolder):
    """A folder that counts the numbers read from it."""

    num_read = 0

    def read(self, name, index):
        values = super().read(name, index)
        self.num_read += values.size
        return values


def shardings_on(mesh: MeshConfig, config):
    model = Transformer(config)
    return param_shardings(make_mesh(mesh), model.abstract_params(), model.logical_axes())


def sharded(folder: pathlib.Path, config, mesh: MeshConfig) -> tuple[dict, int]:
    """Parameters on the mesh, and how many numbers this process read for them."""
    source = CountingSource(folder)
    shardings = shardings_on(mesh, config)
    params = assemble(source, config, "float32", pattern="hf", shardings=shardings)
    return params, source.num_read


def size(config) -> int:
    return sum(math.prod(x.shape) for x in jax.tree.leaves(Transformer(config).abstract_params()))


def place(*folders: str) -> None:
    """For each folder: what differs from the plain load, numbers read and in the model, shards."""
    found = []
    for folder in map(pathlib.Path, folders):
        config = read_config(folder)
        params, num_read = sharded(folder, config, MeshConfig(2, 2, 2))
        plain = jax.tree.map(np.asarray, load_params(folder, config))
        flat = jax.tree.leaves_with_path(params)
        pairs = list(zip(flat, jax.tree.leaves(plain), strict=True))
        wrong = [
            jax.tree_util.keystr(path)
            for (path, ours), theirs in pairs
            for shard in ours.addressable_shards
            if not np.array_equal(shard.data, theirs[shard.index])
        ]
        divided = {
            jax.tree_util.keystr(path, simple=True, separator="/"): leaf.size // shard.data.size
            for path, leaf in flat
            for shard in leaf.addressable_shards[:1]
        }
        found.append([wrong, num_read, size(config), divided])
    print(json.dumps(found))


def export(folder: str, target: str, max_shard_bytes: str, limit: str) -> None:
    """Loads onto a mesh over both processes and exports; the second may write only so much."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    process = int(os.environ["PROCESS"])
    jax.distributed.initialize(os.environ["COORDINATOR"], num_processes=2, process_id=process)
    source = pathlib.Path(folder)
    config = read_config(source)
    params, num_read = sharded(source, config, MeshConfig(1, 2, 4))
    if int(limit) and process == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    save_model(params, config, target, max_shard_bytes=int(max_shard_bytes), carry_from=source)
    print(
        json.dumps(
            [num_read, size(config), sorted(path.name for path in pathlib.Path(target).iterdir())]
        )
    )


if __name__ == "__main__":
    {"place": place, "export": export}[sys.argv[1]](*sys.argv[2:])
