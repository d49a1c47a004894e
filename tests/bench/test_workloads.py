"""The workloads of our own in miniature: what they draw, change and count."""

import dataclasses

import numpy as np
import pytest

from dvmap_jax.bench import data, growth, ragged, smollm2
from dvmap_jax.bench.steps import Case
from dvmap_jax.model.config import ModelConfig

TINY = ModelConfig(
    vocab_size=512, width=16, mlp_width=16, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=8
)
CASE = Case(model=TINY, prompts=16, prompt_length=4, group=8, max_tokens=16)


@pytest.mark.parametrize("schedule", [pytest.param((4, 0), marks=pytest.mark.slow), (8, 2)])
def test_ragged_lengths_are_geometric_with_the_intended_mean(bench_config, schedule):
    config = dataclasses.replace(bench_config, repeats=4)
    found = ragged.ragged(CASE, config, {"one": schedule})["one"]
    stop = found["num_end_ids"] / TINY.vocab_size
    assert stop == 1 / 4
    due = (1 - (1 - stop) ** 16) / stop  # the mean of geometric lengths cut off at 16
    assert found["mean_length"] == pytest.approx(due, rel=0.15)  # 512 draws: 3 standard errors
    assert found["ragged"]["tokens"] == found["mean_length"] * 16 * 8
    assert found["whole"]["tokens"] == 16 * 8 * 16
    share = found["ragged"]["tokens"] / found["whole"]["tokens"]
    assert found["ideal_s"] == pytest.approx(share * found["whole"]["median_s"])


def test_growth_changes_one_size_at_a_time():
    for factor, values in growth.FACTORS.items():
        for value in values:
            case = growth.changed(growth.BASE, factor, value)
            flat = dataclasses.asdict(case) | dataclasses.asdict(case.model)
            base = dataclasses.asdict(growth.BASE) | dataclasses.asdict(growth.BASE.model)
            different = {name for name in flat if flat[name] != base[name]} - {"model"}
            assert different <= {factor} and flat[factor] == value


def test_a_point_has_seconds_memory_and_compilation(bench_config):
    found = growth.point(dataclasses.replace(CASE, prompts=2), bench_config)
    for part in ("rollout", "update"):
        assert found[part]["ahead_compile_s"] > 0 and found[part]["temp_bytes"] > 0
        assert found[part]["programs"] == 0  # compiled ahead, the calls compile nothing
    assert found["step_s"] == found["rollout"]["median_s"] + found["update"]["median_s"]


def test_pipeline_delivers_the_tokens_it_counts(tmp_path):
    file = str(tmp_path / "corpus.parquet")
    data.write_corpus(20, file)
    found = data.delivery(file, 2, 2)
    prompts, _, _ = data.prompts_of(data.demo_config(file))
    batches = [next(prompts) for _ in range(6)]
    counts = [sum(int(level.lengths.sum()) for level in batch.levels) for batch in batches]
    assert found["prompt_tokens"] == [sum(counts[2:4]), sum(counts[4:])]
    rates = np.array(found["prompt_tokens"]) / found["all_s"]
    assert found["prompt_tokens_per_s"] in rates


def test_ten_times_the_corpus_is_compared_by_its_highest_peak_and_the_demo_by_its_tokens():
    def part(rate, start, later):
        return {"prompt_tokens_per_s": rate, "peak_rss_mb_start": start, "peak_rss_mb": later}

    found = {"corpus": part(80.0, 50, 40), "corpus_x10": part(70.0, 45, 55)}
    assert data.ratios(found) == {"peak_of_ten_times_the_corpus": 1.1}
    assert data.ratios({"corpus": found["corpus"], "demo": part(2.0, 90, 90)}) == {
        "delivered_over_consumed": 40.0
    }


def test_smollm2_without_its_corpus_says_where_it_is_looked_for(bench_config, tmp_path):
    config = dataclasses.replace(bench_config, shared=tmp_path)
    with pytest.raises(ValueError, match=r"dev.parquet does not exist; .*--shared"):
        smollm2.run(config)
