"""Single calls: when they are repeated, where they go, when they end, and what they do not show."""

import asyncio
import base64
import copy
import email.utils
import json
import logging
import pickle
import time

import pytest
from misbehaving_server import Reply, answers, refuses, says, serving

from dvmap_jax.evaluation.calls import CallConfig, Caller
from dvmap_jax.evaluation.replies import CallError, read_choices, retry_after
from dvmap_jax.evaluation.secret import Key

KEY = Key("A_KEY", 'sk-5ecret/"Key"+0123456789abcdefXYZ')
VALUE = KEY.headers()["Authorization"].removeprefix("Bearer ")
BODY = {"messages": [{"role": "user", "content": "Question: ?\nOptions: yes, no"}], "n": 1}
QUICK = {"attempts": 3, "first_wait": 0.01, "longest_wait": 0.05}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def call(url: str, **calls):
    """The choices of one call."""

    async def once():
        config = CallConfig(**QUICK | calls)
        async with Caller(f"{url}/chat/completions", key=KEY, config=config) as caller:
            return await caller.choices(BODY, asked=1)

    return asyncio.run(once())


def pauses(server) -> list[float]:
    times = [request.time for request in server.requests]
    return [after - before for before, after in zip(times, times[1:], strict=False)]


@pytest.mark.parametrize("status", [429, 503])
def test_seconds_of_retry_after_are_waited(status):
    plan = lambda r: answers(r) if r.attempt else refuses(r, status, "Retry-After: 1")  # noqa: E731
    with serving(plan) as server:
        assert len(call(server.url)) == 1
    assert 1 <= pauses(server)[0] < 10


def test_a_date_of_retry_after_is_waited_for():
    until = time.time() + 2  # the header's dates have whole seconds
    header = f"Retry-After: {email.utils.formatdate(until, usegmt=True)}"
    plan = lambda r: answers(r) if r.attempt else refuses(r, 429, header)  # noqa: E731
    with serving(plan) as server:
        call(server.url)
    assert time.time() >= int(until) and pauses(server)[0] > 0.5


@pytest.mark.parametrize("text", ["", "soon", "-5", "1.5", "²", "Mon, 99 Foo", "Wed"])
def test_a_retry_after_that_says_nothing_is_none(text):
    assert retry_after({"retry-after": text}) == 0


def test_dates_of_retry_after_are_in_universal_time():
    past, coming = time.time() - 60, time.time() + 60
    assert retry_after({"retry-after": email.utils.formatdate(past, usegmt=True)}) == 0
    for form in ({"usegmt": True}, {"localtime": True}, {}):
        waits = retry_after({"retry-after": email.utils.formatdate(coming, **form)})
        assert 55 < waits <= 60


def test_a_wait_that_is_too_long_stops_the_evaluation():
    with (
        serving(lambda r: refuses(r, 429, "Retry-After: 7200")) as server,
        pytest.raises(ValueError, match="not to be asked for 7200 s") as raised,
    ):
        call(server.url)
    assert len(server.requests) == 1 and VALUE not in str(raised.value)


def test_pauses_grow_to_the_longest():
    with serving(lambda r: refuses(r, 500)) as server, pytest.raises(CallError):
        call(server.url, attempts=9, first_wait=0.04, longest_wait=0.16)
    low = [0.02, 0.04, *[0.08] * 6]  # half of 0.04 * 2^n, at most half of 0.16
    assert all(found >= least for found, least in zip(pauses(server), low, strict=True))
    assert min(pauses(server)[-3:]) < 0.5  # without a bound, 0.64 and more


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_carries_nothing(status):
    with serving(answers) as other:
        where = f"Location: {other.url}/chat/completions?{VALUE}"
        with (
            serving(lambda r: Reply(status=status, headers=(where,))) as server,
            pytest.raises(ValueError, match=f"redirects .{status}. to {other.url}") as raised,
        ):
            call(server.url)
        assert other.requests == [] and len(server.requests) == 1
    assert VALUE not in str(raised.value)


def test_a_proxy_of_the_environment_is_used_unless_it_is_told_not_to(monkeypatch):
    with serving(answers) as proxy, serving(answers) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        assert len(call("http://no-such-host.invalid/v1")) == 1
        assert proxy.requests[0].path == "http://no-such-host.invalid/v1/chat/completions"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        call(server.url)
        assert len(server.requests) == len(proxy.requests) == 1


@pytest.mark.parametrize("proxy", ["gopher://me:pass-word@host", "http://[host:pass-word"])
def test_a_proxy_that_cannot_be_is_named_without_its_password(monkeypatch, proxy):
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ValueError, match="ALL_PROXY") as raised:
        call("http://127.0.0.1:1/v1")
    assert "pass-word" not in str(raised.value)


