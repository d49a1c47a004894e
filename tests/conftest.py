"""What all tests share: they run on the CPU unless JAX_PLATFORMS says otherwise."""

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
