"""Models from every form they come in, and what is said of those that are none."""

import json
import pathlib
import shutil
import subprocess
import sys

import gguf
import jax
import numpy as np
import pytest
from processes import run_alone

from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.hf.save import save_model
from dvmap_jax.model.config import ModelConfig, RopeScaling
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.records import to_mapping
from dvmap_jax.train.checkpoints import CheckpointConfig, Checkpoints
from dvmap_jax.train.weights import Model, WeightsConfig, load_model, save_orbax

CONFIG = ModelConfig(
    family="llama",
    vocab_size=300,
    width=32,
    mlp_width=48,
    num_layers=2,
    head_dim=16,
    rope_scaling=RopeScaling(8.0, 1.0, 4.0, 64),
    tie_embeddings=False,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    folder = tmp_path_factory.mktemp("tokenizer")
    Tokenizer.train(["<answer>Very important</answer>"] * 4, 270).save(folder)
    return Model(CONFIG, Transformer(CONFIG).init(jax.random.key(0)), folder)


def assert_same(found: Model, due: Model, dtype: str = "float32") -> None:
    assert found.config == due.config
    assert jax.tree.structure(found.params) == jax.tree.structure(due.params)
    pairs = zip(jax.tree.leaves(found.params), jax.tree.leaves(due.params), strict=True)
    for ours, theirs in pairs:
        assert ours.dtype == dtype
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs.astype(dtype)))
    assert Tokenizer.load(found.tokenizer).fingerprint == Tokenizer.load(due.tokenizer).fingerprint


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_orbax_folder_gives_back_the_model(model, tmp_path, dtype):
    save_orbax(model, tmp_path / "m")
    assert_same(load_model(tmp_path / "m", dtype), model, dtype)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_hugging_face_folder_gives_back_the_model(model, tmp_path, dtype):
    save_model(model.params, CONFIG, tmp_path / "m", carry_from=model.tokenizer)
    assert_same(load_model(tmp_path / "m", dtype), model, dtype)


def save_run(model: Model, workdir: pathlib.Path) -> None:
    """A run's workdir with one checkpoint, of step 3."""
    with Checkpoints(workdir, CheckpointConfig(asynchronous=False)) as checkpoints:
        meta = {"model": to_mapping(CONFIG)}
        state = {"params": model.params, "step": np.int32(3)}
        checkpoints.save(3, state, data={}, meta=meta, metrics={})
    shutil.copytree(model.tokenizer, workdir / "tokenizer")


def test_workdir_and_step_give_back_the_model(model, tmp_path):
    save_run(model, tmp_path)
    assert_same(load_model(tmp_path), model)
    assert_same(load_model(tmp_path / "checkpoints" / "3", "bfloat16"), model, "bfloat16")


def test_every_form_comes_straight_into_its_shards(model, smollm_file, tmp_path):
    save_orbax(model, tmp_path / "orbax")
    save_model(model.params, CONFIG, tmp_path / "hf", carry_from=model.tokenizer)
    save_run(model, tmp_path / "run")
    forms = [str(tmp_path / name) for name in ("orbax", "hf", "run")] + [str(smollm_file)]
    task = pathlib.Path(__file__).with_name("weights_tasks.py")
    assert json.loads(run_alone(task, "bfloat16", *forms)) == {form: [] for form in forms}


@pytest.mark.parametrize("form", ["orbax", "hf", "run"])
def test_progress_ends_when_all_is_read(model, tmp_path, form):
    if form == "orbax":
        save_orbax(model, tmp_path / form)
    elif form == "hf":
        save_model(model.params, CONFIG, tmp_path / form, carry_from=model.tokenizer)
    else:
        save_run(model, tmp_path / form)
    told = []
    params = load_model(tmp_path / form, progress=lambda *sizes: told.append(sizes)).params
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    assert told[-1] == (size, size)


def test_no_form_needs_torch(model, tmp_path):
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from dvmap_jax.hf.save import save_model\n"
        "from dvmap_jax.train.weights import load_model, save_orbax\n"
        "first = load_model('orbax')\n"
        "save_model(first.params, first.config, 'hf', carry_from=first.tokenizer)\n"
        "print(load_model('hf').config == first.config)"
    )
    save_orbax(model, tmp_path / "orbax")
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_missing_path_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        load_model(tmp_path / "nowhere")


def test_folder_without_a_model_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="holds no model"):
        load_model(tmp_path)


def test_file_of_another_kind_is_an_error(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"\x80\x04pickled")
    with pytest.raises(ValueError, match=r"model\.bin is not a complete GGUF file"):
        load_model(tmp_path / "model.bin")


def test_gguf_of_another_architecture_is_an_error(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "gpt2")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ValueError, match="general.architecture is 'gpt2'"):
        load_model(tmp_path / "m.gguf")


def test_orbax_folder_of_other_sizes_is_an_error_that_names_the_parameter(model, tmp_path):
    save_orbax(model, tmp_path / "m")
    description = tmp_path / "m" / "model.json"
    content = json.loads(description.read_text())
    description.write_text(json.dumps({**content, "mlp_width": 50}))
    with pytest.raises(ValueError, match=r"mlp/down/kernel has shape \(2, 48, 32\)"):
        load_model(tmp_path / "m")


def test_orbax_folder_overwrites_nothing(model, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="already holds something"):
        save_orbax(model, tmp_path / "m")
    assert (tmp_path / "m" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"source": ""}, "weights.source is empty"), ({"param_dtype": "int8"}, "weights.param_dtype")],
)
def test_config_is_checked(fields, said):
    with pytest.raises(ValueError, match=said):
        WeightsConfig(**fields)
