"""The table of names covers every parameter once, and agrees with the models it speaks of."""

import gguf
import jax
import pytest
from safetensors import safe_open

from dvmap_jax.data.tokenizer import FILE_NAMES
from dvmap_jax.hf.load import leaf, read_config
from dvmap_jax.hf.names import TENSORS, hf_fields, read_hf_fields, tensors
from dvmap_jax.hf.save import CARRIED
from dvmap_jax.model.config import PRESETS
from dvmap_jax.model.transformer import Transformer

ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen3": gguf.MODEL_ARCH.QWEN3}


def test_every_parameter_has_one_row(make_tiny, kind):
    config = read_config(make_tiny(kind).folder)
    whole = Transformer(config).abstract_params()
    rows = tensors(config)
    assert len({row.path for row in rows}) == len(rows) == len(jax.tree.leaves(whole))
    for row in rows:
        assert leaf(whole, row.path).ndim in (1, 2, 3)


def test_every_tensor_of_a_saved_model_is_named_once(make_tiny, kind):
    folder = make_tiny(kind, 5).folder
    config = read_config(folder)
    ours = [name for row in tensors(config) for name in row.names(row.hf, 5)]
    with safe_open(folder / "model.safetensors", framework="numpy") as theirs:
        assert sorted(ours) == sorted(theirs.keys())


@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_gguf_names_are_those_of_the_gguf_package(architecture):
    table = gguf.get_tensor_name_map(ARCHITECTURES[architecture], 3)
    for row in TENSORS:
        if architecture == "llama" and "_norm" in row.path[-2] and "attention" in row.path[1:-2]:
            continue  # Llama has no norms of queries and keys
        pairs = zip(row.names(row.hf, 3), row.names(row.gguf, 3), strict=True)
        for theirs, ours in pairs:
            assert table.get_name(theirs, try_suffixes=(".weight",)) == ours


@pytest.mark.parametrize("preset", list(PRESETS))
def test_config_comes_back_from_its_fields(preset):
    assert read_hf_fields(hf_fields(PRESETS[preset]), "here") == PRESETS[preset]


def test_export_carries_all_files_of_a_tokenizer():
    assert set(CARRIED) == set(FILE_NAMES)
