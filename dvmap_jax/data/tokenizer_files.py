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
    vocabulary = json.loads(tokenizer_json)["model"]["vocab"]
    ids = {name: vocabulary.get(token) for name, token in special_tokens.items()}
    stop = generation_config(
        eos_ids=eos_ids, bos_id=ids.get("bos_token"), pad_id=ids.get("pad_token")
    )
    return {
        TOKENIZER_JSON: tokenizer_json.encode(),
        TOKENIZER_CONFIG: _json(config),
        GENERATION_CONFIG: stop,
    }


def generation_config(*, eos_ids: Sequence[int], bos_id: int | None, pad_id: int | None) -> bytes:
    """A generation_config.json that says where sequences begin and end; None is left out."""
    ids = {"bos_token_id": bos_id, "eos_token_id": list(eos_ids), "pad_token_id": pad_id}
    return _json({name: value for name, value in ids.items() if value is not None})


def _json(content: Mapping) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
