"""scripts/evaluate.py as a person runs it."""

import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from misbehaving_server import seeded_faults, serving

from dvmap_jax.evaluation.baselines import BASELINES
from dvmap_jax.evaluation.metrics_file import read_metrics_file
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

    def run(model, *flags, benchmark=tmp_path / "held.parquet", key=""):
        command = [sys.executable, "scripts/evaluate.py", f"--model={model}", *flags]
        paths = [f"--benchmark={benchmark}", f"--output={tmp_path / 'out'}"]
        environment = {**os.environ, "OPENAI_API_KEY": key}
        return subprocess.run(
            [*command, *paths], cwd=root, capture_output=True, text=True, env=environment
        )

    return run


def written(folder):
    rows = (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(row) for row in rows], read_metrics_file(folder / "metrics.json")


def test_a_folder_is_scored_and_probed_beside_the_baselines(evaluate, tmp_path, tokenizer):
    tokenizer.save(tmp_path / "tokenizer")
    params = Transformer(CONFIG).init(jax.random.key(0))
    folder, carried = tmp_path / "model", {"carry_from": tmp_path / "tokenizer"}
    save_model(params, CONFIG, folder, dtype="float32", **carried)
    beside = ("uniform", "majority_country_question")
    flags = ["--template=answer", "--probes", f"--baselines={','.join(beside)}"]
    flags.append(f"--train={tmp_path / 'train.parquet'}")
    done = evaluate(folder, *flags)
    assert done.returncode == 0, done.stderr
    rows, metrics = written(tmp_path / "out")
    assert [row["answer"] for row in rows] == [example.answer for example in EXAMPLES[:64]]
    np.testing.assert_allclose([sum(row["probabilities"]) for row in rows], 1, atol=1e-6)
    held = metrics["benchmarks"]["held"]
    assert held["entries"].keys() == {f"baseline:{name}" for name in beside} | {str(folder)}
    accuracy = np.mean([row["correct"] for row in rows])
    assert held["entries"][str(folder)]["metrics"]["accuracy"]["value"] == pytest.approx(accuracy)
    tests = {each["name"]: each["observed"] for each in held["probes"]["permutation"]}
    assert tests == pytest.approx({"attributes": accuracy, "country": accuracy})
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert str(folder) in done.stdout and "Does it use the demographics" in report
    save_model(jax.tree.map(lambda value: 2 * value, params), CONFIG, tmp_path / "2", **carried)
    shutil.rmtree(folder)
    (tmp_path / "2").rename(folder)
    done = evaluate(folder, *flags)
    assert done.returncode == 1 and "its weights is" in done.stderr  # nobody's answers are mixed


def test_a_corpus_folder_is_every_heldout_split_beside_what_its_own_training_split_fits(
    evaluate, tmp_path
):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_examples(EXAMPLES[64:], corpus / "train.parquet")
    write_examples(EXAMPLES[:32], corpus / "test.parquet")
    write_examples(EXAMPLES[32:64], corpus / "cross_demographic.parquet")
    done = evaluate("baseline:majority_question", benchmark=corpus)
    assert done.returncode == 0, done.stderr
    rows, metrics = written(tmp_path / "out")
    assert len(rows) == 64 and metrics["train"] == str(corpus / "train.parquet")
    assert metrics["benchmarks"].keys() == {"test", "cross_demographic"}
    for held in metrics["benchmarks"].values():
        ours, uniform = (
            held["entries"][f"baseline:{name}"]["metrics"]["accuracy"]["value"]
            for name in ("majority_question", "uniform")
        )
        assert ours > uniform
        assert held["entries"].keys() == {f"baseline:{name}" for name in BASELINES}
        gaps = {each["minus"]: each["value"] for each in held["differences"]}
        assert gaps["baseline:uniform"] == pytest.approx(ours - uniform)


def test_an_endpoint_that_fails_and_one_that_goes_on(evaluate, tmp_path):
    flags = ["--first_wait=0.01", "--read_timeout=2", "--call_timeout=4", "--attempts=4"]
    with serving(seeded_faults(seed=5, share=0.6)) as server:
        model = f"{server.url}#some-model"
        done = evaluate(model, *flags, "--max_requests=40", key="sk-tested-0123456789")
        assert done.returncode == 1 and "40" in done.stderr and "request" in done.stderr
        assert not (tmp_path / "out" / "metrics.json").exists()
        done = evaluate(model, *flags, key="sk-tested-0123456789")
        assert done.returncode == 0, done.stderr
    rows, metrics = written(tmp_path / "out")
    assert [row["number"] for row in rows] == list(range(64))
    held = metrics["benchmarks"]["held"]
    failed = [row for row in rows if "failure" in row]
    assert 0 < len(failed) < 64 and sum(held["failures"].values()) == len(failed)
    right = sum(row["correct"] for row in rows)
    assert held["entries"][model]["metrics"]["accuracy"]["value"] == pytest.approx(right / 64)
    said = "".join(f.read_text(encoding="utf-8") for f in (tmp_path / "out").iterdir())
    assert "sk-tested" not in said + done.stdout + done.stderr


@pytest.mark.parametrize(
    ("model", "flags", "said"),
    [
        ("baseline:uniform", ["--probes", "--template=released"], "another --template"),
        ("baseline:majority_question", [], "(--train)"),
        ("baseline:majority_qestion", [], "majority_question"),
        ("nowhere/at/all", [], "nowhere/at/all"),
        ("https://host/v1#m", ["--mode=score"], "an endpoint only generates"),
        ("https://host/v1", [], "https://host/v1#MODEL_NAME"),
        ("baseline:uniform", ["--baselines=unifrom"], "uniform"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(evaluate, tmp_path, model, flags, said):
    done = evaluate(model, *flags)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not (tmp_path / "out" / "results.jsonl").exists()


def test_a_split_that_knows_the_answers_is_refused(evaluate, tmp_path):
    done = evaluate("baseline:majority_question", f"--train={tmp_path / 'held.parquet'}")
    assert done.returncode == 1
    assert "64 of 64 rows of held are in the training split too" in done.stderr


def test_an_endpoint_that_is_not_there_is_said_and_no_row_is_counted(evaluate, tmp_path):
    done = evaluate("http://127.0.0.1:9/v1#m", "--attempts=1", "--stop_after=9")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith("error: 9 rows in a row failed")
    assert not (tmp_path / "out" / "results.jsonl").exists()


def test_a_run_is_asked_as_it_was_trained_unless_a_flag_says_otherwise(tmp_path):
    """Another template or system prompt than in training is the original's silent fault."""
    (tmp_path / "config.json").write_text('{"data": {"template": "answer", "batch_size": 2}}')
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "config.json").write_text('{"model_type": "qwen3"}')

    def template(*arguments):
        program = "import sys; from absl import flags; from dvmap_jax import evaluate_flags as f; "
        program += "flags.FLAGS(sys.argv); print(f.data_config().template)"
        command = [sys.executable, "-c", program, "--benchmark=b", "--output=o", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert template(f"--model={tmp_path}") == "answer"
    assert template(f"--model={tmp_path}", "--template=reasoning") == "reasoning"
    assert template(f"--model={tmp_path / 'hf'}") == "reasoning"
