"""Compiles a small run for a slice and prints what its programs hold and send, as JSON."""

import dataclasses
import json
import sys

import jax

from dvmap_jax.config import RunConfig
from dvmap_jax.data.batches import DataConfig
from dvmap_jax.evaluation.evaluator import EvaluationConfig
from dvmap_jax.model.config import ComputeConfig, ModelConfig
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.sharding import MeshConfig, make_mesh
from dvmap_jax.train.collectives import collectives, shapes
from dvmap_jax.train.programs import programs
from dvmap_jax.train.state import OptimizerConfig
from dvmap_jax.train.topology import topology_devices

# Sizes that occur nowhere else, so that a shape in a program's text can be told.
MODEL = ModelConfig(
    vocab_size=4096 + 512,
    width=256,
    mlp_width=640,
    num_layers=3,
    num_heads=12,
    num_kv_heads=4,
    head_dim=16,
)
CONFIG = RunConfig(
    model=MODEL,
    mesh=MeshConfig(2, 2, 2, decode="swapped"),
    data=DataConfig(batch_size=16, max_prompt_length=64),
    sampling=SamplingConfig(max_tokens=64, batch_size=8),
    optimizer=OptimizerConfig(micro_batch_size=8),
    compute=ComputeConfig(dtype="bfloat16", logprob_chunk=64, attention_chunk=16),
    evaluation=EvaluationConfig(modes=("score", "generate"), questions=2, max_tokens=32),
)


def main():
    devices = topology_devices(sys.argv[1])
    mesh = make_mesh(CONFIG.mesh, devices)
    found = {}
    with jax.set_mesh(mesh):
        for program in programs(CONFIG, MODEL, mesh):
            text = program.lower().compile().as_text()
            found[program.name] = {
                "shapes": sorted((kind, list(sizes)) for kind, sizes in shapes(text)),
                "sent": [dataclasses.asdict(one) for one in collectives(text)],
                "lines": text.count("\n"),
            }
        deep = dataclasses.replace(MODEL, num_layers=12)
        update = next(p for p in programs(CONFIG, deep, mesh) if p.name == "update")
        lines = update.lower().compile().as_text().count("\n")
    print(json.dumps({"programs": found, "deep_update_lines": lines}))


main()
