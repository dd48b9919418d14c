"""HTTP/1.1 on one connection, for programs of this machine: h11 does the protocol, this file the
bounds and the gate.

Any web page can send requests to 127.0.0.1 through its visitor's browser, under a name of its own
that points there (DNS rebinding). So a request that calls this server by another name, or comes
from another page, is refused.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import h11
import trio

MAX_HEAD_BYTES = 16384
MAX_BODY_BYTES = 2**20
REQUEST_WITHIN_S = 30.0  # from its first byte, or from the answer before, to its last byte
WRITTEN_WITHIN_S = 30.0
DRAINED_WITHIN_S = 1.0
NAMES = ("127.0.0.1", "localhost")
READ_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request; `target` is the path with its query."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class HttpError(Exception):
    """A refused request: the status, a sentence, and a `code` for programs."""

    def __init__(self, status: int, message: str, code: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def response(self) -> Response:
        """Format the refusal like OpenAI's servers."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        headers = (("Retry-After", "5"),) if self.status in (429, 503) else ()
        return answer_json(
            {"error": {"message": str(self), "type": kind, "param": None, "code": self.code}}, self.status, headers
        )


Handler = Callable[[Request], Awaitable[Response]]


def answer_json(value: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """Return a JSON document."""
    return Response(status, json.dumps(value).encode(), headers=headers)


async def converse(stream: trio.abc.HalfCloseableStream, port: int, handler: Handler) -> None:
    """Answer the requests of one connection until either side ends it."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    try:
        while True:
            try:
                with trio.fail_after(REQUEST_WITHIN_S):
                    request = await _request(connection, stream, port)
                if request is None:
                    return
                response = await handler(request)
            except HttpError as error:
                response = error.response()
            except trio.TooSlowError:
                return
            await _respond(connection, stream, response)
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                await _drain(stream)
                return
            connection.start_next_cycle()
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
        return  # the client hung up
    finally:
        with trio.move_on_after(1):
            await stream.aclose()


async def _drain(stream: trio.abc.HalfCloseableStream) -> None:
    """Read for a moment what the client still sends: closing at once would cut off the answer."""
    left = 2 * MAX_BODY_BYTES
    with trio.move_on_after(DRAINED_WITHIN_S):
        await stream.send_eof()
        while left > 0 and (chunk := await stream.receive_some(READ_BYTES)):
            left -= len(chunk)


async def _request(connection: h11.Connection, stream: trio.abc.HalfCloseableStream, port: int) -> Request | None:
    """Read the next request; None at the end of the connection. Raises `HttpError`."""
    head: h11.Request | None = None
    body = bytearray()
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise HttpError(error.error_status_hint, f"this is no proper HTTP request: {error}") from None
        match event:
            case h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    go_on = connection.send(h11.InformationalResponse(status_code=100, headers=[]))
                    await stream.send_all(go_on or b"")
                connection.receive_data(await stream.receive_some(READ_BYTES))
            case h11.Request():
                head = event
                _check_origin(_headers(head), port)
            case h11.Data():
                body += event.data
                if len(body) > MAX_BODY_BYTES:
                    raise HttpError(413, f"the body is over the limit of {MAX_BODY_BYTES} bytes", "body_too_large")
            case h11.EndOfMessage() if head is not None:
                return Request(head.method.decode(), head.target.decode("ascii", "replace"), _headers(head), bytes(body))
            case _:
                return None


def _headers(request: h11.Request) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}


def _check_origin(headers: Mapping[str, str], port: int) -> None:
    own = {f"{name}:{port}" for name in NAMES}
    if headers.get("host") not in own:
        raise HttpError(403, f"this server is called {' or '.join(sorted(own))}, not {headers.get('host')!r}", "foreign_host")
    origin = headers.get("origin")
    if origin is not None and origin not in {f"http://{name}" for name in own}:
        raise HttpError(403, f"web pages of {origin!r} may not use this server", "foreign_origin")


async def _respond(connection: h11.Connection, stream: trio.abc.HalfCloseableStream, response: Response) -> None:
    if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    headers = [
        ("Content-Type", response.content_type),
        ("Content-Length", str(len(response.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        *response.headers,
    ]
    if connection.their_state is not h11.DONE:
        headers.append(("Connection", "close"))  # what is left of the request is not read
    with trio.fail_after(WRITTEN_WITHIN_S):
        for event in (
            h11.Response(status_code=response.status, headers=headers),
            h11.Data(data=response.body),
            h11.EndOfMessage(),
        ):
            await stream.send_all(connection.send(event) or b"")
