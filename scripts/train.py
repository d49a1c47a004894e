"""Trains: `train.py --config=configs/demo.py --workdir=DIR [--config.a.b=value ...]`."""

import pathlib

from absl import flags

from dvmap_jax.run_flags import define_config, read_config, run_main
from dvmap_jax.train.finish import finish
from dvmap_jax.train.trainer import train

CONFIG = define_config()
WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder.", required=True)


def main() -> None:
    """Trains to the end, exports, and prints what was reached and where it lies."""
    config = read_config(CONFIG)
    workdir = pathlib.Path(WORKDIR.value)
    trained = train(config, workdir)
    print(finish(config, workdir))
    if not trained:
        print(f"finished earlier; to start over remove {workdir} or use another --workdir")


if __name__ == "__main__":
    run_main(main)
