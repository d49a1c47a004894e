"""Converts a model: a checkpoint, Hugging Face folder or GGUF file to a folder of either form.

scripts/convert.py --source=runs/demo --target=exported --format=hf [--dtype=bfloat16]
"""

import pathlib
import sys
import tempfile

from absl import flags

from dvmap_jax.command import FolderParser, late_bar, run_main
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.hf.save import check_target, save_model
from dvmap_jax.train.weights import Model, load_model, save_orbax

SOURCE = flags.DEFINE_string("source", None, "A run, step, model folder or FILE.gguf.")
TARGET = flags.DEFINE(FolderParser(), "target", None, "The folder to write; nothing else in it.")
STEP = flags.DEFINE_string("step", "best", "Of a run: best, latest or a number.")
FORMAT = flags.DEFINE_enum("format", "hf", ["hf", "orbax"], "The form of the target.")
DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "The target's precision.")


def main() -> None:
    """Reads the source whole before anything is written."""
    for flag in (SOURCE, TARGET):
        if not flag.value:
            raise ValueError(f"--{flag.name} is missing")
    target = TARGET.value
    if FORMAT.value == "hf":
        check_target(target)
    with late_bar("reading", "B") as progress:
        model = load_model(SOURCE.value, DTYPE.value, step=STEP.value, progress=progress)
    tokenizer = Tokenizer.load(model.tokenizer)
    with tempfile.TemporaryDirectory() as carried:
        tokenizer.save(carried)
        write(Model(model.config, model.params, pathlib.Path(carried)), target)
    sys.stdout.write(f"{target}: {model.config.family}, {FORMAT.value}, {DTYPE.value}\n")


def write(model: Model, target: pathlib.Path) -> None:
    """The model as the flags ask, its tokenizer's files beside it."""
    with late_bar("writing", "B") as progress:
        if FORMAT.value == "orbax":
            save_orbax(model, target, progress=progress)
            return
        save_model(
            model.params,
            model.config,
            target,
            dtype=DTYPE.value,
            carry_from=model.tokenizer,
            progress=progress,
        )


if __name__ == "__main__":
    run_main(main)
