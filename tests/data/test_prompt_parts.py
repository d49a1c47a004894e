"""Prompts in two parts: the tokens of whole texts, whatever the tokenizer, template and person."""

import logging

import pytest

from dvmap_jax.data.batches import DataConfig, prompt_tokens
from dvmap_jax.data.prompt_parts import PromptParts
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.survey.prompts import FIXED, SYSTEM_PROMPTS, TEMPLATES
from dvmap_jax.survey.synthetic import synthetic_examples

EXAMPLES = synthetic_examples(6, seed=2)
MADE = [name for name in TEMPLATES if name not in FIXED]


@pytest.fixture(params=["made here", "Qwen3's"])
def chosen(request) -> Tokenizer:
    """The tests' own tokenizer and a published one."""
    if request.param == "made here":
        return request.getfixturevalue("tokenizer")
    return Tokenizer.load(request.getfixturevalue("shared") / "qwen3_tokenizer")


def asked(example):
    return example.attributes, (example.question, example.option_list)


def parts_of(tokenizer, config, samples=EXAMPLES[:2]):
    how = {"template": config.template, "system_prompt": config.system_prompt}
    return PromptParts(tokenizer, samples=[asked(example) for example in samples], **how)


def prompts_of(parts):
    """The tokens of every example's prompt, an archetype's together."""
    people = dict.fromkeys(example.attributes for example in EXAMPLES)
    groups = [[asked(e)[1] for e in EXAMPLES if e.attributes == person] for person in people]
    return [
        row for person, group in zip(people, groups, strict=True) for row in parts(person, group)
    ]


@pytest.mark.parametrize("template", MADE)
@pytest.mark.parametrize("system_prompt", SYSTEM_PROMPTS)
def test_parts_join_to_the_tokens_of_the_whole_prompt(chosen, template, system_prompt, caplog):
    config = DataConfig(template=template, system_prompt=system_prompt)
    found = prompts_of(parts_of(chosen, config))
    assert found == [tuple(row) for row in prompt_tokens(EXAMPLES, chosen, config)]
    assert not caplog.records  # none of them was encoded whole


def test_what_is_said_of_a_person_begins_all_prompts_to_them(tokenizer):
    config = DataConfig(template="answer", system_prompt="none")
    parts = parts_of(tokenizer, config)
    for example, whole in zip(EXAMPLES, prompt_tokens(EXAMPLES, tokenizer, config), strict=True):
        person, question = asked(example)
        beginning = parts.person(person)
        assert whole[: len(beginning)] == list(beginning)
        assert whole[len(beginning) :] == list(parts.question(question))


def test_prompts_whose_parts_do_not_join_are_encoded_whole(tokenizer, monkeypatch, caplog):
    """Tokens of seven characters: where they end depends on all that comes before."""

    def sevens(texts):
        return [[hash(text[i : i + 7]) for i in range(0, len(text), 7)] for text in texts]

    monkeypatch.setattr(tokenizer, "encode_batch", sevens)
    config = DataConfig(template="answer", system_prompt="none")
    with caplog.at_level(logging.WARNING):
        found = prompts_of(parts_of(tokenizer, config, EXAMPLES[::16]))
    assert found == [tuple(row) for row in prompt_tokens(EXAMPLES, tokenizer, config)]
    assert caplog.messages == ["prompts of 'answer' are encoded whole: their parts do not join"]
