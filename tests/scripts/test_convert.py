"""scripts/convert.py as a person runs it."""

import pathlib
import subprocess
import sys

import gguf
import jax
import pytest
import transformers

from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.hf.load import load_params
from dvmap_jax.hf.save import save_model
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.transformer import Transformer

CONFIG = ModelConfig(vocab_size=300, width=32, mlp_width=48, num_layers=2, head_dim=16)


@pytest.fixture
def convert(root):
    def run(source, target, *flags):
        command = [sys.executable, "scripts/convert.py", f"--source={source}", f"--target={target}"]
        return subprocess.run([*command, *flags], cwd=root, capture_output=True, text=True)

    return run


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """A Hugging Face folder of a tiny model in bfloat16."""
    Tokenizer.train(["<answer>Very important</answer>"] * 4, 270).save(tmp_path / "tokenizer")
    params = Transformer(CONFIG).init(jax.random.key(0), "bfloat16")
    out = tmp_path / "model"
    save_model(params, CONFIG, out, dtype="bfloat16", carry_from=tmp_path / "tokenizer")
    return out


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_there_and_back_gives_every_byte(convert, folder, tmp_path):
    there = convert(folder, tmp_path / "orbax", "--format=orbax", "--dtype=bfloat16")
    assert there.returncode == 0, there.stderr
    back = convert(tmp_path / "orbax", tmp_path / "back", "--format=hf", "--dtype=bfloat16")
    assert back.returncode == 0, back.stderr
    assert contents(tmp_path / "back") == contents(folder)


def test_bars_show_what_is_read_and_written(convert, folder, tmp_path):
    done = convert(folder, tmp_path / "out")
    assert "reading: 100%" in done.stderr and "writing: 100%" in done.stderr


def test_gguf_becomes_a_folder_transformers_loads(convert, smollm_file, tmp_path):
    out = tmp_path / "out"
    done = convert(smollm_file, out, "--dtype=bfloat16")
    assert done.returncode == 0, done.stderr
    _, report = transformers.AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    assert tokenizer.encode("<|im_start|>1987") == [1, 33, 41, 40, 39]
    assert tokenizer.chat_template
    assert transformers.GenerationConfig.from_pretrained(out).eos_token_id == [2]


def assert_refused(done, said: str) -> None:
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert said in done.stderr


def test_missing_source(convert, tmp_path):
    assert_refused(convert(tmp_path / "nowhere", tmp_path / "out"), "nowhere does not exist")
    assert not (tmp_path / "out").exists()


def test_truncated_weights(convert, folder, tmp_path):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    done = convert(folder, tmp_path / "out", "--format=orbax")
    assert_refused(done, "model.safetensors is not a complete safetensors file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "tokenizer"]


def test_gguf_of_another_architecture(convert, tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "phi3")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    done = convert(tmp_path / "m.gguf", tmp_path / "out")
    assert_refused(done, "m.gguf: general.architecture is 'phi3'; supported are qwen3, llama")


def test_target_that_holds_something_else(convert, folder, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    assert_refused(convert(folder, target), "target already holds 'notes.txt'")
    assert contents(target) == {"notes.txt": b"mine"}


def test_conversion_widens_without_changing_values(convert, folder, tmp_path):
    assert convert(folder, tmp_path / "wide").returncode == 0
    wide = load_params(tmp_path / "wide", CONFIG)
    assert jax.tree.all(
        jax.tree.map(
            lambda a, b: (a == b.astype("float32")).all(),
            wide,
            load_params(folder, CONFIG, "bfloat16"),
        )
    )
