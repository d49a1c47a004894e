"""The tokenizer inside a GGUF file, as the files of a Hugging Face tokenizer.

`transformers` reads these only where torch is installed, and does not split digits for SmolLM.
"""

import pathlib
from typing import Any

import tokenizers

from dvmap_jax.data.tokenizer_files import TokenizerFiles, build_files

try:
    import gguf
except ImportError:  # an extra; reading a GGUF file says how to get it
    gguf = None

CONTROL, USER_DEFINED = 3, 4  # llama.cpp's token types
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# How llama.cpp's named pre-tokenizers split text: as the tokenizer.json of these models do.
SPLITS = {"llama-bpe": r"\p{N}{1,3}", "llama3": r"\p{N}{1,3}", "qwen2": r"\p{N}"}
DIGITS = ("smollm",)
PLAIN = ("default", "gpt-2")
COMPOSED = ("qwen2",)  # their text is brought to Unicode's composed form (NFC) first


def read_gguf_tokenizer(path: pathlib.Path) -> TokenizerFiles:
    """Files of the byte-level BPE in a GGUF file; ValueError for another kind of tokenizer."""
    fields = _fields(path)
    model, pre = fields.get("model"), fields.get("pre", "default")
    known = (*SPLITS, *DIGITS, *PLAIN)
    if model != "gpt2" or pre not in known:
        raise ValueError(
            f"{path}: tokenizer.ggml.model is {model!r} and tokenizer.ggml.pre is {pre!r}; only "
            f"the byte-level BPE 'gpt2' is read, with one of the pre-tokenizers {known}"
        )
    tokens = fields["tokens"]
    roles = {"bos": "bos", "eos": "eos", "padding": "pad", "unknown": "unk"}
    ids = {ours: fields.get(f"{theirs}_token_id") for theirs, ours in roles.items()}
    named = {f"{name}_token": tokens[token] for name, token in ids.items() if token is not None}
    ends = [ids["eos"], fields.get("eot_token_id")]
    return build_files(
        _byte_level_bpe(fields, pre, named.get("bos_token")).to_str(),
        special_tokens=named,
        eos_ids=[end for end in dict.fromkeys(ends) if end is not None],
        chat_template=fields.get("chat_template"),
    )


def _fields(path: pathlib.Path) -> dict[str, Any]:
    """The tokenizer's fields of a GGUF file by their last name."""
    if gguf is None:
        raise ValueError(
            f"{path}: reading GGUF needs the package gguf; pip install dvmap-jax[gguf]"
        )
    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a complete GGUF file: {error}") from error
    own = {
        name.removeprefix("tokenizer.").removeprefix("ggml."): field.contents()
        for name, field in reader.fields.items()
        if name.startswith("tokenizer.")
    }
    missing = sorted({"tokens", "merges"} - own.keys()) if own.get("model") == "gpt2" else []
    if missing:
        raise ValueError(f"{path} has no field tokenizer.ggml.{missing[0]}")
    return own


def _byte_level_bpe(fields: dict[str, Any], pre: str, bos: str | None) -> tokenizers.Tokenizer:
    tokens = fields["tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["merges"]]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    # A whole piece of text that is a token is taken as it is, as Llama 3's tokenizer.json asks.
    whole = pre in ("llama-bpe", "llama3")
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab=vocabulary, merges=merges, ignore_merges=whole)
    )
    if pre in COMPOSED:
        made.normalizer = tokenizers.normalizers.NFC()
    made.pre_tokenizer = _pre_tokenizer(pre)
    made.decoder = tokenizers.decoders.ByteLevel()
    kinds = fields.get("token_type", [1] * len(tokens))
    for token, kind in zip(tokens, kinds, strict=True):
        if kind in (CONTROL, USER_DEFINED):
            added = tokenizers.AddedToken(token, normalized=False, special=kind == CONTROL)
            add = made.add_special_tokens if kind == CONTROL else made.add_tokens
            add([added])
    if fields.get("add_bos_token") and bos is not None:
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, vocabulary[bos])]
        )
    return made


def _pre_tokenizer(pre: str) -> tokenizers.pre_tokenizers.PreTokenizer:
    stages = tokenizers.pre_tokenizers
    if pre in PLAIN:
        return stages.ByteLevel(add_prefix_space=False)
    if pre in DIGITS:
        return stages.Sequence(
            [stages.Digits(individual_digits=True), stages.ByteLevel(add_prefix_space=False)]
        )
    split = tokenizers.Regex(CONTRACTIONS + SPLITS[pre] + REST)
    return stages.Sequence(
        [
            stages.Split(split, behavior="isolated"),
            stages.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
