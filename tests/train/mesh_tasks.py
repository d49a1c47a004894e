"""Updates, draws and scores on one device and on meshes of eight; prints what differs, as JSON."""

import json
import sys

import jax
import numpy as np

from dvmap_jax.config import RunConfig
from dvmap_jax.data.packing import pack_rows
from dvmap_jax.model.config import ComputeConfig, ModelConfig
from dvmap_jax.model.decode import make_decoder
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level, PackedLevel
from dvmap_jax.rl.grpo import GRPOConfig
from dvmap_jax.rl.rollouts import RolloutBatch
from dvmap_jax.sharding import MeshConfig, make_mesh, put_own_rows, read_rows
from dvmap_jax.train.placement import (
    first_state,
    placed_state,
    reference_params,
    shardings_of,
    update_of,
)
from dvmap_jax.train.sources import run_scorer
from dvmap_jax.train.state import OptimizerConfig

MESHES = {
    "data": MeshConfig(8, 1, 1),
    "fsdp": MeshConfig(1, 8, 1, decode="swapped"),
    "tensor": MeshConfig(1, 1, 8),
    "all": MeshConfig(2, 2, 2, decode="swapped"),
    "pmap": MeshConfig(8, 1, 1, parallelism="pmap"),
}
TIED = sys.argv[1] == "tied"
STEPS, ROOTS, GROUP, SIZE, VOCAB = 3, 16, 4, 6, 96


def run_config(mesh: MeshConfig, scope: str) -> RunConfig:
    return RunConfig(
        mesh=mesh,
        compute=ComputeConfig(logprob_chunk=8, attention_chunk=2),
        grpo=GRPOConfig(group_size=GROUP, kl_coef=0.1, token_mean_scope=scope),
        # With the usual epsilon AdamW would move entries whose gradient is nothing but rounding
        # by the whole learning rate, in a direction that rounding decides.
        optimizer=OptimizerConfig(learning_rate=1e-2, epsilon=1e-3, micro_batch_size=8),
        model=ModelConfig(
            vocab_size=VOCAB,
            width=32,
            mlp_width=48,
            num_layers=2,
            num_heads=16,
            num_kv_heads=8,
            head_dim=8,
            initializer_range=0.1,
            tie_embeddings=TIED,
        ),
    )


def trunk():
    rng = np.random.default_rng(1)
    return Level(rng.integers(0, VOCAB, (ROOTS, 1, 8)), rng.integers(2, 9, (ROOTS, 1)))


def rollout_batch(step: int) -> RolloutBatch:
    """Ragged: the devices' shares of the tokens differ, so a mean of means would be another.

    Branches of the tied model are packed, two to a row.
    """
    rng = np.random.default_rng(step)
    lengths = rng.integers(1, SIZE + 1, (ROOTS, GROUP))
    lengths[: ROOTS // 8] = 1
    branches = Level(rng.integers(0, VOCAB, (ROOTS, GROUP, SIZE)), lengths)
    if TIED:
        lengths[:] = np.minimum(lengths, SIZE // 2)
        branches = PackedLevel(*pack_rows(*branches, group=GROUP, rows=GROUP // 2))
    return RolloutBatch(
        levels=(trunk(),),
        branches=branches,
        mask=(np.arange(SIZE) < lengths[..., None]).astype(np.float32),
        advantages=rng.normal(size=(ROOTS, GROUP)).astype(np.float32),
        sampler_logprobs=rng.normal(-3, 1, (ROOTS, GROUP, SIZE)).astype(np.float32),
        old_logprobs=rng.normal(-4.5, 0.2, (ROOTS, GROUP, SIZE)).astype(np.float32),
    )


def run(config: RunConfig, devices) -> dict:
    """Parameters and metrics after the steps, and what the last parameters draw."""
    mesh = make_mesh(config.mesh, devices)
    with jax.set_mesh(mesh):
        model = Transformer(config.model, config.compute)
        placed = placed_state(config, model, mesh)
        params = model.init(jax.random.key(0), shardings=shardings_of(placed.params))
        reference = reference_params(config, model, params, placed)
        state, update = first_state(config, params, placed), update_of(config, model, placed)
        score = run_scorer(config, model)
        for step in range(STEPS):
            batch = put_own_rows(rollout_batch(step), ROOTS)
            known = score(reference, batch.levels, batch.branches)
            state, metrics = update(state, batch.replace(reference_logprobs=known))
        drawn = draws(config, state.params) if TIED else None
        whole = jax.tree.map(np.asarray, (state.params, state.optimizer))
    return {"state": whole, "metrics": jax.tree.map(float, metrics), "drawn": drawn}


def draws(config: RunConfig, params):
    model = Transformer(config.model, config.compute, layout=config.mesh.decode)
    sampling = SamplingConfig(max_tokens=12, batch_size=8)
    decoder = make_decoder(model, eos_ids=tuple(range(6)), sampling=sampling)
    rows = np.arange(ROOTS * GROUP, dtype=np.int32).reshape(ROOTS, GROUP)
    levels, rows = put_own_rows(((trunk(),), rows), ROOTS)
    return read_rows(decoder(params, levels, rows, jax.random.key(5)))


def difference(ours, theirs) -> float:
    """The largest difference of two trees, each array's over its largest entry."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-9)) for a, b in pairs)


def compared(ours: dict, alone: dict) -> dict:
    """How far a mesh is from one device."""
    found = {name: difference(ours[name], alone[name]) for name in ("state", "metrics")}
    if not TIED:
        return found
    drawn = ours["drawn"], alone["drawn"]
    return found | {
        "logprobs": difference(*(one.logprobs for one in drawn)),
        "other_tokens": int((drawn[0].tokens != drawn[1].tokens).sum()),
        "tokens": int(drawn[1].lengths.sum()),
    }


def main():
    found = {}
    for scope in ("update", "micro") if TIED else ("update",):
        alone = run(run_config(MeshConfig(), scope), jax.devices()[:1])
        assert alone["metrics"]["actor/grad_norm"] > 0.1
        meshes = MESHES if scope == "update" else {name: MESHES[name] for name in ("all", "pmap")}
        for name, mesh in meshes.items():
            ours = run(run_config(mesh, scope), jax.devices())
            found[f"{name}, {scope}"] = compared(ours, alone)
    print(json.dumps(found))


main()
