"""A model of Qwen3-4B's size, in and out: 16 GB of disk, 12 GB of memory, a few minutes."""

import hashlib
import json
import pathlib
import shutil

import ml_dtypes
import numpy as np
import pytest
from processes import run_alone
from safetensors import safe_open

from dvmap_jax.hf.load import CONFIG, INDEX
from dvmap_jax.hf.names import hf_fields, tensors
from dvmap_jax.hf.stream import Entry, write_safetensors
from dvmap_jax.model.config import PRESETS
from dvmap_jax.model.transformer import Transformer

TASKS = pathlib.Path(__file__).with_name("large_tasks.py")
MODEL = PRESETS["qwen3_4b"]
GROWTH = 1.3  # of memory, over the parameters' own size
SMALL_DISK = 1_000_000_000


def entries() -> list[Entry]:
    """The tensors of the model, in the table's order."""
    whole = Transformer(MODEL).abstract_params()
    found = []
    for row in tensors(MODEL):
        leaf = whole
        for key in row.path:
            leaf = leaf[key]
        shape = row.stored(leaf.shape[1:] if row.stacked else leaf.shape)
        names = row.names(row.hf, MODEL.num_layers)
        found += [Entry(name, "bfloat16", shape) for name in names]
    return found


def random_tensor(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Any bits that are a finite bfloat16: without the exponent's highest bit none is infinite."""
    size = int(np.prod(shape))
    bits = rng.integers(0, 2**64, -(-size // 4), np.uint64).view(np.uint16)[:size]
    return (bits & 0xBFFF).view(ml_dtypes.bfloat16).reshape(shape)


def write_random_model(folder: pathlib.Path, num_files: int) -> None:
    """Tensors dealt out to files, so that neighbours never lie in the same one."""
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps(hf_fields(MODEL)))
    rng = np.random.default_rng(0)
    weight_map = {}
    for number in range(num_files):
        mine = sorted(entries()[number::num_files], key=lambda entry: entry.name)
        name = f"part-{number}.safetensors"
        write_safetensors(folder / name, mine, (random_tensor(e.shape, rng) for e in mine))
        weight_map |= {entry.name: name for entry in mine}
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


def digests(folder: pathlib.Path) -> dict[str, str]:
    """A hash of each tensor's bytes, read with the library."""
    found = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "numpy") as file:
            for name in file.keys():  # noqa: SIM118
                content = np.ascontiguousarray(file.get_tensor(name)).view(np.uint8)
                found[name] = hashlib.sha256(content.data).hexdigest()
    return found


@pytest.mark.slow
def test_four_billion_parameters_go_in_and_out_in_little_more_than_their_own_memory(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    try:
        write_random_model(source, 5)
        said = run_alone(TASKS, source, target, SMALL_DISK, devices=1, timeout=1200)
        size, imported, exported, refused, *seconds = json.loads(said)
        print(f"{size} bytes, grew by {imported}, then {exported}; {seconds} seconds")
        assert size == sum(entry.num_bytes for entry in entries())
        assert imported <= GROWTH * size
        assert exported <= GROWTH * size
        assert len(list(target.glob("*.safetensors"))) > 3
        assert digests(target) == digests(source)
        assert "File too large: " in refused and "make room" in refused
        assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]
    finally:
        shutil.rmtree(source, ignore_errors=True)
        shutil.rmtree(target, ignore_errors=True)
