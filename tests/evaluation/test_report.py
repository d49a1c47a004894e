"""What a terminal is shown of results."""

import pytest

from dvmap_jax.evaluation.comparison import Estimate, Gap
from dvmap_jax.evaluation.report import results_table, verdict_line

MEASURED = {
    "accuracy": 0.5,
    "accuracy/low": 0.4444,
    "accuracy/high": 0.5556,
    "accuracy/macro": 0.49,
    "num_rows": 1920.0,
}
SURE = {"nll": 1.2, "wasserstein/probabilities": 0.0625, "dispersion_retention": 0.75}
ROWS = [
    ("uniform", MEASURED | {"nll": 1.3}),
    ("majority", MEASURED),
    ("after GRPO", MEASURED | SURE | {"reward": 1.25, "reward/low": 1, "reward/high": 1.5}),
]


def gap(minus: str, value: float, low: float, high: float) -> Gap:
    return Gap("heldout", "after GRPO", minus, Estimate(value, low, high), 0.0123, 1920)


GAPS = [gap("uniform", 0.3, 0.2, 0.4), gap("majority", 0.0254, 0.001, 0.05)]


def test_table_reads_as_printed():
    narrow = [("uniform", MEASURED), ("after GRPO", MEASURED | {"reward": 1.25})]
    assert results_table(narrow).splitlines() == [
        "model                     accuracy  reward",
        "----------  ----------------------  ------",
        "uniform     0.500 (0.444 to 0.556)       -",
        "after GRPO  0.500 (0.444 to 0.556)   1.250",
    ]


def test_every_line_says_what_is_known_of_it():
    heading, _, *lines = (line.split("  ") for line in results_table(ROWS, GAPS).splitlines())
    cells = [[cell.strip() for cell in line if cell.strip()] for line in (heading, *lines)]
    accuracy = "0.500 (0.444 to 0.556)"
    assert cells == [
        [
            *("model", "accuracy", "NLL", "Wasserstein", "dispersion", "reward"),
            "model minus this",
        ],
        ["uniform", accuracy, "1.300", "-", "-", "-", "+0.300 (+0.200 to +0.400)"],
        ["majority", accuracy, "-", "-", "-", "-", "+0.025 (+0.001 to +0.050)"],
        ["after GRPO", accuracy, "1.200", "0.062", "0.750", "1.250 (1.000 to 1.500)", "-"],
    ]


def test_no_rows_leave_the_headings():
    assert results_table([]).count("\n") == 1


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.001, 0.05, "beats"), (-0.001, 0.05, "does not beat"), (-0.2, -0.1, "is below")],
)
def test_the_first_line_is_about_the_strongest_baseline(low, high, said):
    gaps = [GAPS[0], gap("majority", (low + high) / 2, low, high)]
    line = verdict_line(ROWS, gaps)
    assert line.startswith(f"after GRPO {said} the strongest baseline, majority: accuracy ")
    assert f"{(low + high) / 2:+.3f} (95 % interval" in line
    assert f"{low:+.3f} to {high:+.3f}, p 0.012)" in line
    assert line.endswith("; NLL 1.200, below uniform's 1.300")


def test_the_first_line_of_a_file_calls_uniform_by_its_longer_name():
    rows = [("baseline:uniform", {"nll": 1.1}), *ROWS[1:]]
    assert verdict_line(rows, GAPS).endswith("; NLL 1.200, not below uniform's 1.100")


def test_the_first_line_leaves_out_a_loss_that_is_not_known():
    assert verdict_line(ROWS[1:], GAPS).endswith("p 0.012)")
    assert verdict_line(ROWS[:2], GAPS).endswith("p 0.012)")
