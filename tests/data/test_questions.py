"""The stream of archetypes and their questions: every option whole, every answer its own."""

import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest

from dvmap_jax.data.batches import DataConfig, prompt_tokens
from dvmap_jax.data.questions import QuestionStream
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.survey.prompts import option_completion, rewordings
from dvmap_jax.survey.synthetic import synthetic_examples

ARCHETYPES, QUESTIONS, TOGETHER = 6, 16, 5
PARTS = 4  # of an archetype: 5 + 5 + 5 + 1 questions
CONFIG = DataConfig(
    template="answer",
    system_prompt="none",
    batch_size=ARCHETYPES * PARTS,  # an epoch
    questions=TOGETHER,
    max_prompt_length=512,
)


def counted(examples):
    """Examples of which no two have as many respondents: number i has i + 1."""
    rng, found = np.random.default_rng(0), []
    for number, example in enumerate(examples):
        options = len(example.option_list)
        counts = rng.multinomial(number + 1, np.full(options, 1 / options))
        found.append(dataclasses.replace(example, answer_counts=tuple(counts.tolist())))
    return tuple(found)


EXAMPLES = counted(synthetic_examples(ARCHETYPES, seed=1))


@pytest.fixture(params=["made here", "Qwen3's"])
def chosen(request) -> Tokenizer:
    """The tests' own tokenizer and a published one."""
    if request.param == "made here":
        return request.getfixturevalue("tokenizer")
    return Tokenizer.load(request.getfixturevalue("shared") / "qwen3_tokenizer")


def asked(batch):
    """Places of the questions of a batch, and the numbers of their examples."""
    return [(b, q, int(batch.support[b, q]) - 1) for b, q in np.argwhere(batch.support)]


def read_back(batch, b, q, k):
    """Tokens that the state before each of an option's tokens sees, and that token."""
    trunk, forest = batch.levels[0], batch.forest
    above = trunk.tokens[b, 0, : trunk.lengths[b, 0]].tolist()
    size = forest.tokens.shape[-1]
    for target in batch.paths[b, q, k, : batch.lengths[b, q, k]]:
        n, t = divmod(int(forest.places[b, forest.sources[b, target]]), size)
        seen = forest.tokens[b, n, : t + 1][forest.ends[b, n, : t + 1] > t].tolist()
        assert forest.depths[b, n, t] + 1 == len(seen)
        yield above + seen, int(forest.targets[b, target])


def prompt_of(batch, b, q):
    return next(read_back(batch, b, q, 0))[0]


def assert_options(batch, b, q, example, tokenizer, config=CONFIG):
    """The paths of a question are its options' completions to their end, in codebook order."""
    prompt = prompt_of(batch, b, q)
    assert (batch.lengths[b, q] > 0).sum() == len(example.option_list)
    for k, option in enumerate(example.option_list):
        completion = tokenizer.encode(option_completion(option, template=config.template))
        completion.append(tokenizer.eos_ids[0])
        expected = [(prompt + completion[:i], token) for i, token in enumerate(completion)]
        assert list(read_back(batch, b, q, k)) == expected


def assert_equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, vars(ours), vars(theirs))


def test_every_option_follows_its_whole_prompt_token_by_token(chosen):
    batch = next(QuestionStream(EXAMPLES, chosen, CONFIG))
    whole = prompt_tokens(EXAMPLES, chosen, CONFIG)
    assert len(asked(batch)) == len(EXAMPLES)
    for b, q, number in asked(batch):
        assert prompt_of(batch, b, q) == whole[number]
        assert_options(batch, b, q, EXAMPLES[number], chosen)


def test_an_epoch_asks_every_question_of_every_archetype_once(tokenizer):
    """All parts of the first epoch were measured; one of a later one may lack room for a few."""
    stream, epochs = QuestionStream(EXAMPLES, tokenizer, CONFIG), []
    for epoch in range(4):
        batch, parts = next(stream), [[] for _ in range(CONFIG.batch_size)]
        for b, _, number in asked(batch):
            parts[b].append(number)
        together = list(itertools.chain(*parts))
        assert len(set(together)) == len(together) == len(EXAMPLES) - batch.left_out.sum()
        assert batch.left_out.sum() < (3 if epoch else 1)
        assert all(len({EXAMPLES[i].archetype for i in part}) == 1 for part in parts)
        sizes = sorted(batch.left_out + list(map(len, parts)))
        assert sizes == [1] * ARCHETYPES + [TOGETHER] * (PARTS - 1) * ARCHETYPES
        epochs.append({frozenset(part) for part in parts if len(part) > 1})
    assert not any(one & other for one, other in itertools.combinations(epochs, 2))


