"""The table that a run ends in, on rows and metrics that were invented."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from dvmap_jax.config import RunConfig
from dvmap_jax.evaluation.baselines import baseline_results
from dvmap_jax.survey.corpus import CorpusConfig
from dvmap_jax.survey.splits import load_corpus
from dvmap_jax.train import finish
from dvmap_jax.train.measure import Measurement, heldout_file, read_heldout
from dvmap_jax.train.start import WARM_START

CONFIG = RunConfig(corpus=CorpusConfig(synthetic_archetypes=20))
STEP = 30


def measurement(results: pd.DataFrame) -> Measurement:
    """One that has evaluated, without a model."""
    measured = Measurement.__new__(Measurement)
    measured.results = results
    return measured


def logged(workdir, *rows):
    """A run's metrics.jsonl, of (step, accuracy, NLL)."""
    workdir.mkdir(parents=True, exist_ok=True)
    lines = [{"step": step, "actor/lr": 0.1} for step, _, _ in rows]
    for step, accuracy, nll in rows:
        found = {"accuracy": accuracy, "nll": nll}
        lines.append({"step": step} | {f"eval/score/{name}": v for name, v in found.items()})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (workdir / "metrics.jsonl").write_text(text, encoding="utf-8")


@pytest.fixture
def rows(monkeypatch) -> pd.DataFrame:
    """A model's answers to the held-out examples, all but every third right."""
    monkeypatch.setattr(finish, "BASELINES", ("uniform", "fixed_first", "majority_question"))
    heldout = load_corpus(CONFIG.corpus).heldout
    table = baseline_results("uniform", [], heldout)
    return table.assign(correct=[float(number % 3 != 0) for number in range(len(table))])


def cells(table: str, name: str) -> list[str]:
    (line,) = (line for line in table.splitlines() if line.startswith(f"{name}  "))
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_the_final_model_is_compared_with_every_baseline_row_by_row(tmp_path, rows):
    logged(tmp_path, (0, 0.25, None), (10, 0.5, 1.2), (STEP, 0.75, 0.9), (40, 0.6, 1.5))
    measurement(rows).keep(tmp_path, STEP, also=None)
    first, *table = finish.comparison(CONFIG, tmp_path, STEP).splitlines()
    heldout = load_corpus(CONFIG.corpus).heldout
    first_option = np.array([e.answer_index == 0 for e in heldout])
    even = np.array([1 / len(e.option_list) for e in heldout])
    for name, correct in (("fixed_first", first_option), ("uniform", even)):
        gap = (rows["correct"] - correct).mean()
        assert cells("\n".join(table), name)[-1].startswith(f"{gap:+.3f} (")
    assert first.startswith("after grpo beats the strongest baseline, majority_question: accuracy")
    surprise = np.mean([np.log(len(e.option_list)) for e in heldout])
    assert first.endswith(f"; NLL 0.900, below uniform's {surprise:.3f}")
    assert cells("\n".join(table), "before")[1:3] == ["0.250", "-"]
    assert cells("\n".join(table), "after grpo")[1:3] == ["0.750", "0.900"]


def test_a_model_that_answers_as_a_baseline_does_has_no_lead(tmp_path, rows):
    logged(tmp_path, (0, 0.2, 1.3), (STEP, 0.4, 1.4))
    corpus = load_corpus(CONFIG.corpus)
    same = baseline_results("majority_question", corpus.train, corpus.heldout)
    measurement(same).keep(tmp_path, STEP, also=None)
    first = finish.comparison(CONFIG, tmp_path, STEP).splitlines()[0]
    said = "after grpo does not beat the strongest baseline, majority_question: accuracy +0.000"
    assert first.startswith(said) and ", not below uniform's" in first


def test_a_warm_start_has_its_own_line(tmp_path, rows):
    logged(tmp_path / WARM_START, (0, 0.21, 1.3), (5, 0.42, 1.1))
    logged(tmp_path, (0, 0.43, 1.1), (STEP, 0.5, 1.0))
    config = dataclasses.replace(CONFIG, warm_start_steps=5)
    table = finish.comparison(config, tmp_path, STEP)
    assert cells(table, "before")[1] == "0.210" and cells(table, "after warm start")[1] == "0.430"


def test_without_rows_there_is_no_difference_and_it_is_said(tmp_path, rows):
    logged(tmp_path, (0, 0.25, 1.3), (STEP, 0.75, 0.9))
    first, heading, *_ = finish.comparison(CONFIG, tmp_path, STEP).splitlines()
    missing = f"{heldout_file(tmp_path, STEP)} is missing"
    assert first == f"{missing}, so after grpo has no differences from baselines"
    assert "minus" not in heading


def test_rows_of_a_step_are_kept_as_they_are(tmp_path, rows):
    said = [["É\n<answer>"]] * len(rows)
    shown = rows.assign(completions=said, truncated=0.0, answer_counts=[[1, 2]] + [None] * 159)
    for _ in range(2):
        measurement(shown).keep(tmp_path, 3, also=None)
        text = heldout_file(tmp_path, 3).read_text(encoding="utf-8")
        assert text.count("\n") == len(rows) and "É" in text
    found = read_heldout(tmp_path, 3)
    assert found.drop(columns="probabilities").equals(shown.drop(columns="probabilities"))
    np.testing.assert_allclose(found["probabilities"][0], rows["probabilities"][0], rtol=1e-14)
    measurement(shown).keep(tmp_path / "again", 3, also=None)
    assert heldout_file(tmp_path / "again", 3).read_text(encoding="utf-8") == text


def test_only_rows_of_the_latest_and_the_best_step_stay(tmp_path, rows):
    for step, best in ((0, None), (10, None), (20, 10), (30, 10), (40, 30)):
        measurement(rows).keep(tmp_path, step, also=best)
    assert {file.name for file in (tmp_path / "heldout").iterdir()} == {"30.jsonl", "40.jsonl"}
    assert read_heldout(tmp_path, 20) is None