def test_a_reply_that_drips_ends_at_the_deadline():
    body = says([{"message": {"content": "x" * 400}}]).body
    started = time.monotonic()
    with serving(lambda r: Reply(body, drip=0.05)) as server, pytest.raises(CallError) as raised:
        call(server.url, attempts=2, call_timeout=0.8)
    assert raised.value.kind == "deadline" and time.monotonic() - started < 15


def test_an_error_whose_words_drip_is_still_that_error(monkeypatch):
    monkeypatch.setattr("dvmap_jax.evaluation.calls.ERROR_SECONDS", 0.2)
    with (
        serving(lambda r: Reply(b"no such key" * 9, 401, drip=0.02)) as server,
        pytest.raises(ValueError, match="answered 401: no such"),
    ):
        call(server.url)


def test_a_body_is_read_to_its_bound():
    with serving(lambda r: Reply(b"x" * 50_000)) as server, pytest.raises(CallError) as raised:
        call(server.url, max_body=10_000, attempts=1)
    assert raised.value.kind == "too large"
    with serving(lambda r: Reply(b"x" * 9_000_000, 400)) as server, pytest.raises(CallError):
        call(server.url)
    packed = ("Content-Encoding: gzip",)
    with (
        serving(lambda r: Reply(b"", headers=packed)) as server,
        pytest.raises(CallError) as raised,
    ):
        call(server.url)
    assert raised.value.kind == "encoding"
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_nobody_listening_is_a_failed_connection():
    with serving(answers) as server:
        url = server.url
    with pytest.raises(CallError) as raised:
        call(url)
    assert raised.value.kind == "connection" and raised.value.again


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"choices": [NaN]}', "not JSON"),
        (b"\xff\xfe{", "not JSON"),
        (b"null", "no choices"),
        (b"[]", "no choices"),
        (b'{"choices": {}}', "no choices"),
        (b'{"error": {"message": "model overloaded"}}', "no choices"),
        (b'{"choices": [7]}', "no content"),
        (b'{"choices": [{"message": {"content": ["a"]}}]}', "no content"),
        (b'{"choices": [{"message": {"content": "a"}, "logprobs": {"content": [1]}}]}', "log-prob"),
    ],
)
def test_a_reply_that_is_none_is_named(body, kind):
    with pytest.raises(CallError, match=f"^{kind}"):
        read_choices(body, asked=1, key=KEY)


def test_a_key_is_hidden_however_it_is_written():
    quoted = {json.dumps(VALUE)[1:-1], base64.b64encode(VALUE.encode()).decode(), VALUE}
    for form in quoted:
        assert form not in KEY.hide(f"bad: {form}!") and KEY.hide(f"bad: {VALUE}!") == "bad: [key]!"
    assert KEY.hide(f"{VALUE} and \0 {VALUE[5:20]}...") == "[key] and \0 [key]..."
    assert KEY.hide(VALUE[:11]) == VALUE[:11]
    assert KEY.clean({VALUE: [VALUE, 1, None]}) == {"[key]": ["[key]", 1, None]}


def test_a_stand_in_for_a_key_does_not_change_what_a_model_says():
    short = Key("A_KEY", "none")
    assert short.clean(["none of these"]) == ["none of these"]
    assert short.hide("key none is wrong") == "key [key] is wrong"
    assert Key("A_KEY", "x").hide("an axe") == "an axe"
    assert not Key("A_KEY", "") and Key("A_KEY", "").headers() == {}


@pytest.mark.parametrize("value", ["two words", "sk-\nsecret", "clé-secrète", "\x7f"])
def test_a_key_no_header_carries_is_refused_unseen(value, monkeypatch):
    monkeypatch.setenv("A_KEY", value)
    with pytest.raises(ValueError, match="variable A_KEY holds blanks") as raised:
        Key.from_environment("A_KEY")
    assert value not in str(raised.value)


def test_a_key_is_not_shown_or_written():
    assert VALUE not in f"{KEY} {KEY!r} {[KEY]} {Caller('http://h', key=KEY, config=CallConfig())}"
    for write in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="not written"):
            write(KEY)


def test_libraries_log_no_key_at_any_level(caplog):
    loggers = [logging.getLogger(name) for name in ("httpx2", "httpcore2")]
    caplog.set_level("DEBUG")
    with serving(lambda r: refuses(r, 500)) as server, pytest.raises(CallError):
        call(server.url)
    assert VALUE not in caplog.text
    assert [logger.level for logger in loggers] == [logging.NOTSET] * 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"attempts": 0}, "calls.attempts is 0"),
        ({"call_timeout": 0.0}, "calls.call_timeout is 0.0"),
        ({"read_timeout": float("nan")}, "calls.read_timeout is nan"),
        ({"max_requests": -1}, "calls.max_requests is -1"),
        ({"key_variable": "sk-0123-secret"}, "must be the name of an environment variable"),
    ],
)
def test_a_config_that_cannot_be_is_refused(fields, said):
    with pytest.raises(ValueError, match=said) as raised:
        CallConfig(**fields)
    assert "sk-0123" not in str(raised.value)
