"""No array of tokens times vocabulary exists in a compiled update, rollout or scoring program."""

import dataclasses
import math

import jax
import pytest

from dvmap_jax.bench.growth import batch_of, compiled, largest_array
from dvmap_jax.bench.steps import Case, Steps
from dvmap_jax.model.config import ComputeConfig, ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.train.collectives import shapes

CHUNK = 64
MODEL = ModelConfig(
    vocab_size=8192, width=32, mlp_width=32, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=8
)
CASE = Case(model=MODEL, prompts=4, prompt_length=16, group=4, max_tokens=64)
TOKENS = CASE.prompts * CASE.group * CASE.max_tokens  # all of them in one micro-batch


@pytest.fixture(scope="module")
def updates(bench_config):
    """The update's program with one chunk and one vocabulary, and with twice the vocabulary."""
    config = dataclasses.replace(
        bench_config,
        micro_batch_size=CASE.prompts,
        compute=ComputeConfig(logprob_chunk=CHUNK, remat="none"),
    )
    found = {}
    for vocab in (MODEL.vocab_size, 2 * MODEL.vocab_size):
        case = dataclasses.replace(CASE, model=dataclasses.replace(MODEL, vocab_size=vocab))
        steps = Steps(case, Transformer(case.model).init(jax.random.key(0)), config)
        batch = batch_of(case)
        batch = batch.replace(reference_logprobs=batch.sampler_logprobs)
        found[vocab] = compiled(steps.update, (steps.state, batch))
        last = steps
    batch = batch_of(last.case)
    arguments = (last.reference, batch.levels, batch.branches)
    return found | {"score": compiled(last.scorer, arguments)}


def vocabulary_rows(program, vocab) -> int:
    """Rows of the largest array with an axis of the vocabulary's size."""
    sizes = {sizes for _, sizes in shapes(program.as_text()) if vocab in sizes}
    return max(math.prod(found) // vocab for found in sizes)


def test_logits_of_a_chunk_are_the_most_that_exist_at_once(updates):
    for name, vocab in ((8192, 8192), (16_384, 16_384), ("score", 16_384)):
        assert vocabulary_rows(updates[name][0], vocab) == CHUNK  # and not fewer: it is seen
    whole = largest_array(updates[8192][0].as_text())
    assert whole["entries"] == CHUNK * 8192 and 8192 in whole["shape"]


def test_temporaries_grow_by_chunks_with_the_vocabulary(updates):
    small, large = updates[8192][1]["temp_bytes"], updates[16_384][1]["temp_bytes"]
    each = (large - small) / 8192  # bytes for one more token in the vocabulary
    logits = 4 * TOKENS  # of all tokens
    held = 4 * (4 * CHUNK + 8 * MODEL.width)  # some arrays of a chunk, and of the table
    assert 4 * CHUNK <= each <= held < logits
