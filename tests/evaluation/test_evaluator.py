"""The evaluator's trees against the model run on one plain row at a time."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dvmap_jax.data.batches import DataConfig, prompt_tokens
from dvmap_jax.evaluation.evaluator import EvaluationConfig, Evaluator, chosen
from dvmap_jax.evaluation.journal import identity
from dvmap_jax.model.config import ModelConfig
from dvmap_jax.model.transformer import Transformer
from dvmap_jax.survey.answers import read_strict
from dvmap_jax.survey.prompts import option_completion
from dvmap_jax.survey.synthetic import synthetic_examples

MODEL = Transformer(
    ModelConfig(
        vocab_size=600, width=32, mlp_width=48, num_layers=2, head_dim=8, initializer_range=0.2
    )
)
DATA = DataConfig(template="answer", system_prompt="none", max_prompt_length=512)
EXAMPLES = synthetic_examples(5, seed=3)[:70]  # 4 archetypes with 16 questions, one with 6


@pytest.fixture(scope="module")
def params():
    return MODEL.init(jax.random.key(1))


def evaluate(params, tokenizer, *, mode, data=DATA, **options):
    config = EvaluationConfig(modes=(mode,), **options)
    evaluator = Evaluator(MODEL, tokenizer, config=config, data=data)
    return evaluator(params, evaluator.prepare(EXAMPLES), mode=mode)


@jax.jit
def all_logprobs(params, row):
    positions = jnp.arange(row.shape[0])[None, None]
    hidden, _ = MODEL.extend(params, row[None, None], positions, jnp.asarray([[row.shape[0]]]))
    return jax.nn.log_softmax(MODEL.logits(params, hidden[0, 0]))


def continuation_logprobs(params, prompt, completion) -> np.ndarray:
    """Log-probability of each token of a completion; the row is padded so it compiles once."""
    row = np.zeros(640, np.int32)
    row[: len(prompt) + len(completion)] = [*prompt, *completion]
    table = np.asarray(all_logprobs(params, row))
    return table[np.arange(len(prompt) - 1, len(prompt) + len(completion) - 1), completion]


def option_rows(params, tokenizer, example) -> list[np.ndarray]:
    """For each option of an example the log-probability of each of its tokens."""
    (prompt,) = prompt_tokens([example], tokenizer, DATA)
    texts = [option_completion(option, template="answer") for option in example.option_list]
    return [continuation_logprobs(params, prompt, row) for row in tokenizer.encode_batch(texts)]


@pytest.mark.parametrize("normalize", ["sum", "mean", "contrast"])
def test_scores_are_those_of_plain_rows(params, tokenizer, normalize):
    found = evaluate(params, tokenizer, mode="score", normalize=normalize, batch_size=2)
    assert found["number"].tolist() == list(range(len(EXAMPLES)))
    for number in range(0, len(EXAMPLES), 9):
        example = EXAMPLES[number]
        rows = option_rows(params, tokenizer, example)
        expected = np.array([row.mean() if normalize == "mean" else row.sum() for row in rows])
        if normalize == "contrast":
            nobody = option_rows(params, tokenizer, dataclasses.replace(example, attributes=()))
            expected -= [row.sum() for row in nobody]
        np.testing.assert_allclose(found["logprobs"][number], expected, rtol=1e-4, atol=1e-4)
        shares = np.exp(expected) / np.exp(expected).sum()
        np.testing.assert_allclose(found["probabilities"][number], shares, atol=1e-4)
        best = example.option_list[expected.argmax()]
        assert found["predicted"][number] == best
        assert found["correct"][number] == (best == example.answer)


def test_contrast_leaves_nothing_to_choose_where_nobody_is_asked(params, tokenizer):
    """The question alone against itself: every option scores 0, all are as likely."""
    config = EvaluationConfig(normalize="contrast", batch_size=3)
    evaluator = Evaluator(MODEL, tokenizer, config=config, data=DATA)
    nobody = [dataclasses.replace(example, attributes=()) for example in EXAMPLES[:20]]
    benchmark = evaluator.prepare([*nobody, *EXAMPLES[20:40]])
    assert len(benchmark.prompts) == 40 + len({example.question for example in EXAMPLES[:40]})
    found = evaluator(params, benchmark, mode="score")
    for example, scores, shares in zip(
        nobody, found["logprobs"], found["probabilities"], strict=False
    ):
        np.testing.assert_allclose(scores, 0, atol=1e-4)
        np.testing.assert_allclose(shares, 1 / len(example.option_list), atol=1e-4)
    assert max(abs(score) for scores in found["logprobs"][20:] for score in scores) > 0.1


def test_contrast_needs_a_template_that_can_ask_nobody(tokenizer):
    config = EvaluationConfig(normalize="contrast")
    data = dataclasses.replace(DATA, template="released")
    evaluator = Evaluator(MODEL, tokenizer, config=config, data=data)
    with pytest.raises(ValueError, match="'released' cannot: use 'answer' or 'reasoning'"):
        evaluator.prepare(EXAMPLES)


def test_batch_size_and_questions_a_tree_change_no_score(params, tokenizer):
    one = evaluate(params, tokenizer, mode="score", batch_size=1, questions=5)
    other = evaluate(params, tokenizer, mode="score", batch_size=4, questions=16)
    for a, b in zip(one["logprobs"], other["logprobs"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_greedy_completions_are_those_of_plain_rows(params, tokenizer):
    options = {"temperature": 0.0, "max_tokens": 6, "batch_size": 2}
    found = evaluate(params, tokenizer, mode="generate", **options)
    prompts = prompt_tokens(EXAMPLES, tokenizer, DATA)
    for number in (0, 17, 69):
        row, length = np.zeros(640, np.int32), len(prompts[number])
        row[:length] = prompts[number]
        written = []
        while len(written) < 6 and (not written or written[-1] not in tokenizer.eos_ids):
            at = length + len(written)
            row[at] = np.asarray(all_logprobs(params, row))[at - 1].argmax()
            written.append(int(row[at]))
        tokens, lengths = np.asarray([written]), np.asarray([len(written)])
        assert found["completions"][number] == tokenizer.decode_rows(tokens, lengths)


def test_samples_differ_and_are_the_same_whatever_the_batch(params, tokenizer):
    options = {"temperature": 1.0, "max_tokens": 8, "samples": 3}
    one = evaluate(params, tokenizer, mode="generate", batch_size=1, **options)
    other = evaluate(params, tokenizer, mode="generate", batch_size=5, **options)
    assert one["completions"].tolist() == other["completions"].tolist()
    assert len({tuple(texts) for texts in one["completions"]}) > 60
    for texts, example in zip(one["completions"], EXAMPLES, strict=True):
        assert len(set(texts)) == 3
        assert all(read_strict(text, example.option_list) is None for text in texts)
    assert not one["correct"].any() and not one["readable"].any()


def test_an_overlong_prompt_is_named(params, tokenizer):
    data = DataConfig(template="answer", system_prompt="none", max_prompt_length=60)
    with pytest.raises(ValueError, match=r"held-out example 0 \(Q.*max_prompt_length = 60"):
        evaluate(params, tokenizer, mode="score", data=data)


def test_chosen_takes_whole_archetypes_in_a_seeded_order():
    config = EvaluationConfig(max_examples=20, max_generated=3)
    scored = chosen(EXAMPLES, config, mode="score")
    assert len(scored) == 20 and len({e.archetype for e in scored}) == 2
    assert chosen(EXAMPLES, config, mode="generate") == scored[:3]
    assert chosen(EXAMPLES, EvaluationConfig(), mode="score") is EXAMPLES


def test_rows_say_what_was_asked_and_of_whom(params, tokenizer):
    for mode in ("score", "generate"):
        found = evaluate(params, tokenizer, mode=mode, max_tokens=2, samples=2)
        row = found.iloc[17].to_dict()
        assert row.items() >= identity(EXAMPLES[17], benchmark="heldout", number=17).items()
    assert row["predictions"] == [None, None] and row["predicted"] is None


@pytest.mark.parametrize(("name", "options"), [("none", ""), ("one", "Yes")])
def test_a_question_without_a_choice_is_named(tokenizer, name, options):
    examples = [EXAMPLES[0], dataclasses.replace(EXAMPLES[1], options=options)]
    evaluator = Evaluator(MODEL, tokenizer, config=EvaluationConfig(), data=DATA)
    with pytest.raises(ValueError, match=rf"benchmark 'new' row 1 \({EXAMPLES[1].question_id}, "):
        evaluator.prepare(examples, name="new")
    with pytest.raises(ValueError, match="benchmark 'new' has no examples"):
        evaluator.prepare([], name="new")
