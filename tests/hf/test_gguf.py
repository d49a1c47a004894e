"""GGUF files against `transformers` and the `gguf` package, down to a real pretrained model."""

import shutil

import gguf
import jax
import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.hf.gguf import read_gguf
from dvmap_jax.hf.load import load_params, read_config
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level, extend_level

TYPES = gguf.GGMLQuantizationType
ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen3": gguf.MODEL_ARCH.QWEN3}


def permuted(rows: np.ndarray, heads: int) -> np.ndarray:
    """As llama.cpp's conversion of Llama does it (convert_hf_to_gguf.py, `permute`)."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def write_gguf(path, folder, kind=TYPES.F32, *, change=None, factors=None) -> None:
    """A Hugging Face folder as a GGUF file: matrices in `kind`, norms in float32."""
    config = transformers.AutoConfig.from_pretrained(folder)
    family, layers = config.model_type, config.num_hidden_layers
    arrays = load_file(folder / "model.safetensors")
    if change:
        change(arrays)
    table = gguf.get_tensor_name_map(ARCHITECTURES[family], layers)
    writer = gguf.GGUFWriter(path, family)
    writer.add_block_count(layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, array in arrays.items():
        part = name.removesuffix(".weight").split(".")[-1]
        if family == "llama" and part in heads:
            array = permuted(array, heads[part])
        stored = kind if array.ndim == 2 else TYPES.F32
        data = gguf.quants.quantize(np.ascontiguousarray(array), stored)
        short = table.get_name(name, try_suffixes=(".weight",)) or name
        writer.add_tensor(short, data, raw_dtype=stored)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    finish(writer)


def finish(writer) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantised_copy(folder, target, kind):
    """The folder with matrices rounded to what `kind` can hold."""
    shutil.copytree(folder, target)
    arrays = load_file(folder / "model.safetensors")
    for name, array in arrays.items():
        if array.ndim == 2:
            rounded = gguf.quants.dequantize(gguf.quants.quantize(array, kind), kind)
            arrays[name] = rounded.astype(np.float32)
    save_file(arrays, target / "model.safetensors", metadata={"format": "pt"})
    return target


def plain_rope(folder, target):
    """The folder without Llama 3's stretching, which small GGUF files do not carry."""
    shutil.copytree(folder, target)
    config = transformers.AutoConfig.from_pretrained(folder)
    config.rope_parameters = {
        "rope_type": "default",
        "rope_theta": config.rope_parameters["rope_theta"],
    }
    config.save_pretrained(target)
    return target


@pytest.mark.parametrize("stored", ["F32", "F16", "BF16", "Q8_0", "Q4_1", "Q4_0"])
def test_gguf_gives_the_parameters_of_the_folder_it_was_made_from(
    make_tiny, kind, tmp_path, stored
):
    folder = plain_rope(make_tiny(kind).folder, tmp_path / "plain")
    write_gguf(tmp_path / "m.gguf", folder, TYPES[stored])
    config, params = read_gguf(tmp_path / "m.gguf")
    rounded = quantised_copy(folder, tmp_path / "rounded", TYPES[stored])
    assert config == read_config(rounded)
    jax.tree.map(np.testing.assert_array_equal, params, load_params(rounded, config))


def test_bfloat16_is_rounded_from_the_dequantised_values(make_tiny, tmp_path):
    folder = plain_rope(make_tiny("llama3").folder, tmp_path / "plain")
    write_gguf(tmp_path / "m.gguf", folder, TYPES.Q8_0)
    wide, narrow = (read_gguf(tmp_path / "m.gguf", dtype)[1] for dtype in ("float32", "bfloat16"))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.astype("bfloat16"), b), wide, narrow)


