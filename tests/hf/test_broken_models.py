"""Model folders that are not as they should be: one line that names file and tensor or field."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dvmap_jax.hf.load import load_params, read_config
from dvmap_jax.hf.save import save_model

WEIGHTS = "model.safetensors"
Q = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture
def folder(make_tiny, tmp_path):
    """A copy of a tiny model's folder, to be spoilt."""
    return shutil.copytree(make_tiny("qwen3_tied").folder, tmp_path / "model")


def change_weights(folder, change) -> None:
    arrays = load_file(folder / WEIGHTS)
    change(arrays)
    save_file(arrays, folder / WEIGHTS, metadata={"format": "pt"})


def change_config(folder, **fields) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def load(folder):
    return load_params(folder, read_config(folder))


def message(folder, kind=ValueError) -> str:
    with pytest.raises(kind) as caught:
        load(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert str(folder) in text
    return text


def test_missing_folder(tmp_path):
    assert "config.json does not exist" in message(tmp_path / "nowhere", FileNotFoundError)


def test_missing_weights(folder):
    (folder / WEIGHTS).unlink()
    assert "holds neither model.safetensors nor" in message(folder, FileNotFoundError)


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.5, 0.999])
def test_truncated_weights(folder, share):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: int(share * len(content))])
    assert "model.safetensors is not a complete safetensors file" in message(folder)


def test_missing_tensor(folder):
    change_weights(folder, lambda arrays: arrays.pop(Q))
    assert f"{WEIGHTS} has no tensor {Q}" in message(folder)


def test_extra_tensor(folder):
    change_weights(folder, lambda arrays: arrays.update({"model.extra": np.zeros(2)}))
    assert f"{WEIGHTS} has a tensor model.extra" in message(folder)


def test_more_layers_than_the_config_says(folder):
    change_config(folder, num_hidden_layers=1, layer_types=None)
    assert "model.layers.1." in message(folder)


def test_wrong_shape(folder):
    change_weights(folder, lambda arrays: arrays.update({Q: arrays[Q][:-32].copy()}))
    text = message(folder)
    assert f"{WEIGHTS}: tensor {Q} has shape [96, 64]" in text
    assert "[128, 64]" in text


def test_quantised_tensor(folder):
    change_weights(folder, lambda arrays: arrays.update({Q: arrays[Q].astype(np.int8)}))
    assert f"tensor {Q} is stored as I8" in message(folder)


def test_tied_head_that_repeats_the_embedding_is_accepted(folder):
    table = "model.embed_tokens.weight"
    change_weights(folder, lambda arrays: arrays.update({"lm_head.weight": arrays[table].copy()}))
    assert "head" not in load(folder)


def test_tied_head_that_differs_is_an_extra_tensor(folder):
    table = "model.embed_tokens.weight"
    change_weights(folder, lambda arrays: arrays.update({"lm_head.weight": arrays[table] + 1}))
    assert "has a tensor lm_head.weight" in message(folder)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"architectures": ["MistralForCausalLM"]}, "architectures is 'MistralForCausalLM'"),
        ({"architectures": None, "model_type": "gemma"}, "architectures is 'nothing'"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"mlp_bias": True}, "mlp_bias is True"),
        ({"use_sliding_window": True}, "use_sliding_window is True"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "'sliding_attention'"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type is 'yarn'"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear"}}, "rope_type is 'linear'"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "factor is missing"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"hidden_size": "64"}, "hidden_size is '64'; it must be an integer"),
        ({"num_key_value_heads": 3}, "not a multiple"),
    ],
)
def test_config_we_do_not_compute(folder, fields, said):
    change_config(folder, **fields)
    assert said in message(folder)


def test_config_that_is_no_json(folder):
    (folder / "config.json").write_text("{")
    assert "config.json is not valid JSON" in message(folder)


def test_older_config_gives_the_same_model(folder):
    """`transformers` 4 writes the rotary base beside the other fields, and may leave out sizes."""
    config = read_config(folder)
    change_config(folder, rope_parameters=None, rope_scaling=None, rope_theta=1e6)
    assert read_config(folder) == config
    change_config(folder, head_dim=None)
    assert read_config(folder).head_dim == config.width // config.num_heads


def test_shard_that_is_not_there(make_tiny, tmp_path):
    tiny = make_tiny("qwen3_tied", max_shard_size="60KB")
    folder = shutil.copytree(tiny.folder, tmp_path / "model")
    gone = sorted(folder.glob("model-*.safetensors"))[1]
    gone.unlink()
    assert f"names the file '{gone.name}'" in message(folder)


def test_index_that_leaves_the_folder(make_tiny, tmp_path):
    tiny = make_tiny("qwen3_tied", max_shard_size="60KB")
    folder = shutil.copytree(tiny.folder, tmp_path / "model")
    shutil.copy(make_tiny("qwen3_tied").folder / WEIGHTS, tmp_path / WEIGHTS)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["model.norm.weight"] = f"../{WEIGHTS}"
    index.write_text(json.dumps(content))
    assert "which is not in its folder" in message(folder)


def test_export_replaces_an_export_and_nothing_else(make_tiny, folder, tmp_path):
    config = read_config(folder)
    params = load(folder)
    out = tmp_path / "out"
    out.mkdir()
    for _ in range(2):
        save_model(params, config, out)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match=r"model already holds 'config\.json'"):
        save_model(params, config, folder)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"out already holds 'notes\.txt'"):
        save_model(params, config, out)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out"]


def test_export_that_fails_leaves_the_earlier_one(folder, tmp_path):
    config, params = read_config(folder), load(folder)
    out = tmp_path / "out"
    save_model(params, config, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    del params["norm"]
    with pytest.raises(KeyError):
        save_model(params, config, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
