"""The invented survey: in form like the released one, and learnable."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from dvmap_jax.survey.codebook import ATTRIBUTES, NOT_ANSWERED, QUESTIONS
from dvmap_jax.survey.splits import split_examples
from dvmap_jax.survey.synthetic import planted_probabilities, synthetic_examples


@pytest.fixture(scope="module")
def splits():
    return split_examples(synthetic_examples(600, 0), fraction=0.2, seed=0)


def test_seed_decides_everything():
    assert synthetic_examples(30, 1) == synthetic_examples(30, 1)
    assert synthetic_examples(30, 1) != synthetic_examples(30, 2)


def test_labels_are_those_of_the_codebook():
    examples = synthetic_examples(600, 3)
    assert len(examples) == 600 * len(QUESTIONS)
    assert len({example.archetype for example in examples}) == 600
    for place, attribute in enumerate(ATTRIBUTES):
        seen = {example.attributes[place] for example in examples}
        assert seen <= {*attribute.values, NOT_ANSWERED}
        assert len(seen) >= 2
    assert all(example.answer in example.option_list for example in examples)
    assert Counter(example.country for example in examples).most_common()[-1][1] >= 50 * 16


def test_attributes_hang_together():
    examples = synthetic_examples(600, 0)
    assert {e.attributes[-1] for e in examples if e.country == "Japan"} == {"Japanese"}
    young = {e.attributes[5] for e in examples if e.attributes[8] == "Young Adulthood"}
    assert "Retired/pensioned" not in young


def test_planted_shares_sum_to_one():
    labels = np.array([example.attributes for example in synthetic_examples(20, 0)[::16]])
    for shares, question in zip(planted_probabilities(labels), QUESTIONS, strict=True):
        assert shares.shape == (20, len(question.options))
        assert (shares > 0).all()
        np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)


def test_what_can_be_learned(splits):
    """Measured: .504 per question, .565 per (country, question), .655 regression, .769 planted."""
    by_question = majority_accuracy(splits, lambda e: e.question_id)
    by_country = majority_accuracy(splits, lambda e: (e.country, e.question_id))
    regression, planted = regression_accuracy(splits), planted_accuracy(splits.cross_demographic)
    assert 0.45 < by_question < 0.55
    assert by_question + 0.03 < by_country
    assert by_country + 0.05 < regression
    assert by_country + 0.12 < planted


def majority_accuracy(splits, key) -> float:
    counts = defaultdict(Counter)
    for example in splits.train:
        counts[key(example)][example.answer] += 1
    best = {cell: answers.most_common(1)[0][0] for cell, answers in counts.items()}
    return float(np.mean([best[key(e)] == e.answer for e in splits.cross_demographic]))


def planted_accuracy(examples) -> float:
    shares = planted_probabilities(np.array([e.attributes for e in examples[::16]]))
    best = np.stack([each.argmax(axis=1) for each in shares], axis=1).ravel()
    return float(np.mean(best == [e.answer_index for e in examples]))


def regression_accuracy(splits) -> float:
    """Multinomial logistic regression on one-hot labels, one a question, by gradient descent."""
    train, heldout = splits.train, splits.cross_demographic
    names = sorted({(i, label) for e in train for i, label in enumerate(e.attributes)})
    X, Z = one_hot(train[::16], names), one_hot(heldout[::16], names)
    right = []
    for start, question in enumerate(QUESTIONS):
        answers = np.eye(len(question.options))[[e.answer_index for e in train[start::16]]]
        weights = np.zeros((X.shape[1], len(question.options)))
        for _ in range(300):
            shares = np.exp(X @ weights)
            shares /= shares.sum(axis=1, keepdims=True)
            weights -= 0.5 * (X.T @ (shares - answers) / len(X) + 0.01 * weights)
        predicted = (Z @ weights).argmax(axis=1)
        right.append(predicted == [e.answer_index for e in heldout[start::16]])
    return float(np.mean(right))


def one_hot(examples, names) -> np.ndarray:
    return np.array([[e.attributes[i] == label for i, label in names] for e in examples], float)
