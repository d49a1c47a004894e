"""Evaluates with an endpoint: `ask_endpoint.py URL FOLDER COUNT`, for tests that kill it."""

import functools
import logging
import pathlib
import sys

from dvmap_jax.evaluation.calls import CallConfig
from dvmap_jax.evaluation.endpoint import EndpointConfig, answer_over_http
from dvmap_jax.evaluation.journal import Journal
from dvmap_jax.survey.prompts import messages
from dvmap_jax.survey.synthetic import synthetic_examples

PROMPT = functools.partial(messages, template="answer", system_prompt="default")
CALLS = CallConfig(
    concurrency=8,
    attempts=3,
    first_wait=0.01,
    longest_wait=0.05,
    read_timeout=1.0,
    call_timeout=1.5,
)


def main(url: str, folder: pathlib.Path, count: int) -> None:
    """Logs everything there is to log into the folder."""
    folder.mkdir(exist_ok=True)
    logging.basicConfig(filename=folder / "log.txt", level=logging.DEBUG)
    config = EndpointConfig(url, "m", samples=2, calls=CALLS)
    journal = Journal(folder, config.described())
    examples = synthetic_examples(count // 16, seed=1)
    answer_over_http(examples, config, journal, benchmark="test", prompt=PROMPT)


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]))
