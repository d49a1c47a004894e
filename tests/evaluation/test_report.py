"""The plain table of results."""

from dvmap_jax.evaluation.report import results_table

MEASURED = {
    "accuracy": 0.5,
    "accuracy/low": 0.4444,
    "accuracy/high": 0.5556,
    "accuracy/macro": 0.49,
    "num_rows": 1920.0,
}


def test_table_reads_as_printed():
    rows = [("uniform", MEASURED), ("after GRPO", MEASURED | {"reward": 1.25})]
    assert results_table(rows).splitlines() == [
        "model       accuracy   95 % interval  macro  reward  95 % interval  rows",
        "----------  --------  --------------  -----  ------  -------------  ----",
        "uniform        0.500  0.444 to 0.556  0.490       -              -  1920",
        "after GRPO     0.500  0.444 to 0.556  0.490   1.250              -  1920",
    ]


def test_interval_of_the_reward_is_shown_with_it():
    line = results_table([("m", {"reward": 1, "reward/low": 0.9, "reward/high": 1.1})])
    assert "1.000  0.900 to 1.100" in line.splitlines()[-1]


def test_no_rows_leave_the_headings():
    assert results_table([]).count("\n") == 1
