"""Trains: `train.py --config=configs/demo.py --workdir=DIR [--config.a.b=value ...]`.

`--profile=N` traces N steps and leaves a table of what their operations cost.

Several processes make one run where each runs this same command: on TPU slices, Slurm, Open MPI
and Kubernetes they find each other, elsewhere `--coordinator=HOST:PORT --num_processes=N
--process_id=I` say who they are.
"""

import jax
from absl import flags

from dvmap_jax.command import FolderParser, late_bar
from dvmap_jax.run_flags import define_config, define_processes, read_config, run_together
from dvmap_jax.train.finish import finish
from dvmap_jax.train.profile import FOLDER, TABLE
from dvmap_jax.train.trainer import train

CONFIG = define_config()
define_processes()
WORKDIR = flags.DEFINE(FolderParser(), "workdir", None, "The run's folder.", required=True)
PROFILE = flags.DEFINE_integer("profile", 0, "Steps to trace, after the first two.", lower_bound=0)


def main() -> None:
    """Trains to the end, exports, and prints what was reached and where it lies."""
    config, workdir = read_config(CONFIG), WORKDIR.value
    first = jax.process_index() == 0
    with late_bar("reading weights", "B", shown=first) as reading:
        trained = train(config, workdir, reading, profile=PROFILE.value)
    with late_bar("exporting", "B", shown=first) as exporting:
        text = finish(config, workdir, exporting)
    if first:
        print(text)
    costs = workdir / FOLDER / TABLE
    if first and PROFILE.value:
        print(f"profile      {costs}" if costs.exists() else "too few steps were left to trace one")
    if first and not trained:
        print(f"finished earlier; to start over remove {workdir} or use another --workdir")


if __name__ == "__main__":
    run_together(main)
