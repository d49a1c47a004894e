"""Runs a script of a test in processes of its own, with CPU devices that a test has not."""

import os
import pathlib
import socket
import subprocess
import sys

TIMEOUT = 300  # seconds
# Programs of tests run for moments and compile for long: their machine code need not be fast.
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def start(script: pathlib.Path, *arguments: object, devices: int, **environment: str):
    """A running process that sees so many CPU devices."""
    flags = f"--xla_force_host_platform_device_count={devices} {QUICK}"
    environment = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, **environment}
    return subprocess.Popen(
        [sys.executable, script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def finish(process: subprocess.Popen, timeout: float = TIMEOUT) -> subprocess.CompletedProcess:
    """What it said and how it ended; none outlives its test."""
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run_alone(
    script: pathlib.Path, *arguments: object, devices: int = 8, timeout: float = TIMEOUT
) -> str:
    """What a script prints that has to succeed."""
    done = finish(start(script, *arguments, devices=devices), timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout


def free_address() -> str:
    """An address of this machine where nobody listens yet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def run_pair(script: pathlib.Path, *arguments: object) -> list[subprocess.CompletedProcess]:
    """Two processes of four devices each; they find COORDINATOR and PROCESS in the environment."""
    address = free_address()
    running = [
        start(script, *arguments, devices=4, COORDINATOR=address, PROCESS=str(process))
        for process in range(2)
    ]
    return [finish(process) for process in running]
