"""A run's folder belongs to one config: claimed on the first start, checked on every later one."""

import json
import pathlib
from typing import Any

import jax

from dvmap_jax.files import write_text
from dvmap_jax.records import changed_keys

CONFIG = "config.json"
# What a resumed run may do otherwise: when to stop, look, save and how much to tell.
# It may also run on other devices: nothing but rounding depends on them.
FREE_KEYS = (
    *("num_steps", "evaluate_every", "save_every", "sample_every", "export", "preflight"),
    *("compilation_cache", "log.", "mesh."),
)
RUN_FILES = ("checkpoints", "metrics.jsonl", "timing.jsonl", "samples.jsonl")


def claim_workdir(workdir: pathlib.Path, config_json: str) -> None:
    """Makes `workdir` this config's, or raises ValueError naming the keys in which it is another's.

    A config that differs in `FREE_KEYS` alone takes the place of the one that was there; so does
    any config where the earlier start stopped before it left something to lose.
    """
    path = workdir / CONFIG
    found = [name for name in RUN_FILES if (workdir / name).exists()]
    if found and not path.exists():
        raise ValueError(
            f"{workdir} holds {', '.join(found)} but no {CONFIG}: it is not this run's; "
            "use another --workdir"
        )
    if found:
        _check_same(path, json.loads(config_json))
    if jax.process_index() == 0:
        write_text(path, config_json)


def _check_same(path: pathlib.Path, config: dict[str, Any]) -> None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}); use another --workdir") from error
    changed = {key: pair for key, pair in changed_keys(found, config).items() if not _is_free(key)}
    if changed:
        listed = ", ".join(f"{key} {old!r} -> {new!r}" for key, (old, new) in changed.items())
        raise ValueError(
            f"{path.parent} belongs to another config: {listed}; use another --workdir, "
            "or set these back"
        )


def _is_free(key: str) -> bool:
    return any(key.startswith(free) if free.endswith(".") else key == free for free in FREE_KEYS)
