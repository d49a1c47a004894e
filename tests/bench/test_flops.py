"""Operations and bytes against the peers' cost model, at their sizes, and against plain loops."""

import pathlib

import numpy as np
import pytest

from dvmap_jax.bench.flops import (
    forward_flops,
    option_flops,
    rollout_bytes,
    rollout_flops,
    score_flops,
    update_flops,
)
from dvmap_jax.bench.limits import set_beside_limits
from dvmap_jax.bench.peers import case_of
from dvmap_jax.bench.settings import python_file
from dvmap_jax.bench.steps import SMALL
from dvmap_jax.model.config import ModelConfig


def test_counts_are_the_peers_at_full_size(shared):
    w = python_file(pathlib.Path(shared / "bench" / "workload.py"))
    cost, case = w.cost(), case_of(w, SMALL)
    lengths = (case.prompt_lengths, case.completion_lengths)
    rollout, update = cost["rollout"], cost["update"]
    near = {"rel": 1e-3}
    assert rollout_flops(SMALL, *lengths) == pytest.approx(rollout["flops_shared"], **near)
    assert rollout_bytes(SMALL, *lengths) == pytest.approx(rollout["bytes_shared"], **near)
    due = update["flops_forward_shared"]
    assert forward_flops(SMALL, *lengths) == pytest.approx(due, **near)
    assert update_flops(SMALL, *lengths, reference=True) == pytest.approx(4 * due, **near)
    assert score_flops(SMALL, w.SEQUENCES, w.TOTAL_LEN) == cost["score"]["flops"]
    options = np.full((w.GROUPS, w.PER_GROUP, w.OPTIONS), w.OPTION_LEN)
    found = option_flops(SMALL, options, shared=w.SHARED_LEN, tail=w.PROMPT_LEN - w.SHARED_LEN)
    assert found == pytest.approx(cost["options"]["flops_shared"], **near)


def test_ragged_lengths_count_token_by_token():
    model = ModelConfig(
        vocab_size=7, width=4, mlp_width=6, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=2
    )
    prompts, completions = np.array([3, 5]), np.array([[1, 4], [2, 0]])
    matrices = 4 * (2 * 2 * 2 + 2 * 1 * 2) + 3 * 4 * 6  # queries and outputs, keys and values, MLP

    def token(position):  # it sees itself and all before it
        return 2 * (2 * matrices + 4 * 2 * 2 * (position + 1))

    head = 2 * 4 * 7
    forward = rollout = 0
    for p, row in zip(prompts, completions, strict=True):
        forward += sum(token(t) for t in range(p))
        rollout += sum(token(t) for t in range(p)) + head
        for length in row:
            forward += sum(token(p + t) + head for t in range(length))
            rollout += sum(token(p + t) + head for t in range(length - 1))
    assert forward_flops(model, prompts, completions) == forward
    assert rollout_flops(model, prompts, completions) == rollout


def test_shares_are_of_the_slower_limit():
    limits = {"float32_flops_per_s": 100.0, "bfloat16_flops_per_s": 400.0, "bytes_per_s": 10.0}
    part = {"median_s": 4.0, "model_flops": 200.0, "least_bytes": 5.0, "tokens": 8}
    result = {"deep": [dict(part)], "memory": part | {"least_bytes": 30.0}, "untouched": {"a": 1}}
    set_beside_limits(result, limits, "float32")
    assert result["deep"][0]["of_limit"] == 0.5 and result["memory"]["of_limit"] == 0.75
    assert result["deep"][0]["flops_per_s"] == 50 and result["deep"][0]["tokens_per_s"] == 2
    assert result["untouched"] == {"a": 1}
