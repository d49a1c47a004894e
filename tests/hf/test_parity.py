"""Our transformer against `transformers` on torch: logits, greedy tokens, files there and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import torch
import transformers

from dvmap_jax.hf.load import load_params, read_config
from dvmap_jax.hf.save import save_model
from dvmap_jax.model.decode import decode
from dvmap_jax.model.sampling import SamplingConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.model.tree import Level, extend_level

TOLERANCE = 1e-4  # float32 sums in another order, on logits of about 10
MODELS = transformers.AutoModelForCausalLM
NO_EOS = (-1,)


def our_logits(config, params, tokens: np.ndarray) -> np.ndarray:
    model = Transformer(config)
    level = Level(jnp.asarray(tokens)[:, None], jnp.full((len(tokens), 1), tokens.shape[1]))
    hidden, _ = extend_level(model, params, level, ())
    return np.asarray(model.logits(params, hidden)[:, 0])


def random_tokens(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(4, 160, shape)


def tensor_bytes(folder) -> dict[str, tuple]:
    """Every tensor of a folder as it is stored: type, shape, bytes."""
    return {
        name: (tensor["dtype"], tuple(tensor["shape"]), bytes(tensor["data"]))
        for path in folder.glob("*.safetensors")
        for name, tensor in safetensors.deserialize(path.read_bytes())
    }


@pytest.mark.parametrize("num_layers", [2, 5])
def test_logits_equal_those_of_transformers(make_tiny, kind, num_layers):
    tiny = make_tiny(kind, num_layers)
    config = read_config(tiny.folder)
    tokens = random_tokens(2, 150)
    ours = our_logits(config, load_params(tiny.folder, config), tokens)
    with torch.no_grad():
        theirs = tiny.model(torch.tensor(tokens)).logits.numpy()
    assert np.abs(theirs).max() > 1
    assert np.abs(ours - theirs).max() <= TOLERANCE


@pytest.mark.parametrize("num_layers", [2, 5])
def test_greedy_decode_gives_the_tokens_of_transformers(make_tiny, kind, num_layers):
    tiny = make_tiny(kind, num_layers)
    config = read_config(tiny.folder)
    tokens = random_tokens(2, 40)
    ours = decode(
        Transformer(config),
        jax.device_put(load_params(tiny.folder, config)),
        (Level(jnp.asarray(tokens)[:, None], jnp.full((2, 1), 40)),),
        rows=jnp.arange(2)[:, None],
        key=jax.random.key(0),
        eos_ids=NO_EOS,
        sampling=SamplingConfig(temperature=0.0, max_tokens=64),
    )
    greedy = transformers.GenerationConfig(
        do_sample=False, max_new_tokens=64, eos_token_id=None, pad_token_id=0
    )
    theirs = tiny.model.generate(torch.tensor(tokens), generation_config=greedy)[:, 40:].numpy()
    assert theirs.shape == (2, 64)
    np.testing.assert_array_equal(ours.tokens[:, 0], theirs)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("theirs", "ours"), [("5GB", 10**9), ("60KB", 60_000)])
def test_load_then_save_returns_every_byte(make_tiny, kind, tmp_path, dtype, theirs, ours):
    tiny = make_tiny(kind, 2, getattr(torch, dtype), theirs)
    config = read_config(tiny.folder)
    params = load_params(tiny.folder, config, dtype)
    save_model(params, config, tmp_path / "out", dtype=dtype, max_shard_bytes=ours)
    assert tensor_bytes(tmp_path / "out") == tensor_bytes(tiny.folder)
    sharded = (tmp_path / "out" / "model.safetensors.index.json").is_file()
    assert sharded == (theirs == "60KB")


@pytest.mark.parametrize("max_shard_bytes", [10**9, 60_000])
def test_export_reloads_in_transformers_with_equal_logits(
    make_tiny, kind, tmp_path, max_shard_bytes
):
    tiny = make_tiny(kind)
    config = read_config(tiny.folder)
    params = load_params(tiny.folder, config)
    out = tmp_path / "out"
    save_model(params, config, out, max_shard_bytes=max_shard_bytes, carry_from=tiny.folder)
    again, report = MODELS.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert again.dtype == torch.float32
    tokens = torch.tensor(random_tokens(2, 100))
    with torch.no_grad():
        assert torch.equal(again(tokens).logits, tiny.model(tokens).logits)


def test_export_keeps_what_the_config_says(make_tiny, kind, tmp_path):
    tiny = make_tiny(kind)
    config = read_config(tiny.folder)
    save_model(load_params(tiny.folder, config), config, tmp_path / "out", carry_from=tiny.folder)
    theirs = transformers.AutoConfig.from_pretrained(tmp_path / "out")
    original = tiny.model.config
    assert theirs.rope_parameters == original.rope_parameters
    names = ("eos_token_id", "bos_token_id", "pad_token_id", "head_dim", "rms_norm_eps")
    for name in (*names, "tie_word_embeddings", "max_position_embeddings"):
        assert getattr(theirs, name) == getattr(original, name), name
    assert read_config(tmp_path / "out") == config


def test_bfloat16_export_loads_as_bfloat16(make_tiny, tmp_path):
    tiny = make_tiny("qwen3_tied", 2, torch.bfloat16)
    config = read_config(tiny.folder)
    params = load_params(tiny.folder, config, "bfloat16")
    save_model(params, config, tmp_path / "out", dtype="bfloat16")
    again, original = (MODELS.from_pretrained(path) for path in (tmp_path / "out", tiny.folder))
    assert again.dtype == original.dtype == torch.bfloat16
    tokens = torch.tensor(random_tokens(1, 30))
    with torch.no_grad():
        assert torch.equal(again(tokens).logits, original(tokens).logits)
