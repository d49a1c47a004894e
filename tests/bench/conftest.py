"""The peers' workload in miniature: their own file with smaller constants."""

import re

import pytest

from dvmap_jax.bench.settings import BenchConfig

SMALLER = {
    "VOCAB": 256,
    "HIDDEN": 32,
    "INTERMEDIATE": 64,
    "LAYERS": 1,
    "HEADS": 4,
    "KV_HEADS": 2,
    "HEAD_DIM": 8,
    "PROMPTS": 2,
    "SAMPLES": 2,
    "PROMPT_LEN": 12,
    "NEW_TOKENS": 4,
    "GROUPS": 2,
    "PER_GROUP": 2,
    "SHARED_LEN": 8,
}


@pytest.fixture(scope="session")
def small_peers(shared, tmp_path_factory):
    """A folder whose `workload.py` has the constants of `SMALLER`."""
    text = (shared / "bench" / "workload.py").read_text("utf-8")
    for name, value in SMALLER.items():
        text, count = re.subn(rf"(?m)^{name} = \d+", f"{name} = {value}", text)
        assert count == 1, name
    folder = tmp_path_factory.mktemp("peers")
    (folder / "workload.py").write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="session")
def bench_config(root):
    """A benchmark of two repeats and small micro-batches; its folders are set by who needs them."""
    return BenchConfig(
        peers=root, shared=root, repeats=2, micro_batch_size=1, score_batch=2, option_groups=1
    )
