"""The one table between our parameters and fields and those of Hugging Face and GGUF files.

Loading, saving and reading GGUF all walk `TENSORS` and `FIELDS`; no other file spells these names.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dvmap_jax.model.config import ModelConfig, RopeScaling

Path = tuple[str, ...]


def same(matrix: np.ndarray) -> np.ndarray:
    """Tables and scales are laid out alike."""
    return matrix


def transpose(matrix: np.ndarray) -> np.ndarray:
    """Projections are [out, in] in their files and [in, out] here."""
    return matrix.T


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A parameter and its names in files; `layout` is its own inverse.

    `rotated` names the field that counts the heads whose rows llama.cpp reorders for its rotary
    positions, in GGUF files of Llama.
    """

    hf: str
    gguf: str
    path: Path
    layout: Callable[[np.ndarray], np.ndarray] = same
    rotated: str = ""

    @property
    def stacked(self) -> bool:
        """Whether each layer has one, stacked on our first axis."""
        return self.path[0] == "layers"

    def names(self, pattern: str, num_layers: int) -> list[str]:
        """The names in a file, by `pattern` (`hf` or `gguf`): one a layer, or just one."""
        return [pattern.format(layer=layer) for layer in range(num_layers if self.stacked else 1)]

    def stored(self, axes: tuple) -> tuple:
        """One thing an axis of a layer here, in the order of the axes in a file of Hugging Face."""
        return axes[::-1] if self.layout is transpose else axes


ATTENTION, MLP = ("layers", "attention"), ("layers", "mlp")
HF, GGUF = "model.layers.{layer}.", "blk.{layer}."
EMBED = Tensor("model.embed_tokens.weight", "token_embd.weight", ("embed", "table"))
HEAD = Tensor("lm_head.weight", "output.weight", ("head", "table"))
QK_NORMS = (
    Tensor(
        HF + "self_attn.q_norm.weight",
        GGUF + "attn_q_norm.weight",
        (*ATTENTION, "q_norm", "scale"),
    ),
    Tensor(
        HF + "self_attn.k_norm.weight",
        GGUF + "attn_k_norm.weight",
        (*ATTENTION, "k_norm", "scale"),
    ),
)
LAYER = (
    Tensor(
        HF + "input_layernorm.weight",
        GGUF + "attn_norm.weight",
        ("layers", "attention_norm", "scale"),
    ),
    Tensor(
        HF + "self_attn.q_proj.weight",
        GGUF + "attn_q.weight",
        (*ATTENTION, "q", "kernel"),
        transpose,
        rotated="num_heads",
    ),
    Tensor(
        HF + "self_attn.k_proj.weight",
        GGUF + "attn_k.weight",
        (*ATTENTION, "k", "kernel"),
        transpose,
        rotated="num_kv_heads",
    ),
    Tensor(
        HF + "self_attn.v_proj.weight",
        GGUF + "attn_v.weight",
        (*ATTENTION, "v", "kernel"),
        transpose,
    ),
    Tensor(
        HF + "self_attn.o_proj.weight",
        GGUF + "attn_output.weight",
        (*ATTENTION, "o", "kernel"),
        transpose,
    ),
    Tensor(
        HF + "post_attention_layernorm.weight",
        GGUF + "ffn_norm.weight",
        ("layers", "mlp_norm", "scale"),
    ),
    Tensor(
        HF + "mlp.gate_proj.weight", GGUF + "ffn_gate.weight", (*MLP, "gate", "kernel"), transpose
    ),
    Tensor(HF + "mlp.up_proj.weight", GGUF + "ffn_up.weight", (*MLP, "up", "kernel"), transpose),
    Tensor(
        HF + "mlp.down_proj.weight", GGUF + "ffn_down.weight", (*MLP, "down", "kernel"), transpose
    ),
)
NORM = Tensor("model.norm.weight", "output_norm.weight", ("norm", "scale"))
TENSORS = (EMBED, *LAYER, *QK_NORMS, NORM, HEAD)
GGUF_ROPE_FACTORS = "rope_freqs.weight"  # Llama 3's stretching as numbers, not a parameter


def tensors(config: ModelConfig) -> tuple[Tensor, ...]:
    """The rows of the table that a model of this config has."""
    absent = {*(() if config.qk_norm else QK_NORMS), *((HEAD,) if config.tie_embeddings else ())}
    return tuple(tensor for tensor in TENSORS if tensor not in absent)


@dataclasses.dataclass(frozen=True)
class Field:
    """A number of ModelConfig and its names in config.json and GGUF metadata."""

    ours: str
    hf: str
    gguf: str
    kind: type
    default: float | None = None  # in a file without it; None: it must be there