def test_the_seed_decides_what_is_asked_together(tokenizer):
    def first(seed):
        config = dataclasses.replace(CONFIG, shuffle_seed=seed)
        return next(QuestionStream(EXAMPLES, tokenizer, config)).support.tolist()

    assert first(0) == first(0) != first(1)


def test_shares_are_those_of_the_respondents_whom_support_counts(tokenizer):
    batch = next(QuestionStream(EXAMPLES, tokenizer, CONFIG))
    for b, q, number in asked(batch):
        counts = np.array(EXAMPLES[number].answer_counts)
        np.testing.assert_allclose(batch.shares[b, q, : len(counts)], counts / (number + 1), 1e-6)
        assert not batch.shares[b, q, len(counts) :].any()


def test_the_answer_has_all_shares_where_respondents_are_not_known(tokenizer):
    examples = synthetic_examples(ARCHETYPES, seed=1)
    batch = next(QuestionStream(examples, tokenizer, CONFIG))
    whole = prompt_tokens(examples, tokenizer, CONFIG)
    assert batch.support.sum() == len(examples)
    for b, q in np.argwhere(batch.support):
        example = examples[whole.index(prompt_of(batch, b, q))]
        shares = np.zeros(batch.shares.shape[-1])
        shares[example.option_list.index(example.answer)] = 1
        np.testing.assert_array_equal(batch.shares[b, q], shares)


def test_a_restored_position_goes_on_where_it_was(tokenizer):
    config = dataclasses.replace(CONFIG, batch_size=7, attribute_dropout=0.3, option_order="random")
    stream = QuestionStream(EXAMPLES, tokenizer, config)
    for _ in range(4):
        next(stream)
    state = json.loads(json.dumps(stream.state()))
    other = QuestionStream(EXAMPLES, tokenizer, config)
    other.restore(state)
    for _ in range(5):
        assert_equal(next(other), next(stream))


def test_processes_together_see_the_global_batches(tokenizer):
    config = dataclasses.replace(CONFIG, batch_size=7, rewordings=True)  # over epochs' ends
    whole, owned = QuestionStream(EXAMPLES, tokenizer, config), ([4, 0], [1, 2, 3, 6, 5])
    parts = [QuestionStream(EXAMPLES, tokenizer, config, own=own) for own in owned]
    back = np.argsort([*owned[0], *owned[1]])
    for _ in range(8):
        expected, found = next(whole), [vars(next(part)) for part in parts]
        for one in found:
            assert one.pop("num_roots") == expected.num_roots == 7
        joined = jax.tree.map(lambda *rows: np.concatenate(rows)[back], *found)
        assert_equal(expected, dataclasses.replace(expected, **joined))


MARKS = {
    "Country": " from ",
    "Life Stage": ", aged ",
    "Income": "household",
    "Language": "You speak",
}


def test_attributes_are_left_out_as_often_as_asked_and_answers_stay(tokenizer):
    config = dataclasses.replace(CONFIG, attribute_dropout=0.25)
    rows = prompt_tokens(EXAMPLES, tokenizer, CONFIG)
    assert all(mark in tokenizer.decode(row) for mark in MARKS.values() for row in rows)
    stream, missing = QuestionStream(EXAMPLES, tokenizer, config), []
    for _ in range(10):
        batch = next(stream)
        for b, q, number in asked(batch):
            example, text = EXAMPLES[number], tokenizer.decode(prompt_of(batch, b, q))
            assert f"Question: {example.question}\nOptions: {example.options}" in text
            counts = np.array(example.answer_counts)
            found = batch.shares[b, q, : len(counts)]
            np.testing.assert_allclose(found, counts / (number + 1), 1e-6)
            if not q:  # a root has one person
                missing.append([mark not in text for mark in MARKS.values()])
    shares = np.mean(missing, axis=0)  # of 240 draws, with a standard deviation of 0.028
    assert np.abs(shares - 0.25).max() < 0.085 and len(np.unique(missing, axis=0)) > 8


