"""Tiny random models made by `transformers`, as folders and as live torch models."""

import dataclasses
import pathlib

import pytest
import torch
import transformers

SIZES = {
    "vocab_size": 160,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,  # not hidden_size / num_attention_heads
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": [2, 3],
    "pad_token_id": 0,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,  # small, so that it matters for tiny prompts
}
QWEN3_ROPE = {"rope_type": "default", "rope_theta": 1e6}
MODELS = {
    "qwen3_tied": (transformers.Qwen3Config, {"tie_word_embeddings": True, "rope": QWEN3_ROPE}),
    "qwen3_untied": (transformers.Qwen3Config, {"tie_word_embeddings": False, "rope": QWEN3_ROPE}),
    "llama3": (transformers.LlamaConfig, {"tie_word_embeddings": True, "rope": LLAMA3_ROPE}),
    "llama3_untied": (
        transformers.LlamaConfig,
        {"tie_word_embeddings": False, "rope": LLAMA3_ROPE},
    ),
}


@dataclasses.dataclass(frozen=True)
class Tiny:
    """A random model: live in torch, and the folder it was saved in."""

    model: transformers.PreTrainedModel
    folder: pathlib.Path


def tiny_model(kind: str, num_layers: int, dtype=torch.float32) -> transformers.PreTrainedModel:
    """No parameter is left at a value such as 1 that would hide a mistake."""
    config_class, options = MODELS[kind]
    config = config_class(
        **SIZES,
        num_hidden_layers=num_layers,
        tie_word_embeddings=options["tie_word_embeddings"],
        rope_parameters=dict(options["rope"]),
    )
    torch.manual_seed(num_layers)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.to(dtype)


@pytest.fixture(scope="session")
def make_tiny(tmp_path_factory):
    """(kind, layers, dtype, shard size) -> Tiny; each combination is made once."""
    made = {}

    def make(kind, num_layers=2, dtype=torch.float32, max_shard_size="5GB") -> Tiny:
        key = (kind, num_layers, dtype, max_shard_size)
        if key not in made:
            model = tiny_model(kind, num_layers, dtype)
            folder = tmp_path_factory.mktemp("tiny") / "model"
            model.save_pretrained(folder, max_shard_size=max_shard_size)
            model.generation_config.eos_token_id = None  # so that greedy decoding never stops
            made[key] = Tiny(model, folder)
        return made[key]

    return make


@pytest.fixture(params=list(MODELS))
def kind(request) -> str:
    return request.param