FAMILIES = {"qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}
FIELDS = (
    Field("vocab_size", "vocab_size", "vocab_size", int),
    Field("width", "hidden_size", "embedding_length", int),
    Field("mlp_width", "intermediate_size", "feed_forward_length", int),
    Field("num_layers", "num_hidden_layers", "block_count", int),
    Field("num_heads", "num_attention_heads", "attention.head_count", int),
    Field("num_kv_heads", "num_key_value_heads", "attention.head_count_kv", int),
    Field("head_dim", "head_dim", "attention.key_length", int),
    Field("rope_theta", "rope_theta", "rope.freq_base", float, 10_000.0),
    Field("norm_epsilon", "rms_norm_eps", "attention.layer_norm_rms_epsilon", float, 1e-6),
    Field("max_position", "max_position_embeddings", "context_length", int),
    Field("initializer_range", "initializer_range", "initializer_range", float, 0.02),
)
ROPE_FIELDS = (
    Field("factor", "factor", "", float),
    Field("low_freq_factor", "low_freq_factor", "", float),
    Field("high_freq_factor", "high_freq_factor", "", float),
    Field("original_max_position", "original_max_position_embeddings", "", int),
)
# What we compute; a config.json that asks for anything else is refused.
FIXED = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "use_sliding_window": False,
    "partial_rotary_factor": 1.0,
    "quantization_config": None,
}
WRITTEN = ("hidden_act", "attention_bias", "mlp_bias", "use_sliding_window")


def hf_fields(config: ModelConfig) -> dict[str, Any]:
    """The model's part of a config.json that `transformers` 4 and 5 read."""
    rope = config.rope_scaling
    return {
        "architectures": [FAMILIES[config.family]],
        "model_type": config.family,
        **{field.hf: getattr(config, field.ours) for field in FIELDS},
        **{name: FIXED[name] for name in WRITTEN},
        "rope_scaling": None
        if rope is None
        else {"rope_type": "llama3", **{row.hf: getattr(rope, row.ours) for row in ROPE_FIELDS}},
        "tie_word_embeddings": config.tie_embeddings,
    }


def read_hf_fields(fields: Mapping[str, Any], where: str) -> ModelConfig:
    """The ModelConfig of a config.json; ValueError for what we do not compute, naming the field.

    `where` begins each message. Rotary fields may have the form of `transformers` 4 or 5.
    """
    family = _family(fields, where)
    for name, value in FIXED.items():
        if fields.get(name, value) not in (value, None):
            raise ValueError(f"{where}: {name} is {fields[name]!r}; only {value!r} is supported")
    kinds = set(fields.get("layer_types") or ()) - {"full_attention"}
    if kinds:
        raise ValueError(f"{where}: layer_types has {min(kinds)!r}; only 'full_attention' is known")
    rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
    found = {**fields, **rope}
    return model_config(
        {field.ours: found.get(field.hf) for field in FIELDS},
        where,
        named={field.ours: field.hf for field in FIELDS},
        family=family,
        rope_scaling=_rope_scaling(rope, where),
        tie_embeddings=bool(fields.get("tie_word_embeddings", False)),
    )


def model_config(
    values: Mapping[str, Any], where: str, *, named: Mapping[str, str], **others: Any
) -> ModelConfig:
    """A ModelConfig of numbers from a file; `named` gives each field's name there, for errors.

    Where a file leaves them out, each query head has its own key and value head, and the heads
    share the width evenly.
    """
    numbers = dict(values)
    if numbers["num_kv_heads"] is None:
        numbers["num_kv_heads"] = numbers["num_heads"]
    if numbers["head_dim"] is None and numbers["width"] and numbers["num_heads"]:
        numbers["head_dim"] = numbers["width"] // numbers["num_heads"]
    read = {row.ours: _number(row, numbers[row.ours], where, named[row.ours]) for row in FIELDS}
    try:
        return ModelConfig(**read, **others)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _family(fields: Mapping[str, Any], where: str) -> str:
    named = fields.get("architectures") or [FAMILIES.get(fields.get("model_type"), "nothing")]
    families = {theirs: ours for ours, theirs in FAMILIES.items()}
    if named[0] not in families:
        raise ValueError(
            f"{where}: architectures is {named[0]!r}; supported are {', '.join(families)}"
        )
    return families[named[0]]


def _number(field: Field, value: Any, where: str, name: str) -> float:
    if value is None and field.default is None:
        raise ValueError(f"{where}: {name} is missing")
    value = field.default if value is None else value
    wanted = (int, float) if field.kind is float else int
    if isinstance(value, bool) or not isinstance(value, wanted):
        kind = "a number" if field.kind is float else "an integer"
        raise ValueError(f"{where}: {name} is {value!r}; it must be {kind}")
    return field.kind(value)


def _rope_scaling(rope: Mapping[str, Any], where: str) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError(f"{where}: partial_rotary_factor is set; only whole heads are rotated")
    if kind == "default":
        return None
    if kind != "llama3":
        raise ValueError(f"{where}: rope_type is {kind!r}; supported are 'default' and 'llama3'")
    found = {row.ours: _number(row, rope.get(row.hf), where, row.hf) for row in ROPE_FIELDS}
    return RopeScaling(**found)
