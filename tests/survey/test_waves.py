"""Several files in one: waves with codebooks of their own, batches, dates."""

import dataclasses

import numpy as np
import pytest

from dvmap_jax.survey.archetypes import RuleConfig, cells_of, group_respondents
from dvmap_jax.survey.codebook import Attribute, Codebook, Question
from dvmap_jax.survey.respondents import BLANK, NO_LABEL, ReadConfig
from dvmap_jax.survey.waves import joined_codebook, read_surveys

ONE = Question("Q1", "S", "One?", ("Yes", "No"), ((1,), (2,)))
TWO = Question("Q2", "S", "Two?", ("Low", "High"), ((1, 2), (3,)))
EARLIER = Question("Q1", "S", "Once?", ("Yes", "No"), ((1,), (2,)), column="V4")
LANDS = Attribute("Country", "LAND", ((840, "US"), (392, "Japan")))
OLD_LANDS = Attribute("Country", "V2", ((3, "Japan"), (1, "France"), (2, "US")))
SEXES = Attribute("Gender", "SEX", ((1, "Male"), (2, "Female")))
MISSING = (("no answer", (-2,)),)
NEW = Codebook("new", "ID", "WAVE", "", MISSING, (LANDS, SEXES), (ONE, TWO), date="DATE")
OLD = Codebook("old", "NR", "WAVE", "", MISSING, (OLD_LANDS,), (EARLIER,))
NEW_ROWS = ["ID,WAVE,DATE,LAND,SEX,Q1,Q2", "1,7,2018,840,1,1,3", "2,7,20190401,392,2,2,-2"]
OLD_ROWS = ["NR,WAVE,V2,V4", "1,6,1,2", "2,6,2,1", "3,6,3,-2"]


def written(path, rows):
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def files(tmp_path):
    return [written(tmp_path / "new.csv", NEW_ROWS), written(tmp_path / "old.csv", OLD_ROWS)]


def read(files, codebooks, questions=("Q1", "Q2"), **choice):
    return read_surveys(files, codebooks, questions=questions, config=ReadConfig(**choice))


def test_labels_are_matched_by_text_and_codes_of_waves_kept_apart(files):
    found = read(files, [NEW, OLD])
    assert found.codebook.country.values == ("US", "Japan", "France")
    assert found.attributes.tolist() == [[0, 0], [1, 1], [2, -1], [0, -1], [1, -1]]
    assert found.answers["Q1"].tolist() == [1, 2, 2, 1, -2]
    assert found.answers["Q2"].tolist() == [3, -2, BLANK, BLANK, BLANK]
    assert found.waves.tolist() == [7, 7, 6, 6, 6]
    assert NO_LABEL == -1


def test_archetypes_belong_to_a_wave(files):
    found = read(files, [NEW, OLD])
    config = RuleConfig(attributes=("Country",))
    archetypes = group_respondents(found, config.attributes)
    assert archetypes.waves.tolist() == [6, 7, 6, 7, 6]
    assert archetypes.attributes[:, 0].tolist() == [0, 0, 1, 1, 2]
    cells = cells_of(found, archetypes, found.questions[0], config=config)
    assert cells.answer.tolist() == [0, 0, -1, 1, 1]


def test_waves_and_dates_choose_respondents(files, tmp_path):
    only = read(files[:1], [NEW], as_of="2018")
    assert only.ids.tolist() == ["1"]
    assert len(read(files[:1], [NEW], as_of="2019-03")) == 1
    assert len(read(files[:1], [NEW], as_of="2019-04")) == 2
    assert len(read(files[:1], [NEW], as_of="2019-04-01")) == 2
    with pytest.raises(ValueError, match="interviewed by 2017"):
        read(files[:1], [NEW], as_of="2017")
    with pytest.raises(ValueError, match="'old' names no variable for as_of"):
        read(files[1:], [OLD], questions=("Q1",), as_of="2018")
    with pytest.raises(ValueError, match="as_of is 'May'; give YYYY"):
        ReadConfig(as_of="May")


def test_a_batch_adds_to_the_archetypes_of_its_wave(files, tmp_path):
    batch = written(tmp_path / "batch.csv", [NEW_ROWS[0], "3,7,2020,840,1,2,1"])
    found = read([files[0], batch], [NEW])
    archetypes = group_respondents(found)
    cells = cells_of(found, archetypes, ONE, config=RuleConfig())
    assert len(archetypes) == 2 and cells.support.tolist() == [2, 1]


def test_a_respondent_in_two_files_is_named(files, tmp_path):
    again = written(tmp_path / "again.csv", [NEW_ROWS[0], NEW_ROWS[2]])
    with pytest.raises(ValueError, match=r"new.csv and \S+again.csv: ID '2' occurs more than once"):
        read([files[0], again], [NEW])
    third = written(tmp_path / "third.csv", ["ID,WAVE,DATE,LAND,SEX,Q1,Q2", "1,6,2012,840,1,1,3"])
    assert len(read([files[0], third], [NEW])) == 3  # another wave, another respondent


def test_codebooks_that_contradict_each_other_are_refused(files):
    other = dataclasses.replace(OLD, questions=(dataclasses.replace(EARLIER, codes=((2,), (1,))),))
    with pytest.raises(ValueError, match="Q1 has other options or codes in old than in new"):
        joined_codebook([NEW, other])
    with pytest.raises(ValueError, match="2 survey files and 3 codebooks"):
        read(files, [NEW, OLD, OLD])
    with pytest.raises(ValueError, match="new has no question 'Q3'; nearest: 'Q2'"):
        read(files, [NEW, OLD], questions=("Q3",))


def test_a_file_without_names_of_respondents_warns(tmp_path):
    rows = [",".join(row.split(",")[1:]) for row in NEW_ROWS]
    path = written(tmp_path / "nameless.csv", rows)
    with pytest.warns(UserWarning, match="no column ID; repeated respondents go unseen"):
        found = read([path], [NEW])
    assert len(found) == 2 and len(found.ids) == 0


def test_progress_counts_the_bytes_of_all_files(files):
    told = []
    read_surveys(
        files,
        [NEW, OLD],
        questions=("Q1",),
        config=ReadConfig(),
        progress=lambda done, whole: told.append((done, whole)),
    )
    whole = sum(path.stat().st_size for path in files)
    assert told[-1] == (whole, whole) and np.all(np.diff([done for done, _ in told]) >= 0)
