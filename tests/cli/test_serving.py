"""The server of `swarmd serve`: its answers, its refusals, and that it follows the checkpoints."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from trained_homes import a_checkpoint

from swarm.config.schema import Config
from swarm.errors import ChildDied, HomeError, PolicyError
from swarm.home import Home
from swarm.policy import checkpoint
from swarm.policy.policy import Reply
from swarm.records import Turn
from swarm.serving import server as server_module
from swarm.serving import trained as trained_module
from swarm.serving.chosen import chosen
from swarm.serving.http import MAX_BODY_BYTES, MAX_HEAD_BYTES, HttpError, Request, Response, answer_json, converse
from swarm.serving.openai import answer, read
from swarm.serving.server import Endpoints
from swarm.serving.trained import Wish, open_trained

Answer = tuple[int, dict[str, str], bytes]


@asynccontextmanager
async def serving(handler: Callable[[Request], Awaitable[Response]]) -> AsyncIterator[int]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, lambda stream: converse(stream, port, handler), [listener])
        yield port
        nursery.cancel_scope.cancel()


async def said(port: int, data: bytes) -> bytes:
    """All that comes back until the server hangs up."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        with trio.fail_after(30):
            with suppress(trio.BrokenResourceError):  # it has answered already
                await stream.send_all(data)
            return b"".join([chunk async for chunk in stream])


async def ask(port: int, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Host": f"127.0.0.1:{port}", "Connection": "close", "Content-Type": "application/json", **(headers or {})}
    fields.setdefault("Content-Length", str(len(content)))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    top, _, rest = (await said(port, f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content)).partition(b"\r\n\r\n")
    first, *lines = top.decode().split("\r\n")
    return int(first.split()[1]), {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, rest


async def echo(request: Request) -> Response:
    return answer_json({"path": request.target, "body": len(request.body)})


async def test_only_programs_that_mean_this_server_are_answered() -> None:
    async with serving(echo) as port:
        assert (await ask(port, "GET", "/x"))[0] == 200
        for headers in ({"Host": f"localhost:{port}"}, {"Origin": f"http://localhost:{port}"}):
            assert (await ask(port, "GET", "/x", headers=headers))[0] == 200
        for headers in (
            {"Host": "127.0.0.1"},
            {"Host": f"evil.example:{port}"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": f"http://127.0.0.1:{port + 1}"},
        ):
            status, _, body = await ask(port, "POST", "/x", {}, headers)
            assert status == 403, headers
            assert json.loads(body)["error"]["code"] in ("foreign_host", "foreign_origin")


async def test_what_is_no_request_is_refused_or_left() -> None:
    async with serving(echo) as port:
        host = f"Host: 127.0.0.1:{port}\r\n".encode()
        assert (await said(port, b"nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400")
        assert (await said(port, b"GET /x HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 400"), "no host"
        assert b" 431" in (await said(port, b"GET /x HTTP/1.1\r\n" + b"x" * (MAX_HEAD_BYTES + 1))).partition(b"\r\n")[0]
        length = f"Content-Length: {MAX_BODY_BYTES + 1}\r\n\r\n".encode()
        over = await said(port, b"POST /x HTTP/1.1\r\n" + host + length + b"x" * (MAX_BODY_BYTES + 1))
        assert over.startswith(b"HTTP/1.1 413")
        post = b"POST /x HTTP/1.1\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n"
        waiting = await said(port, post + host + b"\r\n{}")
        assert b"HTTP/1.1 200" in waiting
        two = await said(port, b"GET /1 HTTP/1.1\r\n" + host + b"\r\nGET /2 HTTP/1.1\r\nConnection: close\r\n" + host + b"\r\n")
        assert two.count(b"HTTP/1.1 200") == 2, "a connection serves more than one request"


def request(body: Any, content_type: str = "application/json") -> Request:
    return Request("POST", "/v1/completions", {"content-type": content_type}, json.dumps(body).encode())


CHAT = [{"role": "system", "content": "be short"}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}]


def test_requests_become_wishes() -> None:
    wanted = {"prompt": ["a", "b"], "n": 2, "max_tokens": 7, "temperature": 0, "seed": 5, "stop": ".", "user": "x"}
    asked = read(request(wanted), chat=False)
    assert asked.wish == Wish(("a", "b"), samples=2, max_tokens=7, temperature=0, seed=5)
    assert asked.stops == (".",)
    spoken = {"messages": CHAT, "max_completion_tokens": 9, "top_p": 1, "stream": True}
    asked = read(request(spoken, "application/json; charset=utf-8"), chat=True)
    assert asked.wish.prompts == ((Turn("system", "be short"), Turn("user", "hi")),)
    assert (asked.wish.max_tokens, asked.stream) == (9, True)
    one, other = (read(request({"prompt": "a"}), chat=False).wish.seed for _ in range(2))
    assert one != other, "without a seed each answer is another"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "object"),
        ({}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, 2]}, "token ids"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"prompt": "a", "n": 0}, "n must"),
        ({"prompt": "a", "n": True}, "n must"),
        ({"prompt": ["a"] * 20, "n": 2}, "replies"),
        ({"prompt": "a", "max_tokens": 1e9}, "max_tokens"),
        ({"prompt": "a", "temperature": 3}, "temperature"),
        ({"prompt": "a", "seed": -1}, "seed"),
        ({"prompt": "a", "stop": [""]}, "stop"),
        ({"prompt": "a", "top_p": 0.5}, "top_p is not supported"),
        ({"prompt": "a", "logprobs": 3}, "logprobs is not supported"),
    ],
)
def test_wrong_completions_are_refused(body: Any, words: str) -> None:
    with pytest.raises(HttpError, match=words) as caught:
        read(request(body), chat=False)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "messages", [None, [], ["hi"], [{"role": "tool", "content": "x"}], [{"role": "user", "content": [{"type": "image_url"}]}]]
)
def test_wrong_conversations_are_refused(messages: Any) -> None:
    with pytest.raises(HttpError, match="message"):
        read(request({"messages": messages}), chat=True)
    with pytest.raises(HttpError, match="Content-Type"):
        read(request({"messages": CHAT}, "text/plain"), chat=True)


