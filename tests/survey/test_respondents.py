"""Survey files in every form they come in, and those that are not one."""

import gzip
import json
import zipfile

import numpy as np
import pytest

from dvmap_jax.survey.codebook import read_codebook
from dvmap_jax.survey.respondents import BLANK, ReadConfig, read_respondents

CODEBOOK = {
    "name": "small",
    "respondent": "ID",
    "wave": "WAVE",
    "weight": "W",
    "missing": {"no answer": [-2], "not asked": [-4]},
    "attributes": [
        {"name": "Country", "variable": "LAND", "labels": {"840": "US", "392": "Japan"}},
        {"name": "Gender", "variable": "SEX", "labels": {"2": "Female", "1": "Male"}},
        {
            "name": "Life Stage",
            "variable": "AGE",
            "labels": {"0": "young", "35": "middle", "65": "old"},
            "binned": True,
            "required": True,
        },
    ],
    "questions": [
        {"id": "Q1", "section": "S", "text": "One?", "options": {"1": "Yes", "2": "No"}},
        {
            "id": "Q2",
            "section": "S",
            "text": "Two?",
            "options": {"0": "0", "1": "1", "2": "2"},
            "recode": {"0": "Low", "1": "Low", "2": "High"},
        },
    ],
}
HEADER = ["EXTRA", "ID", "WAVE", "W", "LAND", "SEX", "AGE", "Q1", "Q2"]
ROWS = [
    ["x", "1", "7", "0.5", "840", "1", "34", "1", "0"],
    ["y", "2", "7", "1", "392", "2", "35", "-2", "2"],
    ["z", "3", "6", "2.25", "840", "-2", "64", "2", ""],
    ["w", "4", "7", "1", "840", "2.0", "-2", "-4", "1"],
]


@pytest.fixture
def codebook(tmp_path):
    path = tmp_path / "codebook.json"
    path.write_text(json.dumps(CODEBOOK))
    return read_codebook(path)


def text(rows=ROWS, header=HEADER, separator=","):
    return "".join(separator.join(row) + "\n" for row in [header, *rows])


def changed(row, column, value):
    rows = [list(each) for each in ROWS]
    rows[row][HEADER.index(column)] = value
    return rows


def read(path, codebook, **options):
    progress = options.pop("progress", lambda done, whole: None)
    config = ReadConfig(**options)
    return read_respondents(
        path, codebook, questions=codebook.questions, config=config, progress=progress
    )


def zipped(path, *names):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, text())
    return path


def written(folder, form):
    path = folder / f"survey.{'csv.gz' if form == 'gz' else 'zip' if form == 'zip' else 'csv'}"
    if form == "zip":
        return zipped(path, "readme.txt", "survey.csv")
    separator = ";" if form == "semicolon" else ","
    content = text(separator=separator).encode("utf-8-sig" if form == "bom" else "utf-8")
    if form == "quoted":
        content = text([[f'"{cell}"' for cell in row] for row in ROWS]).encode()
    if form == "windows":
        content = content.replace(b"\n", b"\r\n")
    path.write_bytes(gzip.compress(content) if form == "gz" else content)
    return path


@pytest.mark.parametrize("form", ["comma", "semicolon", "bom", "gz", "zip", "quoted", "windows"])
def test_every_form_gives_the_same_codes(tmp_path, codebook, form):
    found = read(written(tmp_path, form), codebook, weighted=True)
    assert found.attributes.tolist() == [[0, 1, 0], [1, 0, 1], [0, -1, 1], [0, 0, -1]]
    assert found.answers["Q1"].tolist() == [1, -2, 2, -4]  # kinds of missing answers stay apart
    assert found.answers["Q2"].tolist() == [0, 2, BLANK, 1]
    assert found.weights.tolist() == [0.5, 1, 2.25, 1] and found.waves.tolist() == [7, 7, 6, 7]


def test_countries_and_waves_choose_respondents(tmp_path, codebook):
    path = written(tmp_path, "comma")
    assert len(read(path, codebook, countries=("US",))) == 3
    assert read(path, codebook, waves=(6,)).answers["Q1"].tolist() == [2]
    with pytest.raises(ValueError, match=r"no respondent left: countries \['Japan'\], waves \[6\]"):
        read(path, codebook, countries=("Japan",), waves=(6,))
    with pytest.raises(ValueError, match=r"no country is called 'Jpan'; nearest: 'Japan'"):
        read(path, codebook, countries=("Jpan",))


