"""Where a run's state lies on its mesh, and whether the mesh suits the run at all."""

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from dvmap_jax.config import RunConfig
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.sharding import check_divides, param_shardings, replicated
from dvmap_jax.train.objectives import objective_of
from dvmap_jax.train.state import (
    TrainState,
    abstract_state,
    init_state,
    make_optimizer,
    state_shardings,
)
from dvmap_jax.train.update import Update, make_pmapped_update, make_update


def placed_state(config: RunConfig, model: Transformer, mesh: Mesh) -> TrainState:
    """Shapes of the run's state, each with its sharding: moments lie with their parameters."""
    params = model.abstract_params(config.weights.param_dtype)
    average = config.optimizer.average_decay > 0
    state = abstract_state(params, make_optimizer(config.optimizer), average=average)
    stored = param_shardings(mesh, params, model.logical_axes())
    shardings = state_shardings(state, stored, replicated(mesh))
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        state,
        shardings,
    )


def shardings_of(placed) -> object:
    """The shardings in a tree of placed shapes."""
    return jax.tree.map(lambda leaf: leaf.sharding, placed)


def first_state(config: RunConfig, params: dict, placed: TrainState) -> TrainState:
    """The state before the first update, where it belongs. The parameters become part of it."""
    optimizer, average = make_optimizer(config.optimizer), placed.average is not None

    def make(params):
        return init_state(params, optimizer, average=average)

    return jax.jit(make, out_shardings=shardings_of(placed))(params)


def reference_params(config: RunConfig, model: Transformer, params: dict, placed: TrainState):
    """A copy of the parameters for the KL term, None where the loss has none.

    They are kept in the precision they are computed with: half the memory, the same numbers.
    """
    if config.objective != "grpo" or config.grpo.kl_coef == 0:
        return None
    copy = jax.jit(
        lambda params: jax.tree.map(jnp.copy, model.working(params)),
        out_shardings=shardings_of(placed.params),
    )
    return copy(params)


def placed_reference(config: RunConfig, model: Transformer, placed: TrainState) -> dict | None:
    """Shapes and shardings of `reference_params`."""
    if config.objective != "grpo" or config.grpo.kl_coef == 0:
        return None
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, model.dtype, sharding=leaf.sharding),
        placed.params,
    )


def check_mesh(config: RunConfig, model: ModelConfig, mesh: Mesh) -> None:
    """Raises ValueError where the mesh does not divide the model's sizes or the run's batches."""
    sizes = {
        "embed": (model.width, "model.width"),
        "heads": (model.num_heads, "model.num_heads"),
        "kv_heads": (model.num_kv_heads, "model.num_kv_heads"),
        "mlp": (model.mlp_width, "model.mlp_width"),
    }
    for layout in dict.fromkeys(("stored", "update", config.mesh.decode)):
        check_divides(mesh, sizes, layout)
    size = config.data.batch_size // config.grpo.updates_per_rollout
    micro = config.optimizer.micro_batch_size
    check_divides(mesh, {"batch": _named(micro, "optimizer.micro_batch_size", size)}, "update")
    if config.objective == "grpo":
        drawn = _named(config.sampling.batch_size, "sampling.batch_size", config.data.batch_size)
        check_divides(mesh, {"batch": drawn}, config.mesh.decode)
    if config.mesh.parallelism == "pmap" and jax.process_count() > 1:
        raise ValueError(
            f"mesh.parallelism is 'pmap', which is for the devices of one host; this run has "
            f"{jax.process_count()} processes; use 'mesh'"
        )


def _named(part: int, name: str, whole: int) -> tuple[int, str]:
    """The rows computed together, and where that number comes from."""
    return (part, name) if part else (whole, "an update's share of data.batch_size")


def update_of(config: RunConfig, model: Transformer, placed: TrainState) -> Update:
    """The run's compiled update, over the mesh or pmapped."""
    objective = objective_of(config, model)
    if config.mesh.parallelism == "pmap":
        return make_pmapped_update(objective, model, config.optimizer, config.grpo)
    return make_update(
        objective, model, config.optimizer, config.grpo, shardings=shardings_of(placed)
    )