def test_replies_become_choices() -> None:
    groups = [(Reply("one. two", True, 5, 3), Reply("three", False, 4, 3))]
    named = {"identity": "7", "created_s": 1, "model": "m", "weights": "w"}
    shown = json.loads(answer(read(request({"prompt": "p", "n": 2, "stop": "."}), chat=False), groups, **named).body)
    assert [(each["text"], each["finish_reason"]) for each in shown["choices"]] == [("one", "stop"), ("three", "length")]
    assert shown["usage"] == {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12}
    streamed = answer(read(request({"messages": CHAT, "n": 2, "stream": True}), chat=True), groups, **named)
    assert streamed.content_type == "text/event-stream"
    *events, done = streamed.body.decode().removesuffix("\n\n").split("\n\n")
    assert done == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks] == ["one. two", "three"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}


class Busy:
    """A policy whose answers can be held back, or fail."""

    name, step, digest, saved_s, waiting = "some/model", 3, "ab" * 32, 9, 0
    error: Exception | None = None

    async def answer(self, wish: Wish) -> list[tuple[Reply, ...]]:
        if self.error:
            raise self.error
        return [(Reply("yes", True, 1, 1),)]


async def test_the_addresses() -> None:
    policy = Busy()
    async with serving(Endpoints(policy).handle) as port:  # type: ignore[arg-type]
        for path in ("/v1/models", "/v1/models?x=1"):
            status, _, body = await ask(port, "GET", path)
            assert (status, [each["id"] for each in json.loads(body)["data"]]) == (200, ["some/model"])
        assert (await ask(port, "GET", "/v1/models/some/model"))[0] == 200
        assert (await ask(port, "POST", "/v1/completions", {"prompt": "p", "model": "some/model"}))[0] == 200
        assert (await ask(port, "GET", "/v1/completions"))[0] == 405
        assert (await ask(port, "GET", "/"))[0] == 404
        status, _, body = await ask(port, "POST", "/v1/chat/completions", {"messages": CHAT, "model": "gpt-4"})
        assert (status, json.loads(body)["error"]["code"]) == (404, "model_not_found")
        assert (await ask(port, "POST", "/v1/completions", b"{"))[0] == 400
        policy.waiting = server_module.MAX_WAITING
        status, headers, _ = await ask(port, "POST", "/v1/completions", {"prompt": "p"})
        assert (status, headers["retry-after"]) == (429, "5")
        policy.waiting = 0
        for error, expected in ((PolicyError("the prompt fills the model"), 400), (ChildDied("it died"), 503)):
            policy.error = error
            status, _, body = await ask(port, "POST", "/v1/completions", {"prompt": "p"})
            assert (status, str(error) in json.loads(body)["error"]["message"]) == (expected, True)


