"""A model reached over HTTP: examples in, rows of a journal out, a failed call a row as well."""

import asyncio
import collections
import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import httpx2

from dvmap_jax.evaluation.calls import BudgetSpentError, CallConfig, Caller, EndpointRefusedError
from dvmap_jax.evaluation.journal import Journal, Row, identity
from dvmap_jax.evaluation.replies import CallError, Choice
from dvmap_jax.evaluation.samples import generated_row
from dvmap_jax.evaluation.secret import Key
from dvmap_jax.records import to_mapping
from dvmap_jax.survey.corpus import Example

SCHEMES = ("http://", "https://")
PATH = "/chat/completions"
OWN = ("messages", "model", "n", "stream", "seed")  # what `extra` may not set

Prompt = Callable[[Example], list[dict[str, str]]]


@dataclasses.dataclass(frozen=True)
class EndpointConfig:
    """An OpenAI-compatible endpoint, how completions are drawn there, and how it is called.

    `url` is what comes before /chat/completions. `samples` completions a row are asked for
    `choices_per_call` at a time (0: all in one call); a server that returns fewer is asked again.
    `seed` is sent, another one for each call, where it is not None. `top_logprobs` above 0 asks for
    log-probabilities. `extra` is a JSON object laid over the body of each request; null removes a
    field: '{"max_tokens": null, "max_completion_tokens": 2048}'.
    """

    url: str
    model: str
    samples: int = 1
    choices_per_call: int = 0
    temperature: float = 0.7
    max_tokens: int = 1024
    seed: int | None = None
    top_logprobs: int = 0
    extra: str = ""
    calls: CallConfig = dataclasses.field(default_factory=CallConfig)

    def __post_init__(self):
        _check_url(self.url)
        if not self.model:
            raise ValueError("endpoint.model is empty; name the model after the address: URL#MODEL")
        for name in ("samples", "max_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"endpoint.{name} is {getattr(self, name)}; it must be positive")
        for name in ("choices_per_call", "top_logprobs", "temperature"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"endpoint.{name} is {getattr(self, name)}; it must be 0 or more")
        _extra(self.extra)

    @property
    def chat_url(self) -> str:
        """Where requests are posted."""
        return self.url.rstrip("/").removesuffix(PATH) + PATH

    def described(self) -> dict[str, Any]:
        """What the answers depend on, for a journal's first line: all but `calls`.

        So an evaluation can go on with another budget, other timeouts or another key.
        """
        described = to_mapping(self)
        del described["calls"]
        return described

    def body(self, messages: list[dict[str, str]], *, asked: int, seed: int | None) -> dict:
        """A request for `asked` choices."""
        body = {
            "model": self.model,
            "messages": messages,
            "n": asked,
            "temperature": self.temperature,
            "top_p": 1.0,  # else vLLM takes the model's own, and draws are not those of our models
            "max_tokens": self.max_tokens,
            "stream": False,
            "seed": seed,
            "logprobs": True if self.top_logprobs else None,
            "top_logprobs": self.top_logprobs or None,
        }
        merged = body | _extra(self.extra)
        return {name: value for name, value in merged.items() if value is not None}


def is_endpoint(model: str) -> bool:
    """Whether a --model names an endpoint and not a folder, a file or a baseline."""
    return model.startswith(SCHEMES)


def endpoint_parts(model: str) -> tuple[str, str]:
    """Address and model name of `https://host/v1#MODEL`; ValueError where it is none."""
    url, separator, name = model.partition("#")
    if not is_endpoint(model) or not separator or not name:
        _check_url(url)
        raise ValueError(f"--model={url} names no model; give https://host/v1#MODEL_NAME")
    return url, name


def answer_over_http(
    examples: Sequence[Example],
    config: EndpointConfig,
    journal: Journal,
    *,
    benchmark: str,
    prompt: Prompt,
    progress: Callable[[int], None] = lambda rows: None,
) -> None:
    """Asks for the rows of a benchmark that are not in the journal yet, and adds each as it comes.

    `prompt` makes an example's chat messages. `progress` is told how many rows are in the journal.
    A row whose calls failed for good has `failure`, no prediction, and counts as wrong. Where rows
    fail one after another they wait for the next that does not, or for `stop_after`.

    Raises ValueError, with everything answered kept and no failure recorded in its place, where the
    endpoint refuses the key, redirects, asks for too long a wait or fails `stop_after` times in a
    row, and where the budget of requests is spent: rows not answered stay open.
    """
    open_rows = [n for n in range(len(examples)) if not journal.has(benchmark, n)]
    for number in open_rows:
        prompt(examples[number])  # a row that has none is found before the first call is paid for
    if not open_rows:
        return
    key = Key.from_environment(config.calls.key_variable)
    if key.clean(config.described()) != config.described():
        raise ValueError(
            f"the endpoint's address, model or extra fields hold the key of {key.variable}, which "
            "would be written beside the answers; take it out of them"
        )
    run = _Run(examples, config, journal, benchmark=benchmark, prompt=prompt, progress=progress)
    asyncio.run(run(open_rows, Caller(config.chat_url, key=key, config=config.calls)))


def failures_by_kind(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Of results of any sort, how many rows failed for good, by kind, the most frequent first."""
    failures = (row.get("failure") for row in rows)
    kinds = collections.Counter(
        failure.partition(": ")[0] for failure in failures if isinstance(failure, str)
    )
    return dict(kinds.most_common())


def failed_row(example: Example, *, benchmark: str, number: int, failure: str) -> Row:
    """The row of an example that nobody answered: wrong, unread, and counted."""
    return identity(example, benchmark=benchmark, number=number) | {
        "predicted": None,
        "predictions": [],
        "correct": 0.0,
        "correct_lenient": 0.0,
        "probabilities": None,
        "readable": 0.0,
        "truncated": 0.0,
        "completions": [],
        "failure": failure,
    }


class _Run:
    """The state of one start: rows that are finished and not written, and failures in a row."""

    def __init__(self, examples, config, journal, *, benchmark, prompt, progress):
        self._examples, self._config, self._journal = examples, config, journal
        self._benchmark, self._prompt, self._progress = benchmark, prompt, progress
        self._finished: list[Row] = []
        self._failing: list[Row] = []
        self._told: set[str] = set()
        self._spent = False

    async def __call__(self, open_rows: Sequence[int], caller: Caller) -> None:
        self._done = len(self._examples) - len(open_rows)
        waiting = iter(open_rows)
        try:
            async with caller, asyncio.TaskGroup() as workers:
                for _ in range(min(self._config.calls.concurrency, len(open_rows))):
                    workers.create_task(self._work(waiting, caller))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            self._write(self._finished)
        self._write(self._failing)
        if self._spent:
            raise ValueError(
                f"the budget of {self._config.calls.max_requests} requests is spent: {self._done} "
                f"of {len(self._examples)} rows of {self._benchmark!r} are in the journal; start "
                "again, with a larger calls.max_requests, to go on"
            )

    async def _work(self, waiting: Iterable[int], caller: Caller) -> None:
        for number in waiting:
            try:
                row = await self._row(number, caller)
            except BudgetSpentError:
                self._spent = True
                return
            if "failure" in row and self._config.calls.stop_after:
                self._hold(row)
                continue
            self._finished += [*self._failing, row]
            self._failing.clear()
            await asyncio.sleep(0)  # what finished at the same time is written together
            self._write(self._finished)

    def _hold(self, row: Row) -> None:
        self._failing.append(row)
        if len(self._failing) >= self._config.calls.stop_after:
            raise EndpointRefusedError(
                f"{len(self._failing)} rows in a row failed at {self._config.chat_url}, the last "
                f"with {row['failure']!r}; they stay open: start again when it answers, or set "
                "calls.stop_after = 0 to have failures recorded"
            )

    def _write(self, rows: list[Row]) -> None:
        """Takes the rows out first: those that could not be written are not written again."""
        taken = list(rows)
        rows.clear()
        if taken:
            self._journal.add(taken)
            self._done += len(taken)
            self._progress(self._done)

    async def _row(self, number: int, caller: Caller) -> Row:
        example = self._examples[number]
        where = {"benchmark": self._benchmark, "number": number}
        try:
            drawn = await self._drawn(number, self._prompt(example), caller)
        except CallError as failure:
            if failure.kind not in self._told:
                self._told.add(failure.kind)
                logging.warning("%s row %d failed for good: %s", self._benchmark, number, failure)
            return failed_row(example, **where, failure=str(failure))
        texts, truncated = [one.text for one in drawn], [one.truncated for one in drawn]
        row = generated_row(example, **where, texts=texts, truncated=truncated)
        if any(one.reasoning is not None for one in drawn):
            row["reasonings"] = [one.reasoning for one in drawn]
        if self._config.top_logprobs:
            row["token_logprobs"] = [one.token_logprobs for one in drawn]
        return row

    async def _drawn(self, number: int, messages, caller: Caller) -> list[Choice]:
        """All samples of a row, in as many calls as the server needs for them."""
        drawn: list[Choice] = []
        while missing := self._config.samples - len(drawn):
            asked = min(missing, self._config.choices_per_call or missing)
            body = self._config.body(messages, asked=asked, seed=self._seed(number, len(drawn)))
            drawn += await caller.choices(body, asked=asked)
        return drawn

    def _seed(self, number: int, drawn: int) -> int | None:
        """Of each call its own: with the same one, further calls would repeat the first."""
        if self._config.seed is None:
            return None
        told = f"{self._config.seed} {self._benchmark} {number} {drawn}".encode()
        return int.from_bytes(hashlib.sha256(told).digest()[:4]) >> 1  # 31 bits: all take these


def _check_url(url: str) -> None:
    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL:  # whose message repeats it: there may be a key in it
        raise ValueError("endpoint.url is no address; give one like https://host/v1") from None
    # What a person put before the @ or behind the ? may be a key: it is not repeated.
    if parts.userinfo or parts.query:
        raise ValueError(
            f"endpoint.url at {parts.host!r} holds a user, a password or a query; give the address "
            "alone, and the key in the environment variable calls.key_variable"
        )
    if parts.scheme not in ("http", "https") or not parts.host or parts.fragment:
        raise ValueError(f"endpoint.url is {url!r}; give one like https://host/v1")


def _extra(text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        extra = json.loads(text)
    except ValueError as error:
        raise ValueError(f"endpoint.extra is not JSON: {error}; it is {text!r}") from error
    if not isinstance(extra, dict):
        raise ValueError(f"endpoint.extra is {text!r}; it must be a JSON object")
    for name in OWN:
        if name in extra:
            raise ValueError(f"endpoint.extra sets {name!r}, which the evaluation sets itself")
    return extra
