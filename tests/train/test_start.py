"""What a run from scratch begins with."""

import dataclasses

import pytest
from run_configs import TINY_RUN

from dvmap_jax.rl.rewards import TAGS
from dvmap_jax.survey.synthetic import synthetic_examples
from dvmap_jax.train import start
from dvmap_jax.train.weights import WeightsConfig

EXAMPLES = synthetic_examples(12, seed=0)
CONFIG = dataclasses.replace(TINY_RUN, weights=WeightsConfig(tokenizer="train:600"))


def test_a_tokenizer_from_prompts_has_the_tags_of_answers_whole():
    tokenizer = start.new_tokenizer(CONFIG, EXAMPLES)
    assert [len(tokenizer.encode(tag)) for tag in TAGS] == [1] * len(TAGS)
    assert tokenizer.vocab_size == 600


@pytest.mark.parametrize("many", (5, len(EXAMPLES) // 2, len(EXAMPLES)))
def test_a_tokenizer_learns_from_a_bounded_number_of_prompts(monkeypatch, many):
    every = start.training_texts(CONFIG, EXAMPLES)
    monkeypatch.setattr(start, "MANY_PROMPTS", many)
    some = start.training_texts(CONFIG, EXAMPLES)
    assert len(every) // len(EXAMPLES) * many <= len(some) < len(every) // len(EXAMPLES) * 2 * many
    assert set(some) <= set(every)