def test_a_dropout_of_one_asks_nobody_in_particular(tokenizer):
    config = dataclasses.replace(CONFIG, attribute_dropout=1)
    batch = next(QuestionStream(EXAMPLES, tokenizer, config))
    texts = [tokenizer.decode(prompt_of(batch, b, q)) for b, q, _ in asked(batch)]
    assert texts and all("\nYou are a person.\n" in text for text in texts)


def test_options_are_listed_in_many_orders_and_answers_keep_the_codebooks(tokenizer):
    config = dataclasses.replace(CONFIG, option_order="random")
    stream = QuestionStream(EXAMPLES, tokenizer, config)
    orders = {number: set() for number in range(len(EXAMPLES))}
    for _ in range(6):
        batch = next(stream)
        for b, q, number in asked(batch):
            example = EXAMPLES[number]
            listed = tokenizer.decode(prompt_of(batch, b, q)).split("Options: ")[1]
            listed = listed.split("\nassistant")[0]
            texts = map(", ".join, itertools.permutations(example.option_list))
            assert listed in texts
            orders[number].add(listed)
            assert_options(batch, b, q, example, tokenizer, config)
    assert np.mean([len(found) > 2 for found in orders.values()]) > 0.9


@pytest.mark.parametrize("template", ["answer", "reasoning"])
def test_rewordings_are_whole_prompts_of_the_family_for_the_same_answers(tokenizer, template):
    config = dataclasses.replace(CONFIG, template=template, rewordings=True, max_prompt_length=1024)
    names = (template, *rewordings(template))
    whole = {
        name: prompt_tokens(EXAMPLES, tokenizer, dataclasses.replace(config, template=name))
        for name in names
    }
    batch, used = next(QuestionStream(EXAMPLES, tokenizer, config)), [set() for _ in range(24)]
    for b, q, number in asked(batch):
        used[b] |= {name for name in names if whole[name][number] == prompt_of(batch, b, q)}
        assert_options(batch, b, q, EXAMPLES[number], tokenizer, config)
    assert all(len(each) == 1 for each in used) and set().union(*used) == set(names)


def test_overlong_prompts_are_refused_by_name_or_skipped_and_counted(tokenizer):
    lengths = [len(row) for row in prompt_tokens(EXAMPLES, tokenizer, CONFIG)]
    limit = int(np.median(lengths))
    fits = {number for number, length in enumerate(lengths) if length <= limit}
    first = next(number for number in range(len(EXAMPLES)) if number not in fits)
    config = dataclasses.replace(CONFIG, max_prompt_length=limit)
    match = rf"example {first} \({EXAMPLES[first].question_id}, .*{lengths[first]} tokens, over"
    with pytest.raises(ValueError, match=match):
        QuestionStream(EXAMPLES, tokenizer, config)
    stream = QuestionStream(EXAMPLES, tokenizer, dataclasses.replace(config, overlong="skip"))
    assert stream.num_skipped == len(EXAMPLES) - len(fits)
    assert {number for _, _, number in asked(next(stream))} == fits
    with pytest.raises(ValueError, match="none of 96 prompts has at most 3 tokens"):
        short = dataclasses.replace(config, overlong="skip", max_prompt_length=3)
        QuestionStream(EXAMPLES, tokenizer, short)


@pytest.mark.parametrize("smaller", [{"rows": 1}, {"size": 80, "rows": 5}, {"targets": 64}])
def test_questions_for_which_there_is_no_room_are_left_out_and_counted(tokenizer, smaller):
    stream = QuestionStream(EXAMPLES, tokenizer, CONFIG)
    forest = dataclasses.replace(stream.shapes.forest, **smaller)
    assert forest != stream.shapes.forest
    stream.shapes = dataclasses.replace(stream.shapes, forest=forest)
    batch, whole = next(stream), prompt_tokens(EXAMPLES, tokenizer, CONFIG)
    assert batch.forest.tokens.shape[1:] == (forest.rows, forest.size)
    found = asked(batch)
    assert 0 < len(found) == len(EXAMPLES) - batch.left_out.sum() < len(EXAMPLES)
    for b, q, number in found:
        assert prompt_of(batch, b, q) == whole[number]
        assert_options(batch, b, q, EXAMPLES[number], tokenizer)


def test_a_template_that_stands_in_the_corpus_is_refused(tokenizer):
    config = dataclasses.replace(CONFIG, template="released")
    with pytest.raises(ValueError, match="'released', whose prompts stand in the corpus.* use 'an"):
        QuestionStream(EXAMPLES, tokenizer, config)
