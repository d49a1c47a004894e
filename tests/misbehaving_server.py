"""A chat endpoint on this machine that misbehaves as a plan says: a request in, a reply out."""

import asyncio
import contextlib
import dataclasses
import json
import random
import threading
import time
import zlib
from collections.abc import Callable

REASONS = {200: "OK", 429: "Too Many Requests", 500: "Internal Server Error"}


@dataclasses.dataclass(frozen=True)
class Request:
    """What was asked, how often the same prompt was asked before, and when (monotonic seconds)."""

    path: str
    headers: dict[str, str]
    body: dict
    attempt: int
    time: float

    @property
    def prompt(self) -> str:
        return self.body["messages"][-1]["content"]


@dataclasses.dataclass(frozen=True)
class Reply:
    """A reply, sent after `delay` seconds, all of it or `cut` bytes, one in `drip` seconds."""

    body: bytes = b""
    status: int = 200
    headers: tuple[str, ...] = ()
    delay: float = 0.0
    cut: int | None = None
    drip: float = 0.0
    silent: bool = False


Plan = Callable[[Request], Reply]


def chosen_option(prompt: str) -> str:
    """What the server answers: an option that depends on the whole prompt."""
    options = prompt.rpartition("Options: ")[2].split(", ")
    return options[zlib.crc32(prompt.encode()) % len(options)]


def completion(text: str | None, **beside) -> dict:
    return {"message": {"role": "assistant", "content": text, **beside}, "finish_reason": "stop"}


def answers(request: Request, count: int | None = None) -> Reply:
    """As many right choices as asked, or another number of them."""
    text = f"<answer>\n{chosen_option(request.prompt)}\n</answer>"
    return says([completion(text)] * (request.body["n"] if count is None else count))


def says(choices: object, **headers) -> Reply:
    return Reply(json.dumps({"object": "chat.completion", "choices": choices}).encode(), **headers)


def refuses(request: Request, status: int, *headers: str) -> Reply:
    """An error that repeats the key it was sent, as careless servers do."""
    words = f"no luck with {request.headers.get('authorization', 'no key')}"
    body = json.dumps({"error": {"message": words}}).encode()
    return Reply(body, status, (*headers, f"X-Echo: {words}"))


def cut_echo(request: Request) -> Reply:
    """A body without its end, in the middle of the key."""
    body = b'{"choices": [{"message": {"content": "' + request.headers["authorization"].encode()
    return Reply(body + b'"}}]}', cut=len(body) - 3)


FAULTS: dict[str, Plan] = {
    "status 429": lambda r: refuses(r, 429, "Retry-After: 0"),
    "status 500": lambda r: refuses(r, 500),
    "timeout": lambda r: Reply(delay=60),
    "cut body": cut_echo,
    "connection": lambda r: Reply(silent=True),
    "not JSON": lambda r: Reply(b"<html>" + r.headers["authorization"].encode()),
    "too many choices": lambda r: answers(r, r.body["n"] + 1),
    "no choices": lambda r: answers(r, 0),
    "no content": lambda r: says([completion(None)]),
    "deadline": lambda r: dataclasses.replace(answers(r), drip=0.05),
}


def seeded_faults(seed: int, share: float = 0.3) -> Plan:
    """Each request fails with this probability, in one way of FAULTS, by prompt and attempt."""

    def plan(request: Request) -> Reply:
        rng = random.Random(f"{seed} {request.attempt} {request.prompt}")
        if rng.random() >= share:
            return answers(request, 1 if rng.random() < 0.2 else None)
        return FAULTS[rng.choice(sorted(FAULTS))](request)

    return plan


class Server:
    """Replies by its plan, and remembers what it was asked."""

    def __init__(self, plan: Plan):
        self.plan, self.url = plan, ""
        self.requests: list[Request] = []
        self.under_way = self.busiest = 0
        self._asked: dict[str, int] = {}

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._exchange(reader, writer):
                pass
        writer.close()

    async def _exchange(self, reader, writer) -> bool:
        """Whether the connection stays open after one request and its reply."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        told = json.dumps(body["messages"])
        attempt = self._asked[told] = self._asked.get(told, -1) + 1
        request = Request(head[0].split()[1], headers, body, attempt, time.monotonic())
        self.requests.append(request)
        self.under_way += 1
        self.busiest = max(self.busiest, self.under_way)
        try:
            return await _send(self.plan(request), writer)
        finally:
            self.under_way -= 1


async def _send(reply: Reply, writer: asyncio.StreamWriter) -> bool:
    await asyncio.sleep(reply.delay)
    if reply.silent:
        return False
    lines = [
        f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Other')}",
        *("Content-Type: application/json", f"Content-Length: {len(reply.body)}", *reply.headers),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    body = reply.body[: reply.cut]
    for start in range(len(body)) if reply.drip else ():
        writer.write(body[start : start + 1])
        await writer.drain()
        await asyncio.sleep(reply.drip)
    if not reply.drip:
        writer.write(body)
    await writer.drain()
    return reply.cut is None


@contextlib.contextmanager
def serving(plan: Plan):
    """A server in a thread of its own; `url` is what an endpoint's config takes."""
    server, loop = Server(plan), asyncio.new_event_loop()
    listening = loop.run_until_complete(
        asyncio.start_server(server.connection, "127.0.0.1", 0, backlog=512)
    )
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(_end(listening), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _end(listening: asyncio.Server) -> None:
    listening.close()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
