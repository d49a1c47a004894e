"""Prompts of the released corpus in tokens of the real Qwen3 tokenizer."""

import os
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from dvmap_jax.survey.corpus import read_examples
from dvmap_jax.survey.prompts import messages

SHARED = Path(__file__).parents[3] / "shared"
RELEASED, TOKENIZER = SHARED / "dvmap_corpus" / "dev.parquet", SHARED / "qwen3_tokenizer"
pytestmark = pytest.mark.skipif(
    not (RELEASED.exists() and TOKENIZER.exists()),
    reason=f"no released corpus and tokenizer under {SHARED}",
)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(TOKENIZER, local_files_only=True)


@pytest.fixture(scope="module")
def archetypes():
    """Examples of every tenth archetype, by archetype."""
    groups = {}
    for example in read_examples(RELEASED):
        groups.setdefault(example.archetype, []).append(example)
    return [groups[name] for name in sorted(groups)[::10]]


# Over all 460 archetypes: 137, 316 and 413 tokens on average, of which an archetype's questions
# share 93, 272 and 365; the longest question alone has 60 tokens.
@pytest.mark.parametrize(
    ("template", "mean", "longest", "shared"),
    [
        ("answer", 140, 180, 0.65),
        ("answer_reworded_1", 160, 200, 0.65),
        ("answer_reworded_2", 160, 200, 0.65),
        ("reasoning", 320, 360, 0.84),
        ("reasoning_reworded_1", 320, 360, 0.84),
        ("reasoning_reworded_2", 320, 360, 0.84),
        ("released", 420, 470, 0.87),
    ],
)
def test_prompts_are_short_and_mostly_shared(
    tokenizer, archetypes, template, mean, longest, shared
):
    lengths, prefixes = [], []
    for examples in archetypes:
        chats = [messages(e, template=template, system_prompt="default") for e in examples]
        texts = tokenizer.apply_chat_template(
            chats, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        tokens = tokenizer(texts, add_special_tokens=False)["input_ids"]
        lengths += map(len, tokens)
        prefixes += [len(os.path.commonprefix(tokens))] * len(tokens)
    assert sum(lengths) / len(lengths) < mean
    assert max(lengths) < longest
    assert sum(prefixes) / sum(lengths) > shared
