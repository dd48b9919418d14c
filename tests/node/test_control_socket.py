"""The control socket of a running node: for whoever has the token, and deaf to everybody else."""

from __future__ import annotations

import json
import socket
import stat
import struct
from pathlib import Path
from typing import Any

import pytest
import trio
from node_shapes import EMBEDDED, Medium

from protocols.invite import Invite
from swarm.clock import WallClock
from swarm.node.control import serve_control
from swarm.node.punctuality import Punctuality
from swarm.policy import checkpoint

# What `issues` and docs promise of `status --json`.
STATUS: dict[str, type | tuple[type, ...]] = {
    "peer_id": str,
    "addresses": list,
    "swarm_id": str,
    "state": str,
    "round": int,
    "peers": int,
    "reward_mean": float,
    "groups_trained_own": int,
    "groups_trained_foreign": int,
    "refused": dict,
    "policy": dict,
    "uptime_s": float,
}
NOT_ANSWERED = [
    b"\n",
    b"[]\n",
    b"7\n",
    b"{\n",
    b"\xff\xfe\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"{}\n",
    b'{"verb": "status"}\n',
    b'{"token": null, "verb": "stop"}\n',
    b'{"token": "", "verb": "stop"}\n',
    b'{"token": "\\ud800", "verb": "stop"}\n',
    b'{"token": ["x"], "verb": "stop"}\n',
    b"[" * 60_000 + b"\n",
    b"x" * 70_000,
]


async def said(port: int, line: bytes) -> dict[str, Any]:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(line)
        data = b""
        while not data.endswith(b"\n"):
            chunk = await stream.receive_some(65536)
            if not chunk:
                break
            data += chunk
    return json.loads(data)


def hang_up_rudely(port: int, data: bytes) -> None:
    """Send something and reset the connection."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(data)


async def test_the_operator_steers_and_nobody_else(tmp_path: Path) -> None:
    medium = Medium(tmp_path, WallClock())
    async with medium.node(0, node_min_round_s=0.5, node_rounds=1000) as node, trio.open_nursery() as nursery:
        nursery.start_soon(serve_control, node, Punctuality())
        nursery.start_soon(node.learn)
        with trio.fail_after(30):
            while not node.context.home.control.exists() or node.learner.round < 2:
                await trio.sleep(0.05)
        assert stat.S_IMODE(node.context.home.control.stat().st_mode) == 0o600
        control = json.loads(node.context.home.control.read_text())
        port, token = control["port"], control["token"]

        async def ask(verb: Any, **arguments: Any) -> dict[str, Any]:
            return await said(port, json.dumps({"token": token, "verb": verb, **arguments}).encode() + b"\n")

        for line in NOT_ANSWERED:
            answer = await said(port, line)
            assert (answer["ok"], answer["exit_code"]) == (False, 3), line[:40]
            assert token not in json.dumps(answer)
        for data in (b"", b'{"tok', json.dumps({"token": token, "verb": "status"}).encode() + b"\n"):
            for _ in range(5):
                await trio.to_thread.run_sync(hang_up_rudely, port, data)
        assert not node.learner.stopping

        answer = await ask("status")
        assert answer["ok"]
        status = answer["result"]
        assert {name: type(status[name]) for name in STATUS} == STATUS
        assert set(status["policy"]) >= {"model", "step", "digest"}
        assert status["peer_id"] == node.context.identity.peer_id
        assert status["swarm_id"] == EMBEDDED.swarm_id
        assert status["round"] >= 2
        assert status["policy"]["step"] > 0
        assert (await ask("peers"))["result"] == []
        invite = Invite.from_string((await ask("invite"))["result"]["invite"])
        assert (invite.manifest_id, invite.addresses) == (EMBEDDED.id, node.exchange.uplink.network.addresses())  # type: ignore[union-attr]

        for verb in ("dance", None, ["status"]):
            answer = await ask(verb)
            assert not answer["ok"]
            assert "knows status, peers, invite, stop, save" in answer["error"]
        told = (await ask("save"))["result"]
        newest = checkpoint.newest(node.context.home.checkpoints)
        assert newest is not None
        assert (newest / checkpoint.MODEL / "model.safetensors").exists()
        saved = checkpoint.node_state(newest)
        assert (saved["round"], saved["totals"]) == (told["round"], node.learner.totals), "as a whole round left it"

        for seconds in (0, -1, 1e12, "2h", [1]):
            assert (await ask("pause", seconds=seconds))["exit_code"] == 3
        assert (await ask("pause", seconds=1000))["result"]["paused"]["until"]
        with trio.fail_after(60):
            while not (await ask("status"))["result"]["paused"]["in_effect"]:
                await trio.sleep(0.05)
        assert (await ask("status"))["result"]["policy"]["pid"] is None
        before = checkpoint.every(node.context.home.checkpoints)
        assert (await ask("save"))["ok"], "a checkpoint holds it"
        assert checkpoint.every(node.context.home.checkpoints) == before
        assert (await ask("resume"))["result"]["paused"] is None
        assert (await ask("pause", seconds=None))["result"]["paused"]["until"] is None
        assert (await ask("resume"))["result"]["paused"] is None

        assert (await ask("stop"))["result"]["stopping"]
        with trio.fail_after(30):
            while list(node.context.home.checkpoints.iterdir()) == []:
                await trio.sleep(0.05)
        assert node.learner.stopping
        nursery.cancel_scope.cancel()
    assert not node.context.home.control.exists()


@pytest.mark.parametrize("settings", [{}])
async def test_two_nodes_see_each_other(tmp_path: Path, settings: dict[str, Any]) -> None:
    from swarm.node.status import peers

    medium = Medium(tmp_path, WallClock())
    async with medium.node(0) as one:
        async with medium.node(1) as other:
            (seen,) = peers(one)
            assert (seen["peer_id"], seen["connected"], seen["direction"]) == (other.context.identity.peer_id, True, "inbound")
            assert peers(other)[0]["direction"] == "outbound"
        assert peers(one) == []
