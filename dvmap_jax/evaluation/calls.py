"""Calls of an HTTP endpoint that may misbehave: a body in, its choices or the last failure out."""

import asyncio
import contextlib
import dataclasses
import json
import logging
import random
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2

from dvmap_jax.evaluation.replies import (
    CallError,
    Choice,
    read_choices,
    retry_after,
    server_words,
    short,
)
from dvmap_jax.evaluation.secret import VARIABLE, Key

AGAIN = (408, 409, 425, 429)  # and all from 500: the same request may succeed later
STOP = (401, 402, 403)  # who asks is refused, whatever is asked: 402 is DeepSeek's empty account
MIB = 2**20
ERROR_BODY = 64 * 1024  # bytes read of a body that only explains a refusal
ERROR_SECONDS = 2.0
# At lower levels these write headers and reason phrases, in which a server may repeat the key.
LOGGERS = ("httpx2", "httpcore2")


@dataclasses.dataclass(frozen=True)
class CallConfig:
    """How an endpoint is called: at once, how patiently, how often. Times are in seconds.

    The key is in the environment variable `key_variable`. A call is tried `attempts` times; the
    n-th wait between is about `first_wait` * 2^n, at most `longest_wait`, or what Retry-After asks.
    Where that is over `longest_retry_after`, or `stop_after` rows in a row failed (0: any number),
    the evaluation stops. `call_timeout` bounds one request from connecting to the last byte,
    `max_requests` the requests of this start (0: any number), `max_body` a reply in bytes.
    """

    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 16
    attempts: int = 8
    first_wait: float = 0.5
    longest_wait: float = 60.0
    longest_retry_after: float = 600.0
    connect_timeout: float = 10.0
    read_timeout: float = 300.0
    call_timeout: float = 900.0
    max_body: int = 32 * MIB
    max_requests: int = 0
    stop_after: int = 100

    def __post_init__(self):
        if not VARIABLE.fullmatch(self.key_variable):
            raise ValueError(
                "calls.key_variable must be the name of an environment variable that holds the "
                "key, such as OPENAI_API_KEY; what was given is no name and not shown"
            )
        positive = (
            *("concurrency", "attempts", "max_body", "first_wait", "longest_wait"),
            *("connect_timeout", "read_timeout", "call_timeout"),
        )
        for name in positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"calls.{name} is {getattr(self, name)}; it must be positive")
        for name in ("max_requests", "stop_after", "longest_retry_after"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"calls.{name} is {getattr(self, name)}; it cannot be negative")


class EndpointRefusedError(ValueError):
    """The endpoint answers nothing to us: the evaluation stops and what is open stays open."""


class BudgetSpentError(Exception):
    """All requests of this start have been sent."""


