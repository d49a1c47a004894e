"""Figures for papers, and the numbers behind a reliability diagram."""

import sys

import numpy as np
import pandas as pd
import pytest
from invented_results import MODELS, write_evaluations, write_workdir

from dvmap_jax.evaluation.comparison import compare
from dvmap_jax.evaluation.figures import reliability, write_figures
from dvmap_jax.evaluation.learning_curves import learning_curves

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def test_every_figure_is_a_picture(tmp_path):
    folders = write_evaluations(tmp_path, archetypes=4, benchmarks=("test", "mine"))
    curves = learning_curves(write_workdir(tmp_path / "run"))
    written = write_figures(compare(folders), tmp_path / "figures", curves=curves)
    maps = {f"map-{name}-model{place}.png" for name in ("test", "mine") for place in (1, 2, 3)}
    names = {"accuracy.png", "calibration.png", "robustness.png", "learning.png"} | maps
    assert {path.name for path in written} == names
    for path in written:
        picture = path.read_bytes()
        assert picture.startswith(SIGNATURE)
        assert int.from_bytes(picture[16:20]) >= 1000  # pixels across


def test_what_was_not_measured_is_not_drawn(tmp_path):
    folders = write_evaluations(tmp_path, archetypes=2, benchmarks=("mine",), models=MODELS[:1])
    written = write_figures(compare(folders), tmp_path / "figures")
    assert [path.name for path in written] == [
        "accuracy.png",
        "calibration.png",
        "map-mine-model1.png",
    ]


def test_reliability_is_that_worked_by_hand():
    rows = pd.DataFrame(
        {
            "options": [["a", "b"]] * 5,
            "answer": ["a", "b", "b", "a", "a"],
            "probabilities": [[0.62, 0.38], [0.36, 0.64], [0.66, 0.34], [1.0, 0.0], None],
        }
    )
    expected = [[0.64, 2 / 3, 3], [1.0, 1.0, 1]]
    np.testing.assert_allclose(reliability(rows), expected)
    assert len(reliability(rows.drop(columns="probabilities"))) == 0


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    folders = write_evaluations(tmp_path, archetypes=2, benchmarks=("mine",), models=MODELS[:1])
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match=r'pip install "dvmap-jax\[report\]".*--nofigures'):
        write_figures(compare(folders), tmp_path / "figures")
