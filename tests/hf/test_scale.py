"""Models in shards: what each device holds, what each process reads, what several write."""

import json
import pathlib

import jax
import numpy as np
import pytest
from processes import run_alone, run_pair
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from dvmap_jax.hf.load import load_params, read_config
from dvmap_jax.hf.save import save_model
from dvmap_jax.hf.stream import Entry, write_safetensors

TASKS = pathlib.Path(__file__).with_name("scale_tasks.py")
KINDS = ("qwen3_tied", "qwen3_untied", "llama3", "llama3_untied")
SHARD_BYTES = 60_000
SMALL_DISK = 40_000


@pytest.fixture(scope="module")
def placed(make_tiny) -> dict[str, tuple]:
    """Each kind on a (2, 2, 2) mesh, compared with its plain load."""
    folders = [make_tiny(kind).folder for kind in KINDS]
    return dict(zip(KINDS, json.loads(run_alone(TASKS, "place", *folders)), strict=True))


@pytest.fixture(scope="module")
def pair(make_tiny, tmp_path_factory):
    """A tiny model exported by two processes: the folder, and what each said."""
    target = tmp_path_factory.mktemp("pair") / "out"
    source = make_tiny("qwen3_untied").folder
    done = run_pair(TASKS, "export", source, target, SHARD_BYTES, 0)
    assert [process.returncode for process in done] == [0, 0], done[0].stderr + done[1].stderr
    return target, [json.loads(process.stdout.splitlines()[-1]) for process in done]


@pytest.mark.parametrize("kind", KINDS)
def test_shards_on_a_mesh_hold_what_one_device_holds(placed, kind):
    wrong, _, _, divided = placed[kind]
    assert wrong == []
    assert divided["embed/table"] == divided["layers/mlp/up/kernel"] == 4


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_is_read_once_whatever_devices_share_it(placed, kind):
    _, num_read, size, _ = placed[kind]
    assert num_read == size


def test_a_process_reads_its_own_shards_only(pair):
    for num_read, size, _ in pair[1]:
        assert size / 2 < num_read < 0.51 * size  # half the matrices, and the norms


def test_two_processes_export_the_bytes_of_one(make_tiny, pair, tmp_path):
    source = make_tiny("qwen3_untied").folder
    config = read_config(source)
    params = jax.tree.map(np.asarray, load_params(source, config))  # nothing to gather
    save_model(params, config, tmp_path / "one", max_shard_bytes=SHARD_BYTES, carry_from=source)
    one, two = (
        {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in (tmp_path / "one", pair[0])
    )
    assert one == two
    assert "model.safetensors.index.json" in two
    assert len([name for name in two if name.startswith("model-")]) > 2


def test_both_processes_return_when_the_folder_is_whole(pair):
    folder, said = pair
    names = sorted(path.name for path in folder.iterdir())
    assert [seen for _, _, seen in said] == [names, names]
    assert [path.name for path in folder.parent.iterdir()] == ["out"]


def test_a_full_disk_under_one_process_stops_both_and_leaves_no_folder(make_tiny, tmp_path):
    source, target = make_tiny("qwen3_untied").folder, tmp_path / "out"
    first, second = run_pair(TASKS, "export", source, target, SHARD_BYTES, SMALL_DISK)
    assert first.returncode and second.returncode
    said = f"File too large: {target} could not be written; what was there is unchanged"
    assert said in second.stderr
    assert f"process 1 of 2 failed: [Errno 27] {said}" in first.stderr
    assert list(tmp_path.iterdir()) == []


def test_import_then_export_gives_the_file_the_library_writes(make_tiny, kind, tmp_path):
    source = make_tiny(kind).folder
    config = read_config(source)
    save_model(load_params(source, config), config, tmp_path / "out")
    again = load_file(source / "model.safetensors")
    save_file(again, tmp_path / "library", metadata={"format": "pt"})
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (
        tmp_path / "library"
    ).read_bytes()


def test_blocks_of_a_large_tensor_join_without_a_seam(monkeypatch, tmp_path):
    monkeypatch.setattr("dvmap_jax.hf.place.BLOCK_BYTES", 1000)  # 35 rows, of which 3 are left
    values = np.random.default_rng(0).standard_normal((7, 38)).astype(np.float32).T
    write_safetensors(tmp_path / "file", [Entry("x", "float32", (38, 7))], iter([values]))
    with safe_open(tmp_path / "file", "numpy") as file:
        np.testing.assert_array_equal(file.get_tensor("x"), values)


def test_blocks_are_read_without_a_seam(make_tiny, kind, monkeypatch):
    folder = make_tiny(kind).folder
    whole = load_params(folder, read_config(folder))
    monkeypatch.setattr("dvmap_jax.hf.place.BLOCK_BYTES", 1000)
    jax.tree.map(np.testing.assert_array_equal, load_params(folder, read_config(folder)), whole)


def test_progress_ends_at_the_whole(make_tiny, tmp_path):
    folder = make_tiny("llama3").folder
    config = read_config(folder)
    read, written = [], []
    params = load_params(folder, config, "bfloat16", progress=lambda *told: read.append(told))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    save_model(
        params,
        config,
        tmp_path / "out",
        dtype="bfloat16",
        progress=lambda *told: written.append(told),
    )
    for told in (read, written):
        assert told == sorted(told)
        assert len(told) > 10 and told[-1] == (size, size)


def test_export_compiles_once_a_shape_and_not_once_a_layer(make_tiny, caplog, tmp_path):
    folder = make_tiny("qwen3_tied", 7).folder  # a depth no other test exports
    config = read_config(folder)
    params = load_params(folder, config)
    with jax.log_compiles():
        save_model(params, config, tmp_path / "out")
    compiled = [text for text in caplog.messages if "Finished XLA compilation of jit(pick)" in text]
    assert 0 < len(compiled) <= len({leaf.shape for leaf in jax.tree.leaves(params)})


def test_shardings_of_another_tree_are_refused(make_tiny):
    folder = make_tiny("llama3").folder
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with pytest.raises(ValueError, match="shardings is the tree"):
        load_params(folder, read_config(folder), shardings={"norm": {"scale": here}})


def test_float64_without_its_switch_is_refused(make_tiny):
    folder = make_tiny("llama3").folder
    with pytest.raises(ValueError, match="JAX holds only with JAX_ENABLE_X64=1"):
        load_params(folder, read_config(folder), "float64")
