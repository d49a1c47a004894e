"""Trees below a trunk laid out in rows: one pass gives the log-probability of every token asked."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dvmap_jax.model.totals import log_totals
from dvmap_jax.model.transformer import Block, Transformer, lookup
from dvmap_jax.model.tree import Forest, Level, extend_level
from dvmap_jax.sharding import constrain, current_platform

QUERIES = 24  # of a row that a CPU compares with keys at a time: its caches hold their scores


def forest_logprobs(
    model: Transformer, params: dict, levels: tuple[Level, ...], forest: Forest
) -> Float[Array, "B K"]:
    """Log-probability of each target; the trunk, if any, is computed once, and so is every token.

    Gradients flow from all targets into what they share.
    """
    model = _in_caches(model)
    context: tuple[Block, ...] = ()
    for level in levels:
        context = (*context, extend_level(model, params, level, context)[1])
    hidden, _ = extend_level(model, params, forest, context)
    states = _picked(hidden.reshape(len(hidden), -1, hidden.shape[-1]), forest.places)
    head = model.head(params)
    how = {"chunk": model.compute.logprob_chunk, "layout": model.layout}
    totals = log_totals(states, head, forest.counts, **how)
    wide = jnp.promote_types(states.dtype, jnp.float32)
    # By columns, so that a table in pieces is looked up where they are.
    table = constrain(head, (None, "lookup_embed"), model.layout)
    rows = lookup(table, constrain(forest.targets, ("table_batch", None), model.layout))
    chosen = jnp.einsum(
        "bkd,bkd->bk", _picked(states, forest.sources), rows, preferred_element_type=wide
    )
    logprobs = chosen - jnp.take_along_axis(totals, forest.sources, axis=1)
    return constrain(logprobs, ("batch", None), model.layout)


def _in_caches(model: Transformer) -> Transformer:
    """The model with `QUERIES` at a time on a CPU, where it has no number of its own."""
    if model.compute.attention_chunk or current_platform() != "cpu":
        return model
    compute = dataclasses.replace(model.compute, attention_chunk=QUERIES)
    return Transformer(model.config, compute, layout=model.layout)


def _picked(rows: Float[Array, "B T D"], places: Int[Array, "B P"]) -> Float[Array, "B P D"]:
    return jnp.take_along_axis(rows, places[..., None], axis=1)
