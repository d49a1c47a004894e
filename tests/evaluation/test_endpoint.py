"""A model over HTTP: what is asked, what becomes a row, what stops, and what goes on."""

import functools
import json
import time
import traceback

import pytest
from misbehaving_server import (
    FAULTS,
    answers,
    chosen_option,
    completion,
    refuses,
    says,
    seeded_faults,
    serving,
)

from dvmap_jax.evaluation.calls import CallConfig
from dvmap_jax.evaluation.endpoint import (
    EndpointConfig,
    answer_over_http,
    endpoint_parts,
    failures_by_kind,
)
from dvmap_jax.evaluation.journal import FILE, Journal
from dvmap_jax.survey.prompts import messages
from dvmap_jax.survey.synthetic import synthetic_examples

EXAMPLES = synthetic_examples(20, seed=1)
KEY = "sk-5ecret/Key+0123456789abcdefXYZ"
PASSWORD = "pass-0123456789"
PROMPT = functools.partial(messages, template="answer", system_prompt="default")
QUICK = {
    **{"concurrency": 16, "attempts": 4, "first_wait": 0.01, "longest_wait": 0.05},
}
# Seconds. Short where a server hangs or drips; elsewhere as they are, since a test may be held up.
HASTY = {"read_timeout": 1.0, "call_timeout": 1.5}
LIMITS = {"timeout": {"read_timeout": 0.3}, "deadline": {"call_timeout": 0.6}}


