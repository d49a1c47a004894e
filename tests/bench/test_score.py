"""The score workload in miniature: all sides score the same options, dense rows share nothing."""

import dataclasses

import pytest

from dvmap_jax.bench import score
from dvmap_jax.bench.settings import python_file
from dvmap_jax.config import run_config
from dvmap_jax.evaluation.evaluator import Evaluator
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.survey.synthetic import synthetic_examples

TINY = ModelConfig(
    vocab_size=600, width=16, mlp_width=16, num_layers=1, head_dim=8, initializer_range=0.2
)
EXAMPLES = synthetic_examples(4, seed=3)[:50]  # 3 archetypes with 16 questions, one with 2


@pytest.fixture(scope="module")
def run(root):
    small = run_config(python_file(root / "configs" / "small_qwen3.py").get_config().to_dict())
    return dataclasses.replace(score.with_template(small, "answer"), model=TINY)


def test_all_sides_give_the_same_log_probabilities(bench_config, tokenizer, run, monkeypatch):
    monkeypatch.setattr(score, "ARCHETYPES", 2)
    found = score.compared(EXAMPLES, tokenizer, run, bench_config)
    sample = score.drawn(EXAMPLES)
    assert len({EXAMPLES[number].archetype for number in sample}) == 2
    assert found["rows"] == 50 and found["sample_rows"] == len(sample)
    options = [len(EXAMPLES[number].option_list) for number in sample]
    assert found["sample_options"] == sum(options)
    sides = {"dense", "transformers_batched", "transformers_shared"}
    assert found["largest_difference"].keys() == sides
    assert max(found["largest_difference"].values()) < 1e-4
    for name in sides:
        rate = len(sample) / found[name]["median_s"]
        assert found[name]["rows_per_s"] == pytest.approx(rate)
        over = found["trees"]["rows_per_s"] / rate
        assert found[name]["trees_over_it"] == pytest.approx(over)


def test_dense_rows_hold_every_token_of_prompt_and_option(tokenizer, run, monkeypatch):
    monkeypatch.setattr(score, "DENSE_ROWS", 8)
    how = {"config": run.evaluation, "data": run.data}
    benchmark = Evaluator(Transformer(TINY), tokenizer, **how).prepare(EXAMPLES[:20])
    rows = score.Rows.of(benchmark, [3, 17])
    pairs = [(benchmark.prompts[n], option) for n in (3, 17) for option in benchmark.options[n]]
    assert list(zip(rows.prompts, rows.options, strict=True)) == pairs and rows.asked == 2
    seen = []
    for batch in score.dense_batches(rows):
        assert batch.levels == () and batch.forest.tokens.shape[:2] == (8, 1)
        for row, number in zip(batch.forest.tokens[:, 0], batch.numbers, strict=False):
            prompt, option = pairs[number]
            due = (*prompt, *option[:-1])
            assert row.tolist() == [*due, *[0] * (len(row) - len(due))]
            seen.append(number)
    assert sorted(seen) == list(range(len(pairs)))