async def test_it_answers_from_the_newest_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained_module, "FOLLOW_S", 0.05)
    home = Home(tmp_path / "home").create()
    async with open_trained(home, Config()) as trained, trio.open_nursery() as nursery:
        nursery.start_soon(trained.follow)
        assert (trained.step, trained.saved_s) == (0, 0), "without a checkpoint it is the base model"
        base = trained.digest
        await a_checkpoint(home, 2)
        with trio.fail_after(120):
            while trained.step != 2:
                await trio.sleep(0.05)
        assert trained.digest != base
        wish = Wish(("12", (Turn("user", "ignored"), Turn("user", "12"))), 2, 5, seed=3)
        first, second = await trained.answer(wish)
        assert len(first) == len(second) == 2
        assert all(0 < reply.tokens <= 5 for reply in first)
        assert {reply.prompt_tokens for reply in first + second} == {first[0].prompt_tokens}, (
            "a model without template: the last turn"
        )
        assert (await trained.answer(wish))[0] == first, "the same seed, the same answer"
        with pytest.raises(PolicyError, match="shorten"):
            await trained.answer(Wish(("1" * 5000,)))
        long = await trained.answer(Wish(("12",), max_tokens=8192, seed=1))
        assert long[0][0].tokens > 0, "what does not fit is cut, not refused"
        trained._policy._child._process.kill()
        with pytest.raises(ChildDied):
            await trained.answer(wish)
        assert (await trained.answer(wish))[0] == first, "a policy that died is there again for the next one"
        nursery.cancel_scope.cancel()
    for which, step in (("base", None), ("2", 2), ("newest", 2)):
        with chosen(home, which) as path:
            assert path == (step and home.checkpoints / "step-00000002")
    with pytest.raises(HomeError, match="swarmd checkpoints"), chosen(home, "7"):
        pass


def test_the_newest_checkpoint_is_found_however_fast_a_daemon_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It saves and prunes between a look at the folder and the lock, and while one is read."""
    home = Home(tmp_path / "home").create()

    def fill(folder: Path) -> None:
        (folder / checkpoint.MODEL).mkdir()

    def save() -> None:
        steps.append(len(steps))
        written(home.checkpoints, steps[-1], {}, {}, fill)
        checkpoint.prune(home.checkpoints, 1)

    steps: list[int] = []
    written, looked = checkpoint.write, checkpoint.hold
    save()
    disturbances = iter([True, True])

    def disturbed_hold(path: Path):  # type: ignore[no-untyped-def]
        if next(disturbances, False):
            save()
        return looked(path)

    monkeypatch.setattr(checkpoint, "hold", disturbed_hold)
    with chosen(home, "newest") as path:
        assert path is not None
        save()
        assert checkpoint.damage(path) is None
    assert len(steps) == 4
