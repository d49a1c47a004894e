"""scripts/report.py as a person runs it."""

import importlib.util
import subprocess
import sys

import pytest

from dvmap_jax.evaluation.comparison import COUNTRY_MAJORITY


@pytest.fixture(scope="module")
def invented(root):
    """The module beside the tests of evaluation that invents results."""
    file = root / "tests" / "evaluation" / "invented_results.py"
    spec = importlib.util.spec_from_file_location("invented_results", file)
    module = sys.modules.setdefault(spec.name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def report(root, tmp_path):
    """Runs the script on folders, into a folder `out`."""

    def run(folders, *flags):
        results = f"--results={','.join(map(str, folders))}"
        command = [sys.executable, "scripts/report.py", results, f"--output={tmp_path / 'out'}"]
        return subprocess.run([*command, *flags], cwd=root, capture_output=True, text=True)

    return run


def test_a_report_of_three_models_and_a_run(report, invented, tmp_path):
    folders = invented.write_evaluations(tmp_path, archetypes=3)
    workdir = invented.write_workdir(tmp_path / "run")
    done = report(folders, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    assert "the country majority on cross_country" in done.stdout
    assert COUNTRY_MAJORITY in done.stdout and "unseen countries" in done.stdout
    output = tmp_path / "out"
    assert {path.name for path in output.iterdir()} == {"report.html", "report.md", "figures"}
    assert done.stdout.split("\n\nreport  ")[0] in (output / "report.md").read_text("utf-8")
    assert (output / "figures" / "learning.png").is_file()


def test_a_mistake_is_one_line_and_leaves_nothing(report, invented, tmp_path):
    folders = invented.write_evaluations(
        tmp_path, archetypes=2, benchmarks=("test",), models=invented.MODELS[:1]
    )
    for wrong, flags in (([*folders, tmp_path / "none"], ()), (folders, ("--workdir=none",))):
        done = report(wrong, "--nofigures", *flags)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert "is missing" in done.stderr
    assert not (tmp_path / "out").exists()
