"""The stream of prompts: nothing lost, one order for every number of processes, resumable."""

import collections
import json

import numpy as np
import pytest

from dvmap_jax.data.batches import DataConfig, PromptStream, prompt_tokens
from dvmap_jax.survey.synthetic import synthetic_examples

EXAMPLES = synthetic_examples(6, seed=1)[:90]  # the last archetype lacks some questions
PROMPT = {"template": "answer", "system_prompt": "none", "max_prompt_length": 512}
ARCHETYPES = DataConfig(**PROMPT, batch_by="archetype", batch_size=4, questions=5)
PROMPTS = DataConfig(**PROMPT, batch_size=6)


def identity(example):
    return None if example is None else (example.archetype, example.question_id)


def rows_of(batch):
    """Each row's tokens, trunk and branch joined."""
    rows = []
    for root, n in np.ndindex(batch.levels[-1].lengths.shape):
        row = []
        for level in batch.levels:
            parent = n // (batch.levels[-1].lengths.shape[1] // level.lengths.shape[1])
            row += level.tokens[root, parent, : level.lengths[root, parent]].tolist()
        rows.append(row)
    return rows


@pytest.mark.parametrize("config", [ARCHETYPES, PROMPTS], ids=["archetype", "prompt"])
def test_an_epoch_holds_every_prompt_once_and_whole(tokenizer, config):
    stream = PromptStream(EXAMPLES, tokenizer, config)
    seen, taken = collections.Counter(), 0
    while taken < len(stream.units) * config.batch_size:  # whole epochs, however batches fall
        batch = next(stream)
        taken += config.batch_size
        for example, row in zip(batch.examples, rows_of(batch), strict=True):
            seen[identity(example)] += 1
            if example is not None:
                assert [row] == prompt_tokens([example], tokenizer, config)
    epochs = taken // len(stream.units)
    assert {identity(e): epochs for e in EXAMPLES} == {k: v for k, v in seen.items() if k}


def test_questions_of_an_archetype_share_their_trunk(tokenizer):
    batch = next(PromptStream(EXAMPLES, tokenizer, ARCHETYPES))
    trunks, branches = batch.levels
    assert trunks.tokens.shape[:2] == (4, 1) and branches.tokens.shape[:2] == (4, 5)
    assert trunks.lengths.min() > 40  # the description of the person
    for root in range(4):
        part = [e for e in batch.examples[5 * root : 5 * root + 5] if e]
        assert len({e.archetype for e in part}) == 1


def test_epochs_are_shuffled_differently_by_the_seed(tokenizer):
    def order(seed, batches):
        config = DataConfig(**PROMPT, batch_size=30, shuffle_seed=seed)
        stream = PromptStream(EXAMPLES, tokenizer, config)
        return [identity(e) for _ in range(batches) for e in next(stream).examples]

    twice = order(0, 6)
    assert sorted(twice[:90]) == sorted(twice[90:]) and twice[:90] != twice[90:]
    assert twice[:90] == order(0, 3) != order(1, 3)


@pytest.mark.parametrize("config", [ARCHETYPES, PROMPTS], ids=["archetype", "prompt"])
def test_processes_together_see_the_global_batches(tokenizer, config):
    whole = PromptStream(EXAMPLES, tokenizer, config)
    halves = np.split(np.arange(config.batch_size), 2)
    parts = [PromptStream(EXAMPLES, tokenizer, config, own=own) for own in halves]
    for _ in range(7):
        expected, found = next(whole), [next(part) for part in parts]
        assert expected.examples == found[0].examples + found[1].examples
        for number, level in enumerate(expected.levels):
            pair = [part.levels[number] for part in found]
            np.testing.assert_array_equal(level.tokens, np.concatenate([p.tokens for p in pair]))
            np.testing.assert_array_equal(level.lengths, np.concatenate([p.lengths for p in pair]))
        np.testing.assert_array_equal(expected.rows, np.concatenate([f.rows for f in found]))


def test_a_restored_position_goes_on_where_it_was(tokenizer):
    stream = PromptStream(EXAMPLES, tokenizer, ARCHETYPES)
    for _ in range(5):
        next(stream)
    state = json.loads(json.dumps(stream.state()))
    expected = [next(stream).examples for _ in range(6)]
    other = PromptStream(EXAMPLES, tokenizer, ARCHETYPES)
    other.restore(state)
    assert [next(other).examples for _ in range(6)] == expected


def test_overlong_prompts_are_refused_by_name_or_skipped_and_counted(tokenizer):
    lengths = [len(row) for row in prompt_tokens(EXAMPLES, tokenizer, PROMPTS)]
    limit = int(np.median(lengths))
    how = {**PROMPT, "max_prompt_length": limit, "batch_size": 6}
    first = next(i for i, n in enumerate(lengths) if n > limit)
    with pytest.raises(ValueError, match=rf"example {first} \(Q.*{lengths[first]} tokens, over"):
        PromptStream(EXAMPLES, tokenizer, DataConfig(**how))
    stream = PromptStream(EXAMPLES, tokenizer, DataConfig(**how, overlong="skip"))
    assert stream.num_skipped == sum(n > limit for n in lengths)
    assert len(stream.units) == len(EXAMPLES) - stream.num_skipped
    none = DataConfig(**{**how, "max_prompt_length": 3}, overlong="skip")
    with pytest.raises(ValueError, match=r"none of 90 prompts has at most 3 tokens"):
        PromptStream(EXAMPLES, tokenizer, none)
