"""The command line of a run: `--config=FILE.py` and its overrides in, a RunConfig out."""

import pathlib
from collections.abc import Callable, Iterable
from typing import NoReturn

import jax
from absl import flags
from ml_collections import config_flags

from dvmap_jax import command
from dvmap_jax.config import RunConfig, run_config
from dvmap_jax.processes import end_as_gone, is_out_of_memory, start_processes
from dvmap_jax.records import leaves, nearest, to_mapping


def define_config() -> flags.FlagHolder:
    """Defines `--config=FILE.py`, whose `get_config()` gives a ConfigDict, and its overrides."""
    return config_flags.DEFINE_config_file("config", None, "The run's config file.")


def read_config(holder: flags.FlagHolder) -> RunConfig:
    """The run that the config file and the flags after it describe."""
    if holder.value is None:
        raise ValueError("--config is missing; name a file such as configs/demo.py")
    return run_config(holder.value.to_dict())


def define_processes() -> None:
    """Defines the flags that say which processes make a run; `start_processes` explains them."""
    flags.DEFINE_enum("distributed", "auto", ("auto", "on", "off"), "Whether others take part.")
    flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0.")
    flags.DEFINE_integer("num_processes", 0, "Processes of the run.")
    flags.DEFINE_integer("process_id", -1, "Which of them this one is, from 0.")
    flags.DEFINE_integer("coordinator_timeout", 300, "Seconds the processes may take to meet.")
    flags.DEFINE_integer("heartbeat", 30, "Seconds of silence after which a process is gone.")


def run_main(main: Callable[[], None]) -> NoReturn:
    """Runs a script that takes a run's config; `command.run_main` says how it ends."""
    command.run_main(
        main,
        check=check_flags,
        stopped="stopped; the same command goes on from the newest checkpoint",
    )


def run_together(main: Callable[[], None]) -> NoReturn:
    """`run_main` with the processes that the flags or the environment name.

    Where another process of the run is gone, this one ends at once and says so.
    """

    def together() -> None:
        found = flags.FLAGS
        start_processes(
            found.distributed,
            coordinator=found.coordinator,
            num_processes=found.num_processes,
            process_id=found.process_id,
            timeout=found.coordinator_timeout,
            heartbeat=found.heartbeat,
        )
        try:
            main()
        except jax.errors.JaxRuntimeError as error:
            if is_out_of_memory(error):
                raise MemoryError(
                    f"a device has no room for this run: {error}; see scripts/compile.py for what "
                    "would fit"
                ) from error
            if jax.process_count() > 1:
                end_as_gone(error)
            raise

    run_main(together)


def check_flags(arguments: list[str]) -> None:
    """Raises for a config file that is not there and for an override that no run has."""
    check_config_file(arguments)
    check_overrides(arguments)


def check_overrides(arguments: Iterable[str]) -> None:
    """Raises ValueError for a `--config.a.b` that no run has, naming the nearest key."""
    known = {f"config.{key}" for key, _ in leaves(to_mapping(RunConfig()))}
    for argument in arguments:
        key = argument.lstrip("-").split("=")[0]
        if not (argument.startswith("-") and key.startswith("config.")):
            continue
        if not any(key == name or key.startswith(f"{name}.") for name in known):
            raise ValueError(f"--{key} is no key of a run{nearest(key, known)}")


def check_config_file(arguments: list[str]) -> None:
    """Raises FileNotFoundError for a `--config=FILE` that is not there."""
    for index, argument in enumerate(arguments):
        name, equals, value = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or name != "config":
            continue
        value = value if equals else "".join(arguments[index + 1 : index + 2])
        if not pathlib.Path(value.split(":")[0]).is_file():
            raise FileNotFoundError(f"--config={value}: there is no such config file")
