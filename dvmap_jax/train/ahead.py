"""A run's programs compiled before they are called, and where compilations are kept."""

import concurrent.futures
import logging
import os
import pathlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import jax

from dvmap_jax.train.programs import Program

CACHE = pathlib.Path("~/.cache/dvmap_jax/compilation")
CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
COMPILED = "/jax/core/compile/backend_compile_duration"  # jax's event of one compilation
THREADS = "compiling"


class Ahead:
    """Programs lowered in this thread and compiled in others, in the order given.

    Compiling fills the caches of the jitted functions themselves, which are called as ever once
    `wait` returns. A shape that none of the programs has compiles when it comes, with a warning.
    """

    def __init__(self, programs: Sequence[Program], doing: Callable[[str], None]):
        """`doing` is told what is waited for. The mesh of the programs must be the current one."""
        self._doing, self.seconds = doing, {}
        self._pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix=THREADS)
        self._jobs: dict[str, Future[jax.stages.Compiled]] = {}
        self._names = {f"jit({program.function.__name__})" for program in programs}
        self._every_step = [program.name for program in programs if program.every_step]
        for program in programs:
            doing(f"compiling {program.name}")
            lowered = program.lower()
            self._jobs[program.name] = self._pool.submit(self._compile, program.name, lowered)
        doing("training")
        jax.monitoring.register_event_duration_secs_listener(self._noticed)

    def wait(self, *names: str) -> None:
        """Returns once these programs are compiled; raises what went wrong in compiling them."""
        for name in names:
            self.compiled(name)

    def compiled(self, name: str) -> jax.stages.Compiled | None:
        """A program as compiled, None where there is none of this name."""
        if name not in self._jobs:
            return None
        if not self._jobs[name].done():
            self._doing(f"compiling {name}")
            concurrent.futures.wait([self._jobs[name]])
            self._doing("training")
        return self._jobs[name].result()

    def texts(self) -> dict[str, str]:
        """The compiled programs of every step as text, by their names."""
        return {name: self.compiled(name).as_text() for name in self._every_step}

    def close(self) -> None:
        """Gives up what is not compiled yet."""
        jax.monitoring.unregister_event_duration_listener(self._noticed)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _compile(self, name: str, lowered: jax.stages.Lowered) -> jax.stages.Compiled:
        started = time.perf_counter()
        compiled = lowered.compile()
        self.seconds[name] = time.perf_counter() - started
        return compiled

    def _noticed(self, event: str, seconds: float, **said: object) -> None:
        """Warns where a program is compiled by its call."""
        ahead = threading.current_thread().name.startswith(THREADS)
        if event == COMPILED and said["fun_name"] in self._names and not ahead:
            text = "%s was compiled in %.1f s for a shape that was not foreseen"
            logging.warning(text, said["fun_name"], seconds)


def use_compilation_cache(choice: str) -> None:
    """Keeps compilations on disk: in a folder, or nowhere ("off"); call it before any compilation.

    "auto" leaves what the environment says, where it says something, or takes a folder of the
    user's. An entry is used by nothing but the same program, compiler and kind of device.
    """
    if choice == "auto" and CACHE_VARIABLE in os.environ:
        return
    known = {"off": None, "auto": str(CACHE.expanduser())}
    jax.config.update("jax_compilation_cache_dir", known.get(choice, choice))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # small ones add up
