"""Updates by `distribution` on one device and on meshes of eight, in float64, against dense rows.

Prints the largest difference of the loss and of the gradient of any parameter, as JSON. The dense
side computes every option's whole row by itself and knows nothing of trees, chunks or totals.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np

from dvmap_jax.config import RunConfig
from dvmap_jax.data.forests import fitting_shape, make_root, stack_forest
from dvmap_jax.model.config import ComputeConfig, ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Forest, Level
from dvmap_jax.rl.distribution import DistributionConfig, OptionsBatch
from dvmap_jax.sharding import MeshConfig, make_mesh, put_own_rows
from dvmap_jax.train.placement import first_state, placed_state, shardings_of, update_of
from dvmap_jax.train.state import OptimizerConfig
from dvmap_jax.train.weights import WeightsConfig

jax.config.update("jax_enable_x64", True)
MESHES = {
    "one": MeshConfig(1, 1, 1),
    "data": MeshConfig(8, 1, 1),
    "fsdp": MeshConfig(1, 8, 1),
    "tensor": MeshConfig(1, 1, 8),
    "all": MeshConfig(2, 2, 2),
    "pmap": MeshConfig(8, 1, 1, parallelism="pmap"),
}
ROOTS, QUESTIONS, OPTIONS, VOCAB = 16, 3, 4, 1096
TERMS = {"cross_entropy": 0.7, "mass": 0.1, "ranked": 0.4, "brier": 0.3}


def run_config(mesh: MeshConfig, tied: bool) -> RunConfig:
    return RunConfig(
        objective="distribution",
        mesh=mesh,
        weights=WeightsConfig(param_dtype="float64"),
        compute=ComputeConfig(dtype="float64", logprob_chunk=16, attention_chunk=8),
        distribution=DistributionConfig(**TERMS, weights="respondents"),
        optimizer=OptimizerConfig(max_grad_norm=1e9, micro_batch_size=8),
        model=ModelConfig(
            vocab_size=VOCAB,
            width=32,
            mlp_width=48,
            num_layers=2,
            num_heads=16,
            num_kv_heads=8,
            head_dim=8,
            initializer_range=0.3,
            tie_embeddings=tied,
        ),
    )


def drawn_questions():
    """For each archetype its questions: prompt, options that begin alike, and answer counts."""
    rng = np.random.default_rng(0)

    def row(size, of=VOCAB):
        return tuple(rng.integers(0, of, size).tolist())

    found = []
    for _ in range(ROOTS):
        trunk, asked = row(rng.integers(2, 9)), []
        for number in range(rng.integers(1, QUESTIONS + 1)):
            prompt = trunk + (number,) + row(rng.integers(1, 6))
            options = [(7,) + row(rng.integers(1, 5), of=3) + (9 + k,) for k in range(OPTIONS)]
            options = tuple(options[: rng.integers(2, OPTIONS + 1)])
            asked.append(
                (prompt, options, rng.multinomial(3, np.ones(len(options)) / len(options)))
            )
        found.append(asked)
    return found


def options_batch(drawn) -> OptionsBatch:
    roots = [make_root(*([each[i] for each in asked] for i in (0, 1))) for asked in drawn]
    levels, forest, firsts = stack_forest(roots, fitting_shape(roots), batch=ROOTS)
    paths = np.zeros((ROOTS, QUESTIONS, OPTIONS, 6), np.int32)
    lengths = np.zeros(paths.shape[:3], np.int32)
    shares, support = np.zeros(paths.shape[:3]), np.zeros(paths.shape[:2])
    for b, (root, asked) in enumerate(zip(roots, drawn, strict=True)):
        for q, (tree, (_, _, counts)) in enumerate(zip(root.trees, asked, strict=True)):
            shares[b, q, : len(counts)], support[b, q] = counts / counts.sum(), counts.sum()
            for k, path in enumerate(tree.paths):
                paths[b, q, k, : len(path)], lengths[b, q, k] = path + firsts[b][q], len(path)
    levels = tuple(Level(*level) for level in levels)
    return OptionsBatch(levels, Forest(*forest), paths, lengths, shares, support)


def dense_loss(params, config: RunConfig):
    """The loss as its definition says it, one whole row an option."""
    model = Transformer(config.model, ComputeConfig(dtype="float64", remat="none"))
    drawn = drawn_questions()
    rows = [(p, o) for asked in drawn for p, options, _ in asked for o in options]
    tokens = np.zeros((len(rows), 1, max(len(p) + len(o) for p, o in rows)), np.int32)
    for row, (prompt, option) in zip(tokens, rows, strict=True):
        row[0, : len(prompt) + len(option)] = prompt + option
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[-1]), tokens.shape)
    hidden, _ = model.extend(
        params, tokens, positions, jnp.full(tokens.shape[:2], tokens.shape[-1])
    )
    table = jax.nn.log_softmax(model.logits(params, hidden[:, 0]))
    scores = iter(
        table[i, jnp.arange(len(p) - 1, len(p) + len(o) - 1), jnp.array(o)].sum()
        for i, (p, o) in enumerate(rows)
    )
    loss, weight = 0.0, 0.0
    for _, options, counts in (one for asked in drawn for one in asked):
        s, shares = jnp.stack([next(scores) for _ in options]), counts / counts.sum()
        q = jnp.exp(s) / jnp.exp(s).sum()
        terms = {
            "cross_entropy": -(shares * jnp.log(q)).sum(),
            "mass": -jnp.log(jnp.exp(s).sum()),
            "brier": ((q - shares) ** 2).sum(),
            "ranked": sum(
                (q[: k + 1].sum() - shares[: k + 1].sum()) ** 2 for k in range(len(q) - 1)
            ),
        }
        loss += counts.sum() * sum(TERMS[name] * term for name, term in terms.items())
        weight += counts.sum()
    return loss / weight


def updated(config: RunConfig, batch: OptionsBatch):
    """The loss, and the gradient, of which the first moment is a tenth."""
    devices = jax.devices() if config.mesh != MESHES["one"] else jax.devices()[:1]
    mesh = make_mesh(config.mesh, devices)
    with jax.set_mesh(mesh):
        model = Transformer(config.model, config.compute)
        placed = placed_state(config, model, mesh)
        params = model.init(jax.random.key(0), "float64", shardings=shardings_of(placed.params))
        kept = jax.tree.map(np.asarray, params)
        state = first_state(config, params, placed)
        state, metrics = update_of(config, model, placed)(state, put_own_rows(batch, ROOTS))
        moments = next(
            part.mu for part in jax.tree.leaves(state.optimizer, is_leaf=is_adam) if is_adam(part)
        )
        grads = jax.tree.map(lambda x: np.asarray(x) / (1 - config.optimizer.b1), moments)
    return float(metrics["distribution/loss"]), grads, kept


def is_adam(part) -> bool:
    return hasattr(part, "mu")


def main():
    drawn, found = drawn_questions(), {}
    batch = options_batch(drawn)
    for tied in (True, False):
        due = None
        for name, mesh in MESHES.items() if tied else list(MESHES.items())[:1]:
            config = run_config(mesh, tied)
            loss, grads, params = updated(config, batch)
            if due is None:
                due = jax.jit(jax.value_and_grad(dense_loss), static_argnums=1)(params, config)
            gaps = jax.tree.map(lambda a, b: np.abs(a - b).max(), grads, due[1])
            size = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(due[1]))
            found[f"{name}, {'tied' if tied else 'untied'}"] = {
                "loss": abs(loss - float(due[0])),
                "gradient": max(map(float, jax.tree.leaves(gaps))),
                "largest": size,
            }
    print(json.dumps(found))


main()