def rope_config(factor: float) -> transformers.LlamaConfig:
    parameters = {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    return transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=128,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        rope_parameters=parameters,
    )


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_rope_factors_of_llama3_become_its_scaling(tmp_path, factor):
    config = rope_config(factor)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "m")
    scaled, _ = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 500_000.0 ** -(np.arange(0, 64, 2) / 64)
    factors = (plain / scaled.numpy()).astype(np.float32)
    write_gguf(tmp_path / "m.gguf", tmp_path / "m", factors=factors)
    ours, _ = read_gguf(tmp_path / "m.gguf")
    assert ours.rope_scaling == read_config(tmp_path / "m").rope_scaling
    assert ours.rope_scaling.factor == factor
    write_gguf(tmp_path / "other.gguf", tmp_path / "m", factors=factors**2)
    with pytest.raises(ValueError, match=r"rope_freqs.weight does not hold the factors of Llama 3"):
        read_gguf(tmp_path / "other.gguf")


def test_smollm_gives_the_logits_of_transformers(smollm_file):
    """By the function `from_pretrained(gguf_file=...)` reads with; that itself needs accelerate."""
    config, params = read_gguf(smollm_file)
    theirs = transformers.AutoConfig.from_pretrained(smollm_file.parent, gguf_file=smollm_file.name)
    model = transformers.AutoModelForCausalLM.from_config(theirs, dtype=torch.float32).eval()
    read = load_gguf_checkpoint(smollm_file, return_tensors=True, model_to_load=model)
    report = model.load_state_dict(read["tensors"], strict=False)
    assert report.missing_keys == ["lm_head.weight"] and theirs.tie_word_embeddings
    tokenizer = Tokenizer.load(smollm_file)
    prompt = tokenizer.render([{"role": "user", "content": "How important is family to you?"}])
    tokens = np.array([tokenizer.encode(prompt)])
    level = Level(tokens[:, None], np.full((1, 1), tokens.shape[1]))
    ours = Transformer(config)
    params = jax.device_put(params)
    hidden, _ = jax.jit(lambda p: extend_level(ours, p, level, ()))(params)
    with torch.no_grad():
        due = model(torch.tensor(tokens)).logits.numpy()
    assert np.abs(np.asarray(ours.logits(params, hidden[:, 0])) - due).max() <= 1e-3


def test_another_architecture_is_an_error_that_names_it(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "gemma2")
    writer.add_block_count(1)
    finish(writer)
    with pytest.raises(ValueError, match=r"m\.gguf: general.architecture is 'gemma2'"):
        read_gguf(tmp_path / "m.gguf")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"m\.gguf does not exist"):
        read_gguf(tmp_path / "m.gguf")


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_truncated_file(make_tiny, tmp_path, share):
    write_gguf(tmp_path / "m.gguf", make_tiny("qwen3_tied").folder)
    content = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "m.gguf").write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"m\.gguf is not a complete GGUF file") as caught:
        read_gguf(tmp_path / "m.gguf")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda arrays: arrays.pop("model.layers.1.self_attn.q_proj.weight"),
            r"m\.gguf has no tensor blk\.1\.attn_q\.weight",
        ),
        (
            lambda arrays: arrays.update({"extra": np.zeros(32, np.float32)}),
            r"m\.gguf has a tensor extra",
        ),
        (
            lambda arrays: arrays.update({"model.norm.weight": np.zeros(32, np.float32)}),
            r"m\.gguf: tensor output_norm\.weight has shape \[32\]",
        ),
    ],
)
def test_wrong_tensors_are_errors_that_name_them(make_tiny, tmp_path, change, said):
    write_gguf(tmp_path / "m.gguf", make_tiny("qwen3_tied").folder, change=change)
    with pytest.raises(ValueError, match=said):
        read_gguf(tmp_path / "m.gguf")


def test_type_that_cannot_be_read_is_an_error_that_names_the_tensor(make_tiny, tmp_path):
    write_gguf(tmp_path / "m.gguf", make_tiny("qwen3_tied").folder)
    reader = gguf.GGUFReader(tmp_path / "m.gguf", "r+")
    field = next(t for t in reader.tensors if t.name == "output_norm.weight").field
    field.parts[-2][0] = TYPES.I32  # the type stands before the offset; as wide as F32
    reader.data.flush()
    with pytest.raises(ValueError, match=r"output_norm\.weight is stored as I32"):
        read_gguf(tmp_path / "m.gguf")
