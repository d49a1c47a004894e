"""Our numbers on the peers' workload: their keys, their counts, and transformers' values."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers

from dvmap_jax.bench import limits
from dvmap_jax.bench.peers import PARTS, fixed_batch
from dvmap_jax.bench.settings import peers_workload
from dvmap_jax.bench.workloads import run_workload, table


@pytest.fixture(scope="module")
def config(bench_config, small_peers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    parts = (*PARTS, "dense")
    return dataclasses.replace(bench_config, peers=small_peers, checkpoint=str(folder), parts=parts)


@pytest.fixture(scope="module")
def result(config):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "MATRIX", {"cpu": 64})
        patch.setattr(limits, "VECTOR", {"cpu": 1 << 12})
        patch.setattr(limits, "SECONDS", 0.0)
        return run_workload("peers", config)


def test_result_has_what_the_peers_table_reads(result):
    json.dumps(result)
    assert result["peer"] == "dvmap_jax" and result["first_step_done_s"] > result["load_s"] > 0
    for part in ("rollout", "score", "update", "step", "options_shared"):
        assert result[part]["median_s"] == pytest.approx(np.median(result[part]["all_s"]), abs=1e-4)
        assert {"other_cores", "peak_rss_mb", "min_s"} <= result[part].keys()
        assert result[part]["of_limit"] > 0
    assert set(result["step"]["phases"]) == {"rollout", "rewards", "update"}


def test_every_program_is_compiled_once(result):
    parts = ("step", "rollout", "reference", "update", "score", "options_shared", "dense")
    assert {name: result[name]["programs_all"] for name in parts} == {n: [0, 0] for n in parts}
    assert result["step"]["programs"] >= 2 and result["update"]["programs"] == 0


def test_first_update_of_trees_is_that_of_dense_rows(result):
    tree, dense = result["first_update"], result["first_dense_update"]
    assert tree["actor/grad_norm"] > 0
    assert {name: pytest.approx(value, rel=1e-4, abs=1e-6) for name, value in tree.items()} == dense


def test_operations_are_those_the_workload_counts(result, config):
    cost = peers_workload(config).cost()
    for part, due in {
        "rollout": cost["rollout"]["flops_shared"],
        "score": cost["score"]["flops"],
        "reference": cost["update"]["flops_forward_shared"],
        "step": cost["step"]["flops_shared"],
        "options_shared": cost["options"]["flops_shared"],
    }.items():
        assert result[part]["model_flops"] == pytest.approx(due, rel=2e-3), part
    assert result["rollout"]["tokens"] == cost["rollout"]["tokens"]
    assert result["score"]["tokens"] == cost["score"]["tokens"]


def test_scores_are_those_of_transformers(result, config):
    model = transformers.AutoModelForCausalLM.from_pretrained(config.checkpoint).eval()
    w = peers_workload(config)

    def logprobs(ids):
        with torch.no_grad():
            logs = model(torch.tensor(ids).long()).logits[:, :-1].log_softmax(-1).numpy()
        return np.take_along_axis(logs, ids[:, 1:, None], axis=-1)[..., 0]

    assert result["score_mean"] == pytest.approx(logprobs(w.score_ids()).mean(), abs=1e-4)
    prompts, options = w.option_task()
    rows = np.concatenate(
        [np.repeat(prompts[:, :, None], w.OPTIONS, axis=2), options], axis=-1
    ).reshape(-1, w.PROMPT_LEN + w.OPTION_LEN)
    due = logprobs(rows)[:, -w.OPTION_LEN :].sum(axis=-1).mean()
    assert result["options_mean"] == pytest.approx(due, abs=1e-4)


def test_dense_batch_holds_the_rows_of_the_tree(config):
    w = peers_workload(config)
    tree, dense = fixed_batch(w), fixed_batch(w, dense=True)
    assert dense.levels[0].tokens.shape == (w.SEQUENCES, 1, w.PROMPT_LEN)
    for p in range(w.PROMPTS):
        for g in range(w.SAMPLES):
            row = p * w.SAMPLES + g
            np.testing.assert_array_equal(dense.levels[0].tokens[row], tree.levels[0].tokens[p])
            np.testing.assert_array_equal(dense.branches.tokens[row, 0], tree.branches.tokens[p, g])
            assert dense.advantages[row, 0] == tree.advantages[p, g] != 0


def test_table_says_what_was_measured(result):
    said = table(result)
    assert "step: " in said and "other cores" in said
    assert "first_update: " in said and "actor/grad_norm" in said


def test_script_takes_the_peers_arguments(root, config, tmp_path):
    output = tmp_path / "ours.json"
    command = [sys.executable, str(root / "scripts" / "bench.py"), config.checkpoint, str(output)]
    command += ["score", f"--peers={config.peers}", "--repeats=1", "--score_batch=2"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    found = json.loads(output.read_text("utf-8"))
    assert "rollout" not in found and len(found["score"]["all_s"]) == 1
    assert found["compute"]["logprob_chunk"] == 1024


def test_missing_workload_and_unknown_part_are_errors_that_say_what_to_change(config, tmp_path):
    with pytest.raises(ValueError, match=r"workload.py does not exist; .*--peers"):
        run_workload("peers", dataclasses.replace(config, peers=tmp_path, parts=()))
    with pytest.raises(ValueError, match=r"--parts names 'rolout'; this workload has step, rollou"):
        run_workload("peers", dataclasses.replace(config, parts=("rolout",)))
