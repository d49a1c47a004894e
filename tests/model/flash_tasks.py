"""Fused attention on a mesh of eight CPU devices, or compiled for a slice, as JSON."""

import dataclasses
import functools
import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np

from dvmap_jax.config import RunConfig
from dvmap_jax.data.batches import DataConfig
from dvmap_jax.evaluation.evaluator import EvaluationConfig
from dvmap_jax.model.attention import LayerBlock, Reach, attend
from dvmap_jax.model.config import ComputeConfig, ModelConfig
from dvmap_jax.model.flash import flash_attend
from dvmap_jax.model.kernels import splash_kernel
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.sharding import MeshConfig, make_mesh, use_mesh
from dvmap_jax.train.collectives import shapes
from dvmap_jax.train.programs import programs
from dvmap_jax.train.state import OptimizerConfig
from dvmap_jax.train.topology import topology_devices

PROMPT, COMPLETION = 384, 256
MODEL = ModelConfig(
    vocab_size=1024, width=192, mlp_width=320, num_layers=2, num_kv_heads=2, head_dim=64
)
RUN = RunConfig(
    model=MODEL,
    mesh=MeshConfig(1, 2, 2, decode="swapped"),
    data=DataConfig(batch_size=4, max_prompt_length=PROMPT),
    sampling=SamplingConfig(max_tokens=COMPLETION),
    optimizer=OptimizerConfig(micro_batch_size=2),
    compute=ComputeConfig(dtype="bfloat16", logprob_chunk=64),
    evaluation=EvaluationConfig(modes=("score",), questions=1),
)


def weighted(function, lengths, query, own, block):
    """A sum whose slopes differ everywhere."""
    context = (LayerBlock(*block, lengths),)
    out = function(query, keys=own[0], values=own[1], context=context)
    return (out * jnp.sin(jnp.arange(out.size)).reshape(out.shape)).sum()


def on_a_mesh() -> dict[str, float]:
    """Largest differences of slopes on a mesh from those of XLA's products on one device."""
    rng = np.random.default_rng(0)
    shapes_of = (4, 4, 128, 4, 64), (2, 4, 4, 2, 128, 64), (2, 4, 2, 2, 128, 64)
    inputs = [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes_of]
    numbers = np.sort(rng.integers(0, 3, (4, 4, 128)), axis=-1)
    ends = jnp.asarray((numbers[..., None, :] <= numbers[..., None]).sum(axis=-1))
    lengths = jnp.asarray(rng.integers(0, 129, (4, 2)))

    def slopes(function):
        of = functools.partial(weighted, function, lengths)
        return jax.tree.leaves(jax.jit(jax.grad(of, argnums=(0, 1, 2)))(*inputs))

    kernel = splash_kernel(interpret=True)
    wanted, found = slopes(functools.partial(attend, reach=Reach(ends, paths=True))), {}
    for layout in ("update", "swapped"):
        with use_mesh(MeshConfig(2, 2, 2)):
            ours = slopes(functools.partial(flash_attend, kernel, segments=ends, layout=layout))
        pairs = zip(ours, wanted, strict=True)
        found[layout] = max(float(jnp.abs(one - other).max()) for one, other in pairs)
    return found


def compiled(topology: str) -> dict:
    """By program and attention: the largest score in it, and how often kernels are called."""
    mesh = make_mesh(RUN.mesh, topology_devices(topology))
    cases = {"xla": {"attention": "xla"}, "layer": {}, "attention": {"remat": "attention"}}
    found = {}
    for name, chosen in cases.items():
        run = dataclasses.replace(RUN, compute=dataclasses.replace(RUN.compute, **chosen))
        with jax.set_mesh(mesh):
            found_programs = {each.name: each for each in programs(run, MODEL, mesh)}
            for program in (found_programs["rollout"], found_programs["update"]):
                lowered = program.lower()
                kernels = re.findall(r'kernel_name = "(splash\w+)"', lowered.as_text())
                text = lowered.compile().as_text()
                scores = [size for _, size in shapes(text) if is_score(size)]
                found[f"{program.name}, {name}"] = {"scores": scores, "kernels": sorted(kernels)}
    return found


def is_score(sizes) -> bool:
    """Whether an array has rows for many queries and a column for each key."""
    return len(sizes) > 2 and sizes[-1] in (PROMPT, COMPLETION) and sizes[-2] >= 128


if __name__ == "__main__":
    print(json.dumps(compiled(sys.argv[2]) if sys.argv[1] == "compile" else on_a_mesh()))
