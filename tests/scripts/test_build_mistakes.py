"""What a person can get wrong with a survey file: one line that helps, and nothing half-written."""

import gzip
import json
import resource
import subprocess
import sys

import pytest

from dvmap_jax.survey.codebook import WAVE7_FILE
from dvmap_jax.survey.synthetic_survey import write_synthetic_survey


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    folder = tmp_path_factory.mktemp("survey")
    return write_synthetic_survey(folder, num_respondents=600, seed=0)


@pytest.fixture
def message(root, tmp_path):
    """Runs the script, which must fail with one line and leave an older corpus as it was."""

    def run(survey, *flags, before=None):
        output = tmp_path / "out" / "corpus"
        if not output.exists():
            output.mkdir(parents=True)
            (output / "corpus.json").write_text("{}")
        command = [sys.executable, "scripts/build_corpus.py", f"--survey={survey}", *flags]
        done = subprocess.run(
            [*command, f"--output={output}"],
            cwd=root,
            capture_output=True,
            text=True,
            preexec_fn=before,
        )
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert done.returncode == 1 and len(lines) == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert [path.name for path in output.parent.iterdir()] == ["corpus"]
        assert [path.name for path in output.iterdir()] == ["corpus.json"]
        return lines[0]

    return run


def table(survey):
    return [line.split(",") for line in survey.read_text().splitlines()]


def written(path, rows, separator=","):
    path.write_text("\n".join(separator.join(row) for row in rows) + "\n")
    return path


def changed(survey, path, column, value, rows=slice(1, None)):
    cells = table(survey)
    place = cells[0].index(f'"{column}"') if f'"{column}"' in cells[0] else cells[0].index(column)
    for row in cells[rows]:
        row[place] = value
    return written(path, cells)


def test_not_a_csv(message, tmp_path):
    path = tmp_path / "survey.csv"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    assert f"{path} is not a csv file" in message(path)


def test_wrong_separator(message, survey, tmp_path):
    path = written(tmp_path / "pipes.csv", table(survey), separator="|")
    assert "columns must be separated by a comma, a semicolon or a tab" in message(path)


def test_a_needed_column_is_absent(message, survey, tmp_path):
    cells = table(survey)
    place = [name.strip('"') for name in cells[0]].index("Q273")
    path = written(tmp_path / "less.csv", [row[:place] + row[place + 1 :] for row in cells])
    assert "the first line has no column 'Q273'; nearest: " in message(path)


def test_unknown_codes_are_listed_with_counts(message, survey, tmp_path):
    path = changed(survey, tmp_path / "odd.csv", "Q1", "77", slice(1, 4))
    path = changed(path, tmp_path / "odder.csv", "Q27", "9", slice(5, 6))
    line = message(path)
    assert "Q1 77 (3 times), Q27 9 (1 times)" in line and "--unknown=missing" in line


def test_a_respondent_twice(message, survey, tmp_path):
    cells = table(survey)
    path = written(tmp_path / "twice.csv", [*cells, cells[5]])
    line = message(path)
    assert f"D_INTERVIEW '{cells[5][3]}' occurs more than once" in line and "1 such rows" in line


def test_a_country_without_any_valid_answer(message, survey, tmp_path):
    cells = table(survey)
    names = [name.strip('"') for name in cells[0]]
    asked = [names.index(name) for name in ("Q1", "Q2")]
    for row in cells[1:]:
        if row[names.index("B_COUNTRY")] == "392":
            for place in asked:
                row[place] = "-4"
    path = written(tmp_path / "silent.csv", cells)
    line = message(path, "--questions=Q1,Q2")
    assert "Japan: nobody gave a valid answer to any question" in line and "--countries" in line


def test_an_empty_result_names_the_filter(message, survey):
    line = message(survey, "--rule=consensus", "--min_support=500", "--max_entropy=0")
    assert "no cell is left: min_support=500 and max_entropy=0.0 keep nothing; loosen it" in line
    assert "no respondent left: countries ['Japan'], waves [6]" in message(
        survey, "--countries=Japan", "--waves=6"
    )
    assert "interviewed by 2001" in message(survey, "--as-of=2001")


@pytest.mark.parametrize("ending", ["csv.gz", "zip"])
def test_truncated_archives(message, survey, tmp_path, ending):
    path = tmp_path / f"survey.{ending}"
    path.write_bytes(gzip.compress(survey.read_bytes())[:5000])
    assert f"{path} is damaged or incomplete" in message(path)


def test_a_disk_that_fills_up(message, survey):
    """No file may grow beyond 4 kB, so that writing fails as on a full disk."""

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    line = message(survey, before=small)
    assert "File too large" in line and "corpus could not be written; what was there is" in line


def test_unknown_names_offer_the_nearest(message, survey):
    assert "'Germny'; nearest: 'Germany'" in message(survey, "--countries=Germny;Japan")
    assert "has no question 'Q2773'; nearest: 'Q77'" in message(survey, "--questions=Q1,Q2773")
    assert "hold out the country 'Jpan'; nearest: 'Japan'" in message(
        survey, "--heldout_countries=Jpan"
    )


def test_a_codebook_that_contradicts_the_file(message, survey, tmp_path):
    """One that knows fewer codes than occur, one with a column that is not there, one unread."""
    book = json.loads(WAVE7_FILE.read_text(encoding="utf-8"))
    narrow, other = json.loads(json.dumps(book)), json.loads(json.dumps(book))
    del narrow["scales"]["importance"]["options"]["4"]
    other["attributes"][1]["variable"] = "SEX"
    for name, content, said in (
        ("narrow", narrow, "Q1 4 ("),
        ("other", other, "has no column 'SEX'"),
        ("broken", [], "a codebook is a JSON object"),
    ):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(content))
        assert said in message(survey, f"--codebook={path}")


def test_what_cannot_be_compared(message, survey, tmp_path):
    assert "holds no corpus.json; compare with a corpus" in message(
        survey, f"--compare={tmp_path / 'nowhere'}"
    )
