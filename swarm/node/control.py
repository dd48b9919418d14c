"""The operator's socket: one line of JSON in, one line out, on 127.0.0.1 only.

Port and a random token are written to `control.json` in the home, readable by its owner alone. So
whoever can read the file may steer the node; a web page or another user of the machine cannot.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

import trio

from swarm.errors import ConfigError, SwarmdError
from swarm.home import write_atomically
from swarm.node.node import Node
from swarm.node.punctuality import Punctuality
from swarm.node.status import invite, pause_of, peers, status

logger = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 65536
ANSWER_WITHIN_S = 600.0
LONGEST_PAUSE_S = 366 * 86400.0

Verb = Callable[[Mapping[str, Any]], Awaitable[Any]]


async def serve_control(node: Node, punctuality: Punctuality) -> None:
    """Answer the operator until cancelled. The caller runs `punctuality.watch` in the same loop."""
    token = secrets.token_hex(32)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    write_atomically(node.context.home.control, json.dumps({"port": port, "token": token, "pid": os.getpid()}).encode())
    verbs = _verbs(node, punctuality)
    try:
        await trio.serve_listeners(lambda stream: _answer(stream, verbs, token), listeners)
    finally:
        node.context.home.control.unlink(missing_ok=True)


def _verbs(node: Node, punctuality: Punctuality) -> dict[str, Verb]:
    keeping = trio.Lock()

    async def on_status(request: Mapping[str, Any]) -> Any:
        return await status(node) | {"loop": asdict(punctuality.statistics())}

    async def on_peers(request: Mapping[str, Any]) -> Any:
        return peers(node)

    async def on_invite(request: Mapping[str, Any]) -> Any:
        return invite(node)

    async def on_stop(request: Mapping[str, Any]) -> Any:
        node.learner.stop()
        return {"stopping": True, "after": node.learner.activity.state}

    async def on_save(request: Mapping[str, Any]) -> Any:
        await node.learner.save_after_round()
        return {"round": node.learner.round}

    async def on_pause(request: Mapping[str, Any]) -> Any:
        seconds = request.get("seconds")
        if not (seconds is None or (isinstance(seconds, int | float) and 0 < seconds <= LONGEST_PAUSE_S)):
            raise ConfigError(f"a pause lasts above 0 and at most {LONGEST_PAUSE_S:g} seconds, or until it is taken back")
        node.learner.guest.pause(seconds)
        return await paused()

    async def on_resume(request: Mapping[str, Any]) -> Any:
        node.learner.guest.resume()
        return await paused()

    async def paused() -> Any:
        async with keeping:
            await trio.to_thread.run_sync(node.learner.guest.keep, node.context.home.pause)
        return {"paused": pause_of(node), "state": node.learner.activity.state}

    return {
        "status": on_status,
        "peers": on_peers,
        "invite": on_invite,
        "stop": on_stop,
        "save": on_save,
        "pause": on_pause,
        "resume": on_resume,
    }


async def _answer(stream: trio.SocketStream, verbs: Mapping[str, Verb], token: str) -> None:
    async with stream:
        try:
            with trio.move_on_after(ANSWER_WITHIN_S):
                try:
                    answer = await _result(await _line(stream), verbs, token)
                except SwarmdError as error:
                    answer = {"ok": False, "error": str(error), "exit_code": error.exit_code}
                await stream.send_all(json.dumps(answer).encode() + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            logger.debug("the operator hung up")


async def _line(stream: trio.SocketStream) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n") and len(data) <= MAX_REQUEST_BYTES:
        chunk = await stream.receive_some(MAX_REQUEST_BYTES)
        if not chunk:
            break
        data += chunk
    return bytes(data)


async def _result(line: bytes, verbs: Mapping[str, Verb], token: str) -> dict[str, Any]:
    try:
        request = json.loads(line)
        known = isinstance(request, dict) and hmac.compare_digest(str(request.get("token", "")).encode(), token.encode())
    except (ValueError, RecursionError):
        raise ConfigError("the control socket takes one line of JSON") from None
    if not known:
        raise ConfigError("wrong token for the control socket; it is in control.json in the node's home")
    verb = verbs.get(str(request.get("verb", "")))
    if verb is None:
        raise ConfigError(f"the control socket knows {', '.join(verbs)}, not {request.get('verb')!r}")
    return {"ok": True, "result": await verb(request)}
