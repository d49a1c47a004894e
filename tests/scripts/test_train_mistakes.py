"""Mistakes a person makes with train.py: one line, a non-zero exit, nothing overwritten."""

import pathlib
import subprocess
import sys

import gguf
import jax
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.hf.save import save_model
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.survey.corpus import write_examples
from dvmap_jax.survey.synthetic import synthetic_examples

CONFIG = ModelConfig(vocab_size=300, width=32, mlp_width=48, num_layers=1, head_dim=16)
QUICK = [
    "--config.num_steps=1",
    "--config.warm_start_steps=0",
    "--config.corpus.path=synthetic",
    "--config.corpus.heldout_path=",
    "--config.corpus.synthetic_archetypes=20",
    "--config.corpus.heldout_fraction=0.5",
    "--config.model.num_layers=1",
    "--config.data.batch_size=2",
    "--config.evaluation.max_examples=8",
    "--config.export=False",
]


@pytest.fixture(scope="module")
def examples():
    return synthetic_examples(20, seed=0)


@pytest.fixture
def corpus(tmp_path, examples) -> pathlib.Path:
    write_examples(examples, tmp_path / "corpus.parquet")
    return tmp_path / "corpus.parquet"


@pytest.fixture
def model(tmp_path) -> pathlib.Path:
    """A Hugging Face folder of a tiny model."""
    Tokenizer.train(["<answer>Very important</answer>"] * 4, 270).save(tmp_path / "tokenizer")
    params = Transformer(CONFIG).init(jax.random.key(0))
    out = tmp_path / "model"
    save_model(params, CONFIG, out, dtype="float32", carry_from=tmp_path / "tokenizer")
    return out


def train(root, workdir, *flags) -> subprocess.CompletedProcess:
    command = [sys.executable, "scripts/train.py", "--config=configs/demo.py", *QUICK, *flags]
    return subprocess.run(
        [*command, f"--workdir={workdir}"], cwd=root, capture_output=True, text=True
    )


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def message(root, tmp_path):
    """Runs with flags that are a mistake; gives the one line, having seen that nothing else is."""

    def run(*flags) -> str:
        before = contents(tmp_path)
        workdir = tmp_path / "run"
        done = train(root, workdir, *flags)
        assert done.returncode != 0 and done.stdout == ""
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
        after = contents(tmp_path)
        assert {name: after.get(name) for name in before} == before
        made = {pathlib.Path(name).parts[1] for name in after.keys() - before.keys()}
        assert made <= {"config.json", "tokenizer"}, made
        return lines[0]

    return run


def test_missing_corpus(message, tmp_path):
    missing = tmp_path / "nowhere.parquet"
    assert str(missing) in message(f"--config.corpus.path={missing}")


def test_missing_model(message, tmp_path):
    missing = tmp_path / "nowhere"
    assert str(missing) in message(f"--config.weights.source={missing}")


def test_corpus_without_a_needed_column(message, corpus):
    pd.read_parquet(corpus).drop(columns="Country").to_parquet(corpus)
    line = message(f"--config.corpus.path={corpus}")
    assert str(corpus) in line and "Country" in line


def test_answer_that_is_no_option(message, corpus):
    frame = pd.read_parquet(corpus)
    column = next(name for name in frame if name.lower() == "answer")
    frame.loc[5, column] = "Perhaps"
    frame.to_parquet(corpus)
    line = message(f"--config.corpus.path={corpus}")
    assert str(corpus) in line and "row 5" in line and "Perhaps" in line


def test_empty_split(message):
    line = message("--config.corpus.heldout_fraction=0.0")
    assert "corpus.heldout_fraction" in line


def test_prompt_longer_than_the_limit(message):
    line = message("--config.data.max_prompt_length=40")
    assert "data.max_prompt_length = 40" in line and "data.overlong='skip'" in line


def test_truncated_weights(message, model):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert str(weights) in message(f"--config.weights.source={model}")


def test_missing_tensor(message, model):
    arrays = load_file(model / "model.safetensors")
    del arrays["model.layers.0.mlp.up_proj.weight"]
    save_file(arrays, model / "model.safetensors")
    line = message(f"--config.weights.source={model}")
    assert "model.layers.0.mlp.up_proj.weight" in line


def test_gguf_of_another_architecture(message, tmp_path):
    path = tmp_path / "other.gguf"
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_tensor("token_embd.weight", np.zeros((8, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    line = message(f"--config.weights.source={path}")
    assert str(path) in line and "gpt2" in line


def test_unknown_key(message):
    line = message("--config.grpo.groupsize=4")
    assert "config.grpo.groupsize" in line and "config.grpo.group_size" in line


def test_group_of_one(message):
    assert "grpo.group_size" in message("--config.grpo.group_size=1")


def test_workdir_of_another_config(root, tmp_path):
    workdir, short = tmp_path / "run", "--config.data.max_prompt_length=40"  # stops before step 0
    assert train(root, workdir, short, "--config.seed=5").returncode == 1
    (workdir / "checkpoints").mkdir()
    (workdir / "checkpoints" / "something").write_text("worth keeping")
    before = contents(workdir)
    done = train(root, workdir, short)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "belongs to another config: seed 5 -> 0; use another --workdir" in done.stderr
    assert contents(workdir) == before
