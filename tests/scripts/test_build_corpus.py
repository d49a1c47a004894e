"""scripts/build_corpus.py as a person runs it, on the synthetic survey's file."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from dvmap_jax.survey.benchmark import SPLITS
from dvmap_jax.survey.corpus import read_examples
from dvmap_jax.survey.synthetic_survey import write_synthetic_survey


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return write_synthetic_survey(tmp_path_factory.mktemp("survey"), num_respondents=3000, seed=0)


@pytest.fixture
def build(root, tmp_path):
    def run(survey, *flags):
        command = [sys.executable, "scripts/build_corpus.py", f"--survey={survey}", *flags]
        output = f"--output={tmp_path / 'corpus'}"
        return subprocess.run([*command, output], cwd=root, capture_output=True, text=True)

    return run


def test_the_released_rule_on_the_default_questions(build, survey, tmp_path):
    done = build(survey)
    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path / "corpus" / "corpus.json").read_text())
    assert len(said["questions"]) == 16 and said["num_respondents"] == 3000
    for name in SPLITS:
        assert said["num_examples"][name] == len(
            pd.read_parquet(tmp_path / "corpus" / f"{name}.parquet")
        )
    examples = read_examples(tmp_path / "corpus")
    egypt = {example.question_id for example in examples if example.country == "Egypt"}
    assert len(egypt) == 14 and not egypt & {"Q36", "Q69"}
    assert all(example.attributes[9] != "Not Answered" for example in examples)
    assert f"{said['num_examples']['train']:9} examples" in done.stdout


def test_the_synthetic_survey_by_name_and_held_out_parts(build, tmp_path):
    held = ["--heldout_countries=Japan;India", "--heldout_questions=Q69,Q1"]
    done = build("synthetic", "--respondents=2000", "--rule=consensus", "--min_support=1", *held)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "corpus_survey" / "survey.csv").exists()
    abroad = read_examples(tmp_path / "corpus" / "cross_country.parquet")
    assert {example.country for example in abroad} == {"Japan", "India"}
    other = read_examples(tmp_path / "corpus" / "cross_value.parquet")
    assert {example.question_id for example in other} == {"Q69", "Q1"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--countries=Jpan"], "no country is called 'Jpan'; nearest: 'Japan'"),
        (["--questions=Q1,Q999"], "has no question 'Q999'"),
        (["--rule=consensus", "--min_support=900"], "min_support=900"),
        (["--heldout_questions=Q2x"], "hold out the question 'Q2x'; nearest: 'Q2'"),
        (["--attributes=Gendr"], "nearest: 'Gender'"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(build, survey, tmp_path, flags, said):
    done = build(survey, *flags)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1 and len(lines) == 1 and said in lines[0], done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
