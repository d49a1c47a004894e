"""What a mesh must divide is checked before anything is made, in words."""

import dataclasses

import jax
import pytest

from dvmap_jax.config import RunConfig
from dvmap_jax.data.batches import DataConfig
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.sharding import MESH_AXES, MeshConfig, make_mesh
from dvmap_jax.train.placement import check_mesh
from dvmap_jax.train.state import OptimizerConfig

MODEL = ModelConfig(width=64, mlp_width=96, num_heads=8, num_kv_heads=4, head_dim=8)
CONFIG = RunConfig(data=DataConfig(batch_size=16), optimizer=OptimizerConfig(micro_batch_size=8))


def check(data, fsdp, tensor, config=CONFIG, **mesh):
    config = dataclasses.replace(config, mesh=MeshConfig(data, fsdp, tensor, **mesh))
    check_mesh(config, MODEL, jax.sharding.AbstractMesh((data, fsdp, tensor), MESH_AXES))


@pytest.mark.parametrize(
    ("mesh", "said"),
    [
        ((1, 1, 8), "model.num_kv_heads is 4, which mesh.tensor = 8 does not divide"),
        ((1, 1, 16), "model.num_heads is 8, which mesh.tensor = 16"),
        ((1, 3, 1), "model.width is 64, which mesh.fsdp = 3"),
        ((16, 1, 1), "optimizer.micro_batch_size is 8, which mesh.data x mesh.fsdp = 16"),
    ],
)
def test_sizes_a_mesh_does_not_divide_are_named(mesh, said):
    with pytest.raises(ValueError, match=said.replace(".", r"\.")):
        check(*mesh)


def test_the_decode_layout_has_sizes_of_its_own():
    check(1, 8, 1)
    with pytest.raises(ValueError, match=r"num_kv_heads is 4, which mesh.fsdp = 8 .*'swapped'"):
        check(1, 8, 1, decode="swapped")
    drawn = dataclasses.replace(CONFIG, sampling=SamplingConfig(batch_size=2))
    with pytest.raises(ValueError, match=r"sampling.batch_size is 2, which mesh.data x mesh.tens"):
        check(1, 2, 4, drawn, decode="swapped")


def test_a_mesh_that_is_not_the_devices_is_refused():
    with pytest.raises(ValueError, match=r"= \(3, 1, 1\) does not multiply to 1 devices"):
        make_mesh(MeshConfig(3, 1, 1))
    with pytest.raises(ValueError, match=r"each is positive, at most one is -1"):
        MeshConfig(-1, -1, 1)
    with pytest.raises(ValueError, match=r"mesh.decode is 'other'; it must be one of"):
        MeshConfig(decode="other")
    with pytest.raises(ValueError, match=r"'pmap', which replicates .* they are 2 and 1"):
        MeshConfig(1, 2, 1, parallelism="pmap")
