"""What a model is (`ModelConfig`) and how it is computed (`ComputeConfig`), with presets."""

import dataclasses

DTYPES = ("float32", "bfloat16", "float64")
REMAT_POLICIES = ("none", "layer", "attention", "dots")
ATTENTIONS = ("auto", "xla", "splash", "cudnn")


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """Llama 3's frequency-dependent stretching of rotary positions (arXiv:2407.21783)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position: int


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes and constants of a Qwen3 or Llama decoder; Hugging Face names are in hf/names.py."""

    family: str = "qwen3"
    vocab_size: int = 1024
    width: int = 128
    mlp_width: int = 384
    num_layers: int = 4
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 32
    rope_theta: float = 1_000_000.0
    rope_scaling: RopeScaling | None = None
    norm_epsilon: float = 1e-6
    tie_embeddings: bool = True
    max_position: int = 40_960
    initializer_range: float = 0.02  # standard deviation of fresh matrices

    def __post_init__(self):
        if self.family not in ("qwen3", "llama"):
            raise ValueError(f"model.family is {self.family!r}; it must be 'qwen3' or 'llama'")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is int and value < 1:
                raise ValueError(f"model.{field.name} is {value}; it must be at least 1")
        if self.initializer_range <= 0:
            raise ValueError(
                f"model.initializer_range is {self.initializer_range}; it must be positive"
            )
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"model.num_heads is {self.num_heads}, not a multiple of "
                f"model.num_kv_heads = {self.num_kv_heads}"
            )
        if self.head_dim % 2:
            raise ValueError(f"model.head_dim is {self.head_dim}; rotary positions need it even")

    @classmethod
    def preset(cls, name: str) -> "ModelConfig":
        """The published sizes of a model, by its name in `PRESETS`."""
        return PRESETS[name]

    @property
    def qk_norm(self) -> bool:
        """Whether queries and keys are normalised per head: Qwen3 does, Llama does not."""
        return self.family == "qwen3"


@dataclasses.dataclass(frozen=True)
class ComputeConfig:
    """Precision, rematerialisation and chunk sizes; none of them changes the mathematics.

    `logprob_chunk` bounds the tokens whose logits exist at the same time, for each part that rows
    are divided into; `attention_chunk` the queries of a row that are scored together, 0: all.
    `attention` is what computes it: "xla", a fused kernel by its name, which has no use for chunks,
    or "auto", the kernel of the devices where it applies (see flash.py). `remat` says what is not
    computed again for the gradient: "layer" nothing within a layer, "attention" what a fused kernel
    gave, "dots" that and products with weights, "none" anything.
    """

    dtype: str = "float32"
    remat: str = "layer"
    logprob_chunk: int = 1024
    attention_chunk: int = 0
    attention: str = "auto"

    def __post_init__(self):
        if self.dtype not in DTYPES:
            raise ValueError(f"compute.dtype is {self.dtype!r}; it must be one of {DTYPES}")
        if self.remat not in REMAT_POLICIES:
            raise ValueError(f"compute.remat is {self.remat!r}; it must be one of {REMAT_POLICIES}")
        if self.attention not in ATTENTIONS:
            raise ValueError(
                f"compute.attention is {self.attention!r}; it must be one of {ATTENTIONS}"
            )
        if self.logprob_chunk < 1 or self.attention_chunk < 0:
            raise ValueError(
                f"compute.logprob_chunk is {self.logprob_chunk} and attention_chunk "
                f"{self.attention_chunk}; they must be positive and not negative"
            )


def _qwen3(width: int, mlp_width: int, num_layers: int, num_heads: int, tied: bool) -> ModelConfig:
    return ModelConfig(
        family="qwen3",
        vocab_size=151_936,
        width=width,
        mlp_width=mlp_width,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=8,
        head_dim=128,
        tie_embeddings=tied,
    )


# Sizes as published in the models' own config.json.
PRESETS = {
    "qwen3_0p6b": _qwen3(1024, 3072, 28, 16, tied=True),
    "qwen3_1p7b": _qwen3(2048, 6144, 28, 16, tied=True),
    "qwen3_4b": _qwen3(2560, 9728, 36, 32, tied=True),
    "qwen3_8b": _qwen3(4096, 12_288, 36, 32, tied=False),
    "llama3p2_3b": ModelConfig(
        family="llama",
        vocab_size=128_256,
        width=3072,
        mlp_width=8192,
        num_layers=28,
        num_heads=24,
        num_kv_heads=8,
        head_dim=128,
        rope_theta=500_000.0,
        rope_scaling=RopeScaling(32.0, 1.0, 4.0, 8192),
        norm_epsilon=1e-5,
        tie_embeddings=True,
        max_position=131_072,
    ),
    "smollm2_135m": ModelConfig(
        family="llama",
        vocab_size=49_152,
        width=576,
        mlp_width=1536,
        num_layers=30,
        num_heads=9,
        num_kv_heads=3,
        head_dim=64,
        rope_theta=100_000.0,
        norm_epsilon=1e-5,
        tie_embeddings=True,
        max_position=8192,
    ),
}
