"""Reports: `report.py --results=DIR,DIR,… --output=DIR [--workdir=DIR]`, models side by side.

Each DIR is an `--output` of `evaluate.py`. Leaves `report.html`, a page that opens offline,
`report.md`, and PNGs in `figures/` (`--nofigures` for none); `--workdir` adds the learning curves
of a run. Prints what the report says first.
"""

import pathlib

from absl import flags

from dvmap_jax.command import FolderParser, SeparatedParser, run_main
from dvmap_jax.evaluation.figures import write_figures
from dvmap_jax.evaluation.learning_curves import learning_curves
from dvmap_jax.evaluation.report_files import write_report
from dvmap_jax.evaluation.report_markdown import summary_markdown

RESULTS = flags.DEFINE(
    SeparatedParser(",", pathlib.Path),
    *("results", None, "Folders of results, separated by commas."),
    serializer=flags.ListSerializer(","),
    required=True,
)
OUTPUT = flags.DEFINE(FolderParser(), "output", None, "Folder for the report.", required=True)
WORKDIR = flags.DEFINE_string("workdir", "", "A run's folder, for its learning curves.")
FIGURES = flags.DEFINE_bool("figures", True, "Whether PNGs are drawn as well.")


def main() -> None:
    """Compares the evaluations, writes the report and prints its summary."""
    workdir = pathlib.Path(WORKDIR.value) if WORKDIR.value else None
    comparison = write_report(RESULTS.value, OUTPUT.value, workdir=workdir)
    if FIGURES.value:
        curves = learning_curves(workdir) if workdir else ()
        write_figures(comparison, OUTPUT.value / "figures", curves=curves)
    print(summary_markdown(comparison))
    print(f"\nreport  {OUTPUT.value / 'report.html'}")


if __name__ == "__main__":
    run_main(main)
