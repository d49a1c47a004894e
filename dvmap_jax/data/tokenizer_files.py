"""A tokenizer as the files `transformers` reads, made in memory."""

import json
from collections.abc import Mapping, Sequence

TOKENIZER_JSON = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
GENERATION_CONFIG = "generation_config.json"

TokenizerFiles = Mapping[str, bytes]  # file name -> content


def build_files(
    tokenizer_json: str,
    *,
    special_tokens: Mapping[str, str],
    eos_ids: Sequence[int],
    chat_template: str | None,
) -> TokenizerFiles:
    """The files of a tokenizer in `tokenizers` form; `special_tokens` as {"eos_token": ...}."""
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # known to transformers 4 and 5
        "clean_up_tokenization_spaces": False,
        **special_tokens,
    }
    if chat_template:
        config["chat_template"] = chat_template
    generation = {"eos_token_id": list(eos_ids)}
    return {
        TOKENIZER_JSON: tokenizer_json.encode(),
        TOKENIZER_CONFIG: _json(config),
        GENERATION_CONFIG: _json(generation),
    }


def _json(content: Mapping) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
