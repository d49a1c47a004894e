"""Benchmarks: `bench.py --workload=NAME --output=FILE.json`, times beside the machine's limits.

Takes the peers' arguments as well, `bench.py CHECKPOINT_DIR RESULT.json [part ...]`, so that
`run_peers.py CKPT OUT ours=PYTHON:/abs/scripts/bench.py:rollout,score` has us in its table. With
`--peers=DIR` their `workload.py` may have other sizes, for instance those of SmolLM2-135M.
"""

import json
import pathlib
import sys

from absl import flags

from dvmap_jax.bench.settings import BenchConfig
from dvmap_jax.bench.workloads import WORKLOADS, run_workload, table
from dvmap_jax.command import run_main
from dvmap_jax.files import write_text
from dvmap_jax.model.config import DTYPES, REMAT_POLICIES, ComputeConfig

SHARED = pathlib.Path(__file__).absolute().parents[2] / "shared"

WORKLOAD = flags.DEFINE_enum("workload", "peers", WORKLOADS, "What is timed.")
OUTPUT = flags.DEFINE_string("output", None, "A JSON file for the numbers.", required=True)
PEERS = flags.DEFINE_string("peers", str(SHARED / "bench"), "Folder with the peers' workload.py.")
DATA = flags.DEFINE_string("shared", str(SHARED), "Folder with dvmap_corpus/dev.parquet.")
CHECKPOINT = flags.DEFINE_string("checkpoint", "", "The model; made or looked for where empty.")
PARTS = flags.DEFINE_list("parts", [], "Only these parts of the workload.")
REPEATS = flags.DEFINE_integer("repeats", 5, "Timed calls of each part.")
MICRO_BATCH = flags.DEFINE_integer("micro_batch_size", 1, "Prompts of an update at a time.")
SCORE_BATCH = flags.DEFINE_integer("score_batch", 4, "Sequences scored at a time.")
OPTION_GROUPS = flags.DEFINE_integer("option_groups", 4, "Groups of options at a time.")
REMAT = flags.DEFINE_enum("remat", "layer", REMAT_POLICIES, "What an update computes twice.")
LOGPROB_CHUNK = flags.DEFINE_integer("logprob_chunk", 1024, "Tokens whose logits exist at once.")
ATTENTION_CHUNK = flags.DEFINE_integer("attention_chunk", 0, "Queries at a time; 0: all.")
DTYPE = flags.DEFINE_enum("dtype", "float32", DTYPES, "Precision of the computation.")


def main() -> None:
    """Runs the workload, writes its numbers and prints the parts."""
    result = run_workload(WORKLOAD.value, bench_config())
    write_text(pathlib.Path(OUTPUT.value), json.dumps(result, indent=1) + "\n")
    print(table(result))


def bench_config() -> BenchConfig:
    """How the flags want it run."""
    return BenchConfig(
        peers=pathlib.Path(PEERS.value),
        shared=pathlib.Path(DATA.value),
        checkpoint=CHECKPOINT.value,
        parts=tuple(PARTS.value),
        repeats=REPEATS.value,
        micro_batch_size=MICRO_BATCH.value,
        score_batch=SCORE_BATCH.value,
        option_groups=OPTION_GROUPS.value,
        compute=ComputeConfig(
            dtype=DTYPE.value,
            remat=REMAT.value,
            logprob_chunk=LOGPROB_CHUNK.value,
            attention_chunk=ATTENTION_CHUNK.value,
        ),
    )


def as_flags(arguments: list[str]) -> list[str]:
    """The peers' positional arguments as flags; others as they are."""
    if len(arguments) < 2 or any(argument.startswith("-") for argument in arguments[:2]):
        return arguments
    checkpoint, output, *rest = arguments
    parts = [argument for argument in rest if not argument.startswith("-")]
    other = [argument for argument in rest if argument.startswith("-")]
    named = [f"--checkpoint={checkpoint}", f"--output={output}", f"--parts={','.join(parts)}"]
    return ["--workload=peers", *named, *other]


if __name__ == "__main__":
    sys.argv[1:] = as_flags(sys.argv[1:])
    run_main(main)
