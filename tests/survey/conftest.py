"""A corpus as the command builds it, shared by the tests that read one."""

import pytest

from dvmap_jax.survey.build import BuildConfig, build_corpus
from dvmap_jax.survey.codebook import QUESTIONS, wave7
from dvmap_jax.survey.respondents import read_respondents
from dvmap_jax.survey.synthetic import planted_by_question
from dvmap_jax.survey.synthetic_survey import write_synthetic_survey


@pytest.fixture(scope="session")
def built_corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    survey = write_synthetic_survey(folder / "survey", num_respondents=4000, seed=0)
    respondents = read_respondents(survey, wave7(), questions=QUESTIONS)
    build_corpus(
        respondents,
        folder / "corpus",
        BuildConfig(),
        source={"file": "survey.csv"},
        planted=planted_by_question,
    )
    return folder / "corpus"
