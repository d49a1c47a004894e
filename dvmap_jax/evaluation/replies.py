"""What an OpenAI-compatible endpoint replied: bodies and headers in, choices or a failure out."""

import contextlib
import dataclasses
import datetime
import email.utils
import json
from collections.abc import Mapping
from typing import Any

from dvmap_jax.evaluation.secret import Key

WORDS = 300  # characters of a server's words that are kept


class CallError(Exception):
    """A call without a usable reply: of which kind, in which words, and whether to ask again."""

    def __init__(self, kind: str, words: str = "", *, again: bool = True, wait: float = 0.0):
        """`wait` is the number of seconds after which the server wants to be asked again."""
        super().__init__(f"{kind}: {words}" if words else kind)
        self.kind, self.words, self.again, self.wait = kind, words, again, wait


@dataclasses.dataclass(frozen=True)
class Choice:
    """One completion: its text, whether it was cut off, and what stands beside it, if anything.

    `token_logprobs` has {"token", "logprob", "top_logprobs": {token: logprob}} for each token.
    """

    text: str
    truncated: bool
    reasoning: str | None = None
    token_logprobs: list[dict[str, Any]] | None = None


def read_choices(body: bytes, *, asked: int, key: Key) -> list[Choice]:
    """The choices of a reply, at least one and at most as many as asked; else CallError."""
    try:
        reply = parsed(body, key)
    except ValueError as error:
        raise CallError("not JSON", server_words(body, key)) from error
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if not isinstance(choices, list) or not choices:
        raise CallError("no choices", server_words(body, key))
    if len(choices) > asked:
        raise CallError("too many choices", f"{len(choices)}, not {asked}")
    return [_choice(choice) for choice in choices]


def parsed(body: bytes, key: Key) -> Any:
    """The body's JSON value without the key; ValueError where it is none."""
    try:
        return key.clean(json.loads(body, parse_constant=_refuse_constant))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def server_words(body: bytes, key: Key) -> str:
    """The message of an error's body, or else its beginning, in one short line."""
    reply = None
    with contextlib.suppress(ValueError):
        reply = parsed(body, key)
    error = reply.get("error", reply) if isinstance(reply, dict) else None
    said = error.get("message", error.get("detail")) if isinstance(error, dict) else error
    text = said if isinstance(said, str) else body.decode("utf-8", "replace")
    return short(text, key)


def short(text: str, key: Key) -> str:
    """A text in one line, without the key and then cut."""
    line = " ".join(key.hide(text).split())
    return line if len(line) <= WORDS else line[:WORDS] + "..."


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that Retry-After asks to wait; 0 where there is none or it cannot be read.

    It is a number of seconds or a date (RFC 9110, 10.2.3).
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (ValueError, IndexError):
        return 0.0
    if when.tzinfo is None:  # "-0000": in universal time, of which place is not said
        when = when.replace(tzinfo=datetime.UTC)
    return max(0.0, (when - datetime.datetime.now(datetime.UTC)).total_seconds())


def _choice(choice: Any) -> Choice:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise CallError("no content", "a choice has no message")
    content, finish = message.get("content"), choice.get("finish_reason")
    truncated = finish == "length"
    # A model that was cut off while it reasoned has said nothing, which is its answer: to ask
    # again until it fits would be to choose among answers.
    if content is None and truncated:
        content = ""
    if not isinstance(content, str):
        raise CallError("no content", f"content is {type(content).__name__}, ended by {finish!r}")
    return Choice(content, truncated, _reasoning(message), _token_logprobs(choice))


def _reasoning(message: Mapping[str, Any]) -> str | None:
    # "reasoning_content" of DeepSeek and SGLang is "reasoning" in vLLM from 0.11 and in OpenRouter.
    said = (message.get(name) for name in ("reasoning_content", "reasoning"))
    return next((text for text in said if isinstance(text, str)), None)


def _token_logprobs(choice: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(tokens, list):
        return None
    try:
        return [
            {
                "token": token["token"],
                "logprob": token["logprob"],
                "top_logprobs": {
                    top["token"]: top["logprob"] for top in token.get("top_logprobs") or ()
                },
            }
            for token in tokens
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise CallError("log-probabilities", f"not as they should be: {error!r}") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