class Caller:
    """Asks one address, within one budget; an async context manager.

    Proxies are taken from the environment. Redirects are not followed, so that neither key nor
    questions go where nobody sent them.
    """

    def __init__(self, url: str, *, key: Key, config: CallConfig):
        self.requests = 0
        self._url, self._key, self._config = url, key, config
        self._quiet = contextlib.ExitStack()
        try:
            self._client = httpx2.AsyncClient(
                headers={**key.headers(), "Content-Type": "application/json"}
                | {"Accept-Encoding": "identity"},  # so that `max_body` bounds what is held
                timeout=httpx2.Timeout(
                    config.read_timeout, connect=config.connect_timeout, pool=None
                ),
                limits=httpx2.Limits(
                    max_connections=config.concurrency, max_keepalive_connections=config.concurrency
                ),
                follow_redirects=False,
            )
        except ImportError as error:
            raise ValueError(f"the proxy of the environment cannot be used: {error}") from error
        except (ValueError, httpx2.InvalidURL):  # whose message may hold the proxy's password
            raise ValueError(
                "the proxy of the environment is no address; correct or remove HTTP_PROXY, "
                "HTTPS_PROXY or ALL_PROXY"
            ) from None

    async def __aenter__(self) -> "Caller":
        self._quiet.enter_context(_quiet_loggers())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()
        self._quiet.close()

    async def choices(self, body: Mapping[str, Any], *, asked: int) -> list[Choice]:
        """At least one and at most `asked` choices.

        Raises CallError with the last failure, at once where asking again is useless;
        EndpointRefusedError; BudgetSpentError before a request that is one too many.
        """
        content = json.dumps(body).encode()
        for attempt in range(self._config.attempts):
            self._spend()
            try:
                return read_choices(await self._exchange(content), asked=asked, key=self._key)
            except CallError as failure:
                last = failure
            if not last.again or attempt + 1 == self._config.attempts:
                break
            await asyncio.sleep(self._pause(attempt, last))
        raise last

    def _spend(self) -> None:
        if self._config.max_requests and self.requests >= self._config.max_requests:
            raise BudgetSpentError
        self.requests += 1

    def _pause(self, attempt: int, failure: CallError) -> float:
        """Seconds to the next attempt, with jitter so that callers do not come back together."""
        config = self._config
        if failure.wait > config.longest_retry_after:
            raise EndpointRefusedError(
                f"{self._url} wants not to be asked for {failure.wait:.0f} s ({failure}), longer "
                f"than calls.longest_retry_after = {config.longest_retry_after:g}; start again "
                "then, or raise it; all rows answered are kept"
            )
        pause = min(config.longest_wait, config.first_wait * 2.0**attempt)
        return max(
            pause * random.uniform(0.5, 1), failure.wait + config.first_wait * random.uniform(0, 1)
        )

    async def _exchange(self, content: bytes) -> bytes:
        """The body of a reply of status 200."""
        started = False
        try:
            async with (
                asyncio.timeout(self._config.call_timeout),
                self._client.stream("POST", self._url, content=content) as response,
            ):
                started = True
                if response.status_code != 200:
                    raise await self._refusal(response)
                return await self._body(response)
        except TimeoutError as error:
            limit = f"no whole reply in {self._config.call_timeout:g} s"
            raise CallError("deadline", limit) from error
        except httpx2.RequestError as error:
            kind = "cut body" if started else "connection"
            if isinstance(error, httpx2.TimeoutException):
                kind = "timeout"
            words = f"{type(error).__name__} {short(str(error), self._key)}".rstrip()
            raise CallError(kind, words) from error

    async def _body(self, response: httpx2.Response) -> bytes:
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise CallError("encoding", f"{short(encoding, self._key)}, not identity")
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > self._config.max_body:
                raise CallError("too large", f"over {self._config.max_body} bytes")
        return bytes(body)

    async def _refusal(self, response: httpx2.Response) -> Exception:
        """What a status other than 200 means, with the server's words as far as they come."""
        status, body = response.status_code, bytearray()
        with contextlib.suppress(httpx2.RequestError, TimeoutError):
            async with asyncio.timeout(ERROR_SECONDS):
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) >= ERROR_BODY:
                        break
        words = server_words(bytes(body), self._key)
        if 300 <= status < 400:
            target = short(response.headers.get("location", "nowhere"), self._key)
            return EndpointRefusedError(
                f"{self._url} redirects ({status}) to {target}, which is not followed; give the "
                "address that answers"
            )
        if status in STOP:
            return EndpointRefusedError(f"{self._url} answered {status}: {words}; {self._advice()}")
        again = status in AGAIN or status >= 500
        wait = retry_after(response.headers) if again else 0.0
        return CallError(f"status {status}", words, again=again, wait=wait)

    def _advice(self) -> str:
        variable = self._key.variable
        if self._key:
            return f"the key sent is that of the environment variable {variable}; check it"
        return f"no key was sent: put the endpoint's key into the environment variable {variable}"


@contextlib.contextmanager
def _quiet_loggers() -> Iterator[None]:
    """Keeps the HTTP libraries from writing what servers say."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(logger.level, logging.WARNING))
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
