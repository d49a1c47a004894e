"""Text to tokens and back: a tokenizer's files in, token ids, chat prompts and stop tokens out."""

import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import tokenizers
import transformers

from dvmap_jax.data.gguf_tokenizer import read_gguf_tokenizer
from dvmap_jax.data.tokenizer_files import (
    GENERATION_CONFIG,
    TOKENIZER_CONFIG,
    TOKENIZER_JSON,
    TokenizerFiles,
    build_files,
    generation_config,
)

DATE = "26 Jul 2024"  # Llama 3's template asks for one; its own default, so prompts never change
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
ROLES = ("system", "user", "assistant")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# What belongs to a tokenizer, wherever it comes from.
FILE_NAMES = (
    TOKENIZER_JSON,
    TOKENIZER_CONFIG,
    GENERATION_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "merges.txt",
)


class Tokenizer:
    """A Hugging Face tokenizer with its chat template and stop tokens."""

    def __init__(
        self,
        backend: transformers.PreTrainedTokenizerBase,
        files: TokenizerFiles,
        *,
        source: pathlib.Path | None = None,
    ):
        """`source` is the folder or file they were read from, for messages."""
        self._backend, self._source = backend, source
        self.eos_ids = _eos_ids(backend, files)
        pad = backend.pad_token_id
        self.pad_id: int = self.eos_ids[0] if pad is None else pad
        # Where a source leaves it out, whoever loads what we save must still know when to stop.
        stop = generation_config(eos_ids=self.eos_ids, bos_id=backend.bos_token_id, pad_id=pad)
        self._files = {GENERATION_CONFIG: stop, **files}

    @classmethod
    def load(cls, path: str | pathlib.Path) -> "Tokenizer":
        """The tokenizer of a Hugging Face folder or inside a GGUF file; never from a network.

        Raises FileNotFoundError for a path that is not there and ValueError for one without a
        tokenizer or with a pre-tokenizer we do not know.
        """
        path = pathlib.Path(path)
        if not path.exists():
            raise FileNotFoundError(f"tokenizer {path} does not exist")
        if path.is_file():
            return cls._build(read_gguf_tokenizer(path), source=path)
        if not any((path / name).is_file() for name in (TOKENIZER_JSON, "vocab.json")):
            raise ValueError(f"{path} holds no {TOKENIZER_JSON}; it is no tokenizer folder")
        files = {name: (path / name).read_bytes() for name in FILE_NAMES if (path / name).is_file()}
        try:
            backend = transformers.AutoTokenizer.from_pretrained(
                path, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # transformers and tokenizers raise bare Exceptions here
            raise ValueError(f"{path} holds a tokenizer that cannot be read: {error}") from error
        return cls(backend, files, source=path)

    @classmethod
    def train(
        cls, texts: Sequence[str], vocab_size: int, *, whole: Sequence[str] = ()
    ) -> "Tokenizer":
        """A byte-level BPE of at most `vocab_size` tokens with a ChatML template.

        The same texts give the same tokenizer. Digits are single tokens, and so is each of
        `whole`, which are counted in `vocab_size`.
        """
        specials = [END_OF_TEXT, TURN_START, TURN_END]
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        least = len(specials) + len(whole) + len(alphabet)
        if vocab_size < least:
            raise ValueError(
                f"a tokenizer of {vocab_size} tokens is too small; the bytes, special tokens and "
                f"words kept whole alone are {least}"
            )
        trained = _empty_bpe()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size - len(whole),
            special_tokens=specials,
            initial_alphabet=sorted(alphabet),
            show_progress=False,
        )
        # Every prompt is rendered with role names, so they are learned beside the texts.
        roles = [f"{role}\n" for role in ROLES] * len(texts)
        trained.train_from_iterator([*texts, *roles], trainer)
        trained.add_tokens([tokenizers.AddedToken(each, normalized=False) for each in whole])
        files = build_files(
            trained.to_str(),
            special_tokens={"eos_token": TURN_END, "pad_token": END_OF_TEXT},
            eos_ids=[trained.token_to_id(TURN_END), trained.token_to_id(END_OF_TEXT)],
            chat_template=CHAT_TEMPLATE,
        )
        return cls._build(files)

    @classmethod
    def _build(cls, files: TokenizerFiles, *, source: pathlib.Path | None = None) -> "Tokenizer":
        """The tokenizer that files in memory describe, as `load` would read them from a folder."""
        config = json.loads(files[TOKENIZER_CONFIG])
        del config["tokenizer_class"]
        backend = transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizers.Tokenizer.from_buffer(files[TOKENIZER_JSON]), **config
        )
        return cls(backend, files, source=source)

    @property
    def vocab_size(self) -> int:
        """The number of tokens, added ones included; a model's table may have more rows."""
        return len(self._backend)

    @property
    def fingerprint(self) -> str:
        """A hash of the tokenizer's files: equal for tokenizers that cannot differ."""
        digest = hashlib.sha256()
        for name, content in sorted(self._files.items()):
            digest.update(f"{name} {len(content)} ".encode() + content)
        return digest.hexdigest()

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; special tokens only where the text spells them."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, as `encode` gives them."""
        if not texts:
            return []
        return self._backend(list(texts), add_special_tokens=False)["input_ids"]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out, spaces as they are."""
        return self._backend.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def decode_rows(self, tokens: np.ndarray, lengths: np.ndarray) -> list[str]:
        """Texts of rows [B, T] of which the first `lengths` tokens are valid."""
        return [
            self.decode(row[:length].tolist()) for row, length in zip(tokens, lengths, strict=True)
        ]

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Chat messages as the text a completion follows; without thinking, on a fixed date.

        Raises ValueError where the tokenizer has no chat template.
        """
        if not self._backend.chat_template:
            raise ValueError(
                f"the tokenizer {self._source or 'trained here'} has no chat template; take an "
                "instruct model, or put a chat_template.jinja beside its tokenizer.json"
            )
        return self._backend.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
            date_string=DATE,
        )

    def save(self, folder: str | pathlib.Path) -> None:
        """Writes the tokenizer's files into `folder`, where `load` and AutoTokenizer find them."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self._files.items():
            (folder / name).write_bytes(content)


def _eos_ids(
    backend: transformers.PreTrainedTokenizerBase, files: TokenizerFiles
) -> tuple[int, ...]:
    """The tokenizer's own end token first, since it ends a turn, then generation_config's."""
    named = json.loads(files.get(GENERATION_CONFIG, b"{}")).get("eos_token_id")
    others = named if isinstance(named, list) else [named]
    ids = [token for token in (backend.eos_token_id, *others) if token is not None]
    if not ids:
        raise ValueError(
            f"the tokenizer names no end of sequence; give eos_token in {TOKENIZER_CONFIG} or "
            f"eos_token_id in {GENERATION_CONFIG}"
        )
    return tuple(dict.fromkeys(ids))


def _empty_bpe() -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.decoder = tokenizers.decoders.ByteLevel()
    return made
