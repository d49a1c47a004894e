"""The processes of one run: started together, agreed on what they do, gone together.

Each runs the same command and computes its own rows; `jax.distributed` connects them.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from dvmap_jax.records import changed_keys

EXIT_CODE = 3  # of a process that ends because another one is gone
NO_CLUSTER = "coordinator_address should be defined"  # what jax says where it detects none
SIGNAL_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)
HANDLERS: list = []
DEFAULT_HANDLER = 0  # SIG_DFL
GONE = (
    "another process of this run has stopped, or cannot be reached; its own log says why. Start "
    "all of them again with the same command: the run goes on from its newest checkpoint"
)


def start_processes(
    mode: str = "auto",
    *,
    coordinator: str = "",
    num_processes: int = 0,
    process_id: int = -1,
    timeout: int = 300,
    heartbeat: int = 30,
) -> None:
    """Connects this process to the others of its run; call it before anything touches a device.

    `mode="auto"` asks the environment (TPU pod, Slurm, Open MPI, Kubernetes) who they are, and
    there is one process where it knows none; "on" insists. `coordinator` (HOST:PORT of process 0),
    `num_processes` and `process_id` say it outright. Raises ValueError where the three are not
    given together, and TimeoutError where they do not meet within `timeout` seconds. One that
    gives no sign of life for `heartbeat` seconds counts as gone, and the others end.
    """
    named = (bool(coordinator), num_processes > 0, process_id >= 0)
    if any(named) and not all(named):
        raise ValueError(
            "--coordinator, --num_processes and --process_id belong together: the first is "
            f"{coordinator!r}, the others are {num_processes} and {process_id}"
        )
    if mode == "off":
        return
    if all(named) and process_id >= num_processes:
        raise ValueError(f"--process_id is {process_id}; of {num_processes} the last is one less")
    known = {"coordinator_address": coordinator, "num_processes": num_processes}
    known |= {"process_id": process_id}
    late = (
        f"the processes of this run did not meet within {timeout} s at the coordinator "
        f"{coordinator or 'that the environment names'}; see that process 0 runs and can be reached"
    )
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        with _said_on_abort(late):
            jax.distributed.initialize(
                **(known if all(named) else {}),
                initialization_timeout=timeout,
                heartbeat_timeout_seconds=heartbeat,
            )
    except ValueError as error:
        if mode == "on" or NO_CLUSTER not in str(error):
            raise ValueError(f"the processes of this run are not known: {error}") from error
        return
    except RuntimeError as error:
        raise TimeoutError(f"{late} ({error})") from error
    _say_on_abort(GONE)


def all_agree(record: dict[str, Any], what: str) -> None:
    """Raises ValueError in every process where `record` (JSON values) is not the same in all."""
    found = exchange(json.dumps(record, sort_keys=True))
    for process, text in enumerate(found):
        if text != found[0]:
            changed = changed_keys(json.loads(found[0]), json.loads(text))
            listed = ", ".join(f"{key} {a!r} -> {b!r}" for key, (a, b) in changed.items())
            raise ValueError(
                f"process {process} has another {what} than process 0: {listed}; start all of "
                "them with the same command"
            )


def all_succeed(action: Callable[[], None]) -> None:
    """Runs each process's own `action`; where one of them fails, all of them raise.

    The one that failed raises its own error, the others an OSError that quotes it. All processes
    must come here together, so an action must not leave others waiting within it.
    """
    own = None
    try:
        action()
    except BaseException as error:  # also Ctrl-C: the others would wait for this process
        own = error
    failures = exchange("" if own is None else f"{own}" or type(own).__name__)
    if own is not None:
        raise own
    for process, text in enumerate(failures):
        if text:
            raise OSError(f"process {process} of {len(failures)} failed: {text}")


def exchange(text: str) -> list[str]:
    """The texts of all processes, in their order; all of them must come here together."""
    if jax.process_count() == 1:
        return [text]
    data = np.frombuffer(text.encode("utf-8"), np.uint8)
    sizes = multihost_utils.process_allgather(np.array(data.size))
    padded = np.pad(data, (0, int(sizes.max()) - data.size))
    rows = multihost_utils.process_allgather(padded)
    return [bytes(row[:size]).decode("utf-8") for row, size in zip(rows, sizes, strict=True)]


def end_as_gone(error: BaseException) -> None:
    """Ends this process at once, saying that another one is gone; `error` is how it was noticed."""
    text = " ".join(str(error).split())[:300]
    _last_words(f"error: {GONE} (seen here: {text})")


def is_out_of_memory(error: jax.errors.JaxRuntimeError) -> bool:
    """Whether a device, or the compiler for it, had no room."""
    return any(said in str(error) for said in ("RESOURCE_EXHAUSTED", "Ran out of memory"))


def _say_on_abort(text: str) -> None:
    """Where jax's runtime aborts, as it does when a process is gone, this is said last."""
    handler = SIGNAL_HANDLER(lambda number: _last_words(f"error: {text}"))
    HANDLERS.append(handler)  # ctypes frees what nobody holds
    ctypes.CDLL(None).signal(signal.SIGABRT, handler)


@contextlib.contextmanager
def _said_on_abort(text: str) -> Iterator[None]:
    """`_say_on_abort` for what runs inside."""
    _say_on_abort(text)
    yield
    ctypes.CDLL(None).signal(signal.SIGABRT, ctypes.c_void_p(DEFAULT_HANDLER))


def _last_words(line: str) -> None:
    sys.stderr.write(f"\n{line}\n")
    sys.stderr.flush()
    os._exit(EXIT_CODE)  # leaving in order would wait for the process that is gone
