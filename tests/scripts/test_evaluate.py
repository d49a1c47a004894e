"""scripts/evaluate.py as a person runs it."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from dvmap_jax.evaluation.baselines import BASELINES
from dvmap_jax.hf.save import save_model
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.survey.corpus import write_examples
from dvmap_jax.survey.synthetic import synthetic_examples

CONFIG = ModelConfig(vocab_size=600, width=32, mlp_width=48, num_layers=1, head_dim=8)
EXAMPLES = synthetic_examples(12, seed=5)


@pytest.fixture
def evaluate(root, tmp_path, tokenizer):
    """Runs the script on a benchmark of 4 archetypes; the other 8 are for --train."""
    write_examples(EXAMPLES[:64], tmp_path / "held.parquet")
    write_examples(EXAMPLES[64:], tmp_path / "train.parquet")

    def run(model, *flags):
        command = [sys.executable, "scripts/evaluate.py", f"--model={model}", *flags]
        paths = [f"--benchmark={tmp_path / 'held.parquet'}", f"--output={tmp_path / 'out'}"]
        return subprocess.run([*command, *paths], cwd=root, capture_output=True, text=True)

    return run


def written(folder):
    lines = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return [json.loads(line) for line in lines], metrics


def test_a_folder_beside_the_baselines(evaluate, tmp_path, tokenizer):
    tokenizer.save(tmp_path / "tokenizer")
    params = Transformer(CONFIG).init(jax.random.key(0))
    folder = tmp_path / "model"
    save_model(params, CONFIG, folder, dtype="float32", carry_from=tmp_path / "tokenizer")
    flags = ["--template=answer", "--mode=score", f"--train={tmp_path / 'train.parquet'}"]
    done = evaluate(folder, *flags)
    assert done.returncode == 0, done.stderr
    rows, metrics = written(tmp_path / "out")
    assert [row["answer"] for row in rows] == [example.answer for example in EXAMPLES[:64]]
    np.testing.assert_allclose([sum(row["probabilities"]) for row in rows], 1, atol=1e-6)
    assert metrics.keys() == {*BASELINES, str(folder)}
    accuracy = np.mean([row["correct"] for row in rows])
    assert metrics[str(folder)]["accuracy"] == pytest.approx(accuracy)
    assert str(folder) in done.stdout and "majority_question" in done.stdout


def test_a_baseline_as_the_model(evaluate, tmp_path):
    done = evaluate("baseline:majority_question", f"--train={tmp_path / 'train.parquet'}")
    assert done.returncode == 0, done.stderr
    rows, metrics = written(tmp_path / "out")
    assert len(rows) == 64
    named = metrics["baseline:majority_question"]
    assert named["accuracy"] == metrics["majority_question"]["accuracy"]
    assert named["accuracy"] > metrics["uniform"]["accuracy"]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("baseline:majority_question", "give --train as well"),
        ("baseline:majority_qestion", "majority_question"),
        ("nowhere/at/all", "nowhere/at/all"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(evaluate, tmp_path, model, said):
    done = evaluate(model)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not (tmp_path / "out").exists()