def test_only_what_is_chosen_must_be_known(tmp_path, codebook):
    path = tmp_path / "survey.csv"
    path.write_text(text(changed(1, "Q1", "9")))
    assert len(read(path, codebook, countries=("US",))) == 3
    with pytest.raises(ValueError, match=r"survey.csv has codes .* know: Q1 9 \(1 times\); add"):
        read(path, codebook)
    assert read(path, codebook, unknown="missing").answers["Q1"].tolist() == [1, BLANK, 2, -4]


def test_many_blocks_are_one_file(tmp_path, codebook, monkeypatch):
    monkeypatch.setattr("dvmap_jax.survey.survey_file.BLOCK_BYTES", 256)
    rows = [[f"{i}", f"{i}", *ROWS[i % 4][2:]] for i in range(500)]
    path = tmp_path / "survey.csv"
    path.write_text(text(rows))
    told = []
    found = read(path, codebook, progress=lambda done, whole: told.append((done, whole)))
    np.testing.assert_array_equal(found.answers["Q1"], np.tile([1, -2, 2, -4], 125))
    assert len(told) > 20 and told[-1] == (path.stat().st_size,) * 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (text(separator="|"), "one column; columns must be separated"),
        (text(header=[*HEADER[:-2], "Q01", "Q2"]), "no column 'Q1'; nearest"),
        (text(changed(2, "LAND", "841")), r"LAND 841 \(1 times\)"),
        (text(changed(1, "ID", "1")), "ID '1' occurs more than once"),
        (text(changed(2, "Q1", "often")), "column Q1 holds 'often', which is no code"),
        (text(changed(2, "W", "-1")), "column W holds a weight that is negative"),
        (text(changed(2, "W", "many")), "column W holds a weight that is no number"),
        (text([*ROWS[:2], ROWS[2][:-1]]), r"Row #4: Expected 9 columns, got 8"),
        ("", "one column"),
        (text([]), "no respondent below it"),
        (b"PK\xff\xfe\x00\x01" * 50, "is not a csv file"),
    ],
)
def test_files_that_are_no_survey_say_why(tmp_path, codebook, content, said):
    path = tmp_path / "survey.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=said) as caught:
        read(path, codebook, weighted=True)
    assert "survey.csv" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["gz", "zip"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_damaged_archives_say_so(tmp_path, codebook, form, share):
    path = written(tmp_path, form)
    content = path.read_bytes()
    path.write_bytes(content[: max(3, int(share * len(content)))])
    with pytest.raises(ValueError, match=r"survey\S+ is damaged or incomplete.*fetch it again"):
        read(path, codebook)


def test_archives_hold_one_table(tmp_path, codebook):
    path = zipped(tmp_path / "two.zip", "a.csv", "b.csv")
    with pytest.raises(ValueError, match=r"two.zip holds 2 csv files"):
        read(path, codebook)
    with pytest.raises(FileNotFoundError, match=r"no survey file at .*nowhere.csv"):
        read(tmp_path / "nowhere.csv", codebook)


def entry(kind, number, **fields):
    book = json.loads(json.dumps(CODEBOOK))
    book[kind][number] |= fields
    return book


@pytest.mark.parametrize(
    ("book", "said"),
    [
        ([], "a codebook is a JSON object"),
        (CODEBOOK | {"respondent": ""}, "respondent is ''"),
        (entry("attributes", 1, name="Gendr"), "no attribute 'Gendr'; nearest: 'Gender'"),
        (entry("attributes", 0, name="Religion"), "the attribute 'Country' is missing"),
        (entry("attributes", 1, labels={"one": "Male"}), r"attribute 1 \(Gender\): labels has"),
        (entry("attributes", 1, labels={"-1": "Male"}), "negative code; those belong"),
        (entry("questions", 1, recode={"0": "Low"}), r"question 1 \(Q2\): recode and options"),
        (entry("questions", 0, options={"1": "Yes"}), "two or more options"),
        (entry("questions", 0, options={"1": "Yes, a lot", "2": "No"}), "separates options"),
        (entry("questions", 0, id="Q2"), "the question 'Q2' occurs more than once"),
    ],
)
def test_codebooks_with_mistakes_say_where(tmp_path, book, said):
    path = tmp_path / "codebook.json"
    path.write_text(json.dumps(book))
    with pytest.raises(ValueError, match=said) as caught:
        read_codebook(path)
    assert str(path) in str(caught.value)