@pytest.fixture(autouse=True)
def key(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def config_for(server, *, calls=(), **fields) -> EndpointConfig:
    return EndpointConfig(server.url, "a/b", calls=CallConfig(**QUICK | dict(calls)), **fields)


def ask(server, folder, *, count=40, progress=lambda rows: None, **fields) -> list[dict]:
    """The journal's rows after one start."""
    config = config_for(server, **fields)
    journal = Journal(folder, config.described())
    how = {"benchmark": "test", "prompt": PROMPT, "progress": progress}
    answer_over_http(EXAMPLES[:count], config, journal, **how)
    return Journal(folder, config.described()).rows()


def expected(number: int) -> str:
    return chosen_option(PROMPT(EXAMPLES[number])[-1]["content"])


def written(folder) -> str:
    return "".join(path.read_text() for path in folder.rglob("*") if path.is_file())


def test_a_model_over_http_is_asked_what_a_checkpoint_is_asked(tmp_path):
    seen = []
    with serving(answers) as server:
        fields = {"samples": 3, "seed": 5, "extra": '{"top_k": 7, "top_p": null}'}
        rows = ask(server, tmp_path, progress=seen.append, **fields)
    assert [row["number"] for row in rows] == list(range(40)) and seen[-1] == 40
    assert [row["predicted"] for row in rows] == [expected(n) for n in range(40)]
    right = [float(expected(n) == EXAMPLES[n].answer) for n in range(40)]
    assert [row["correct"] for row in rows] == right and 0 < sum(right) < 40
    assert all(len(row["completions"]) == 3 and row["readable"] == 1 for row in rows)
    bodies = [request.body for request in server.requests]
    assert sorted(map(str, (b["messages"] for b in bodies))) == sorted(
        str(PROMPT(example)) for example in EXAMPLES[:40]
    )
    fixed = {"model": "a/b", "n": 3, "temperature": 0.7, "max_tokens": 1024, "stream": False}
    assert all(body.items() >= {**fixed, "top_k": 7}.items() for body in bodies)
    assert all("top_p" not in body and "logprobs" not in body for body in bodies)
    assert len({body["seed"] for body in bodies}) == 40
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    assert {request.path for request in server.requests} == {"/v1/chat/completions"}
    assert 1 < server.busiest <= QUICK["concurrency"]


def test_no_row_is_lost_or_doubled_by_a_server_that_misbehaves(tmp_path, caplog):
    caplog.set_level("DEBUG")
    with serving(seeded_faults(seed=3)) as server:
        rows = ask(server, tmp_path, count=160, samples=2, calls={**HASTY, "attempts": 2})
    assert [row["number"] for row in rows] == list(range(160))
    failed = [row for row in rows if "failure" in row]
    assert 5 < len(failed) < 40
    for row in failed:
        assert (row["predicted"], row["correct"], row["readable"]) == (None, 0, 0)
    answered = [row for row in rows if "failure" not in row]
    assert [row["predicted"] for row in answered] == [expected(r["number"]) for r in answered]
    assert all(len(row["completions"]) == 2 for row in answered)
    kinds = failures_by_kind(rows)
    assert sum(kinds.values()) == len(failed) and set(kinds) <= set(FAULTS)
    assert list(kinds.values()) == sorted(kinds.values(), reverse=True)
    assert "failed for good" in caplog.text
    for text in (caplog.text, written(tmp_path)):
        assert KEY not in text and KEY[:12] not in text


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_that_stays_is_a_failure_of_its_name(tmp_path, kind):
    with serving(FAULTS[kind]) as server:
        rows = ask(server, tmp_path, count=4, calls={"attempts": 2, **LIMITS.get(kind, {})})
    assert failures_by_kind(rows) == {kind: 4} and len(server.requests) == 8
    assert KEY not in written(tmp_path)


def test_a_fault_that_passes_leaves_no_trace(tmp_path):
    faults = list(FAULTS.values())
    plan = lambda r: faults[r.attempt](r) if r.attempt < len(faults) else answers(r)  # noqa: E731
    with serving(plan) as server:
        rows = ask(server, tmp_path, count=3, calls={**HASTY, "attempts": len(faults) + 1})
    assert [row["predicted"] for row in rows] == [expected(n) for n in range(3)]
    assert failures_by_kind(rows) == {} and len(server.requests) == 3 * (len(faults) + 1)


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_row_the_server_refuses_fails_at_once_in_its_words(tmp_path, status):
    refused = PROMPT(EXAMPLES[2])[-1]["content"]
    plan = lambda r: refuses(r, status) if r.prompt == refused else answers(r)  # noqa: E731
    with serving(plan) as server:
        rows = ask(server, tmp_path, count=6)
    assert len(server.requests) == 6
    assert rows[2]["failure"] == f"status {status}: no luck with Bearer [key]"
    assert failures_by_kind(rows) == {f"status {status}": 1}


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refused_key_stops_everything_and_records_nothing(tmp_path, status, caplog):
    caplog.set_level("DEBUG")
    with (
        serving(lambda r: refuses(r, status)) as server,
        pytest.raises(ValueError, match=rf"answered {status}.*OPENAI_API_KEY; check it") as raised,
    ):
        ask(server, tmp_path)
    assert KEY not in str(raised.value) and "Bearer [key]" in str(raised.value)
    assert KEY not in caplog.text + written(tmp_path)
    assert len((tmp_path / FILE).read_text().splitlines()) == 1
    assert len(server.requests) <= QUICK["concurrency"]


def test_a_key_that_is_not_set_is_not_sent_and_named_where_it_is_missed(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with serving(answers) as server:
        assert len(ask(server, tmp_path / "open", count=3)) == 3
        assert not any("authorization" in request.headers for request in server.requests)
    with (
        serving(lambda r: refuses(r, 401)) as server,
        pytest.raises(ValueError, match="no key was sent: .*variable OTHER_KEY"),
    ):
        ask(server, tmp_path / "shut", calls={"key_variable": "OTHER_KEY"})


def test_a_key_that_expires_midway_keeps_what_was_answered(tmp_path):
    with serving(answers) as server:
        server.plan = lambda r: answers(r) if len(server.requests) <= 20 else refuses(r, 401)
        with pytest.raises(ValueError, match="answered 401"):
            ask(server, tmp_path, calls={"concurrency": 1})
        assert len((tmp_path / FILE).read_text().splitlines()) == 21
        server.plan = answers
        rows = ask(server, tmp_path)
    assert [row["predicted"] for row in rows] == [expected(n) for n in range(40)]


def test_a_server_that_always_fails_fails_every_row(tmp_path):
    with serving(FAULTS["status 500"]) as server:
        rows = ask(server, tmp_path, calls={"stop_after": 0, "attempts": 2})
    assert [row["number"] for row in rows] == list(range(40))
    assert failures_by_kind(rows) == {"status 500": 40}
    assert {row["failure"] for row in rows} == {"status 500: no luck with Bearer [key]"}


def test_a_server_that_went_away_stops_the_evaluation_and_takes_no_row(tmp_path):
    calls = {"stop_after": 5, "attempts": 2, "concurrency": 2}
    with serving(answers) as server:
        server.plan = lambda r: answers(r) if len(server.requests) <= 8 else refuses(r, 503)
        with pytest.raises(ValueError, match="5 rows in a row failed .*'status 503: no luck"):
            ask(server, tmp_path, calls=calls)
        assert len((tmp_path / FILE).read_text().splitlines()) == 1 + 8
        server.plan = answers
        rows = ask(server, tmp_path, calls=calls)
    assert failures_by_kind(rows) == {} and len(rows) == 40


def test_a_spent_budget_stops_and_a_larger_one_goes_on(tmp_path):
    with serving(seeded_faults(seed=8)) as server:
        with pytest.raises(ValueError, match=r"budget of 25 requests is spent: \d+ of 40 rows"):
            ask(server, tmp_path, calls={**HASTY, "max_requests": 25})
        assert len(server.requests) == 25
        kept = (tmp_path / FILE).read_text()
        assert 1 < len(kept.splitlines()) <= 26
        server.plan = answers
        rows = ask(server, tmp_path, calls={"max_requests": 60})
    assert (tmp_path / FILE).read_text().startswith(kept)
    assert [row["number"] for row in rows] == list(range(40))


def test_choices_that_are_missing_are_drawn_by_further_calls(tmp_path):
    with serving(lambda r: answers(r, min(2, r.body["n"]))) as server:
        rows = ask(server, tmp_path, count=1, samples=5, seed=0)
    assert [request.body["n"] for request in server.requests] == [5, 3, 1]
    assert len({request.body["seed"] for request in server.requests}) == 3
    assert len(rows[0]["completions"]) == len(rows[0]["predictions"]) == 5
    with serving(answers) as server:
        ask(server, tmp_path / "one", count=1, samples=3, choices_per_call=1)
    assert [request.body["n"] for request in server.requests] == [1, 1, 1]


def test_what_stands_beside_a_completion_is_kept(tmp_path):
    token = {"token": "<", "logprob": -0.5, "bytes": [60], "top_logprobs": []}
    token["top_logprobs"] = [{"token": "<", "logprob": -0.5}, {"token": "N", "logprob": -1.5}]
    thought = completion("ay \ud800", reasoning_content="because") | {
        "logprobs": {"content": [token]}
    }
    cut = completion(None, reasoning="and then") | {"finish_reason": "length"}
    with serving(lambda r: says([thought, cut, completion(f"I say {KEY}")])) as server:
        row = ask(server, tmp_path, count=1, samples=3, top_logprobs=2)[0]
    assert row["completions"] == ["ay ?", "", "I say [key]"]
    assert row["reasonings"] == ["because", "and then", None]
    assert row["truncated"] == pytest.approx(1 / 3) and row["predicted"] is None
    kept = {"token": "<", "logprob": -0.5, "top_logprobs": {"<": -0.5, "N": -1.5}}
    assert row["token_logprobs"] == [[kept], None, None] and "failure" not in row
    assert server.requests[0].body["logprobs"] is True
    assert server.requests[0].body["top_logprobs"] == 2


def test_a_disk_that_is_full_ends_the_evaluation(tmp_path, monkeypatch):
    def full(self, rows):
        raise OSError("no room")

    monkeypatch.setattr(Journal, "add", full)
    started = time.monotonic()
    with serving(answers) as server, pytest.raises(OSError, match="no room"):
        ask(server, tmp_path)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"url": "localhost:8000/v1"}, "give one like https://host/v1"),
        ({"url": "ftp://host/v1"}, "give one like https://host/v1"),
        ({"url": f"https://me:{PASSWORD}@host/v1"}, "holds a user, a password"),
        ({"url": f"https://host/v1?key={PASSWORD}"}, "or a query"),
        ({"url": f"https://host:{PASSWORD}/v1"}, "is no address"),
        ({"model": ""}, "model is empty"),
        ({"samples": 0}, "samples is 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"extra": "{"}, "extra is not JSON"),
        ({"extra": "[]"}, "must be a JSON object"),
        ({"extra": '{"n": 4}'}, "sets 'n'"),
    ],
)
def test_a_config_that_cannot_be_is_refused(fields, said):
    with pytest.raises(ValueError, match=said) as raised:
        EndpointConfig(**{"url": "https://host/v1", "model": "m"} | fields)
    assert PASSWORD not in "".join(traceback.format_exception(raised.value))


def test_a_model_flag_names_address_and_model():
    parts = ("https://host/v1", "deepseek-ai/DeepSeek-V3#x")
    assert endpoint_parts("https://host/v1#deepseek-ai/DeepSeek-V3#x") == parts
    assert EndpointConfig(*parts).chat_url == "https://host/v1/chat/completions"
    whole = EndpointConfig("https://host/v1/chat/completions/", "m")
    assert whole.chat_url == "https://host/v1/chat/completions"
    for flag in ("https://host/v1", "https://host/v1#"):
        with pytest.raises(ValueError, match="names no model"):
            endpoint_parts(flag)


def test_a_config_with_the_key_in_it_is_refused(tmp_path):
    extra = json.dumps({"token": KEY})
    config = EndpointConfig("http://host/v1", "m", extra=extra)
    with pytest.raises(ValueError, match="hold the key of OPENAI_API_KEY") as raised:
        answer_over_http(EXAMPLES, config, Journal(tmp_path, {}), benchmark="t", prompt=PROMPT)
    assert KEY not in str(raised.value)
