"""A report on disk: evaluation folders in; `report.html` and `report.md` out."""

import pathlib
from collections.abc import Sequence

from dvmap_jax.evaluation.comparison import Comparison, compare
from dvmap_jax.evaluation.learning_curves import learning_curves
from dvmap_jax.evaluation.report_data import report_data
from dvmap_jax.evaluation.report_markdown import report_markdown
from dvmap_jax.evaluation.report_page import report_page
from dvmap_jax.files import write_text


def write_report(
    folders: Sequence[pathlib.Path], output: pathlib.Path, *, workdir: pathlib.Path | None = None
) -> Comparison:
    """Compares the models evaluated in `folders`, writes both files and gives the comparison.

    With the `workdir` of a run the page has its learning curves. Errors are those of
    `read_evaluations` and `learning_curves`; nothing is written then.
    """
    comparison = compare(folders)
    curves = learning_curves(workdir) if workdir else []
    page = report_page(report_data(comparison, curves))
    write_text(output / "report.html", page)
    write_text(output / "report.md", report_markdown(comparison))
    return comparison
