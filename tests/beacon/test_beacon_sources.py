"""Rounds from the web and from peers: the first that verifies wins, and no source can do harm."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import trio
from drand_shapes import as_json, web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.drand import verify_round
from protocols.vectors.beacon_cases import TEST_CHAIN, sign_round
from swarm.beacon import drand_web, sources
from swarm.beacon.drand_web import MAX_ANSWER_BYTES, fetch_round
from swarm.beacon.sources import BEACON_PROTOCOL, PEERS_ASKED, RoundSources
from swarm.clock import WallClock
from swarm.errors import ConfigError, NetworkError
from swarm.net.network import PeerRecord

ROUND = 1234
GOOD = sign_round(ROUND)


@dataclass
class Peers:
    """A network of peers that answer as told."""

    answers: dict[str, Callable[[], Awaitable[bytes]]]
    peer_id: str = "me"
    asked: list[str] = field(default_factory=list)

    def peers(self) -> tuple[PeerRecord, ...]:
        return tuple(PeerRecord(name, (), connected_since_ms=0) for name in self.answers)

    async def request(self, peer: str, protocol: str, data: bytes, max_bytes: int) -> bytes:
        assert (protocol, data, max_bytes) == (BEACON_PROTOCOL, ROUND.to_bytes(8), 48)
        self.asked.append(peer)
        return await self.answers[peer]()


def gives(data: bytes) -> Callable[[], Awaitable[bytes]]:
    async def answer() -> bytes:
        return data

    return answer


async def refuses() -> bytes:
    raise NetworkError("not held")


async def never() -> bytes:
    await trio.sleep_forever()
    raise AssertionError


def searching(network: Peers | None = None, *urls: str) -> RoundSources:
    return RoundSources(TEST_CHAIN, urls, WallClock(), lambda: network)  # type: ignore[arg-type, return-value]


async def test_the_web_has_it() -> None:
    with web() as server:
        found = await searching(None, server.url + "/").find(ROUND, on_web=True, holders=())
    assert found is not None
    assert (found.signature, found.source) == (GOOD, "web")
    assert server.asked == [f"/{TEST_CHAIN.hash.hex()}/public/{ROUND}"]


async def test_the_web_is_not_asked_before_the_round_is_published() -> None:
    with web() as server:
        assert await searching(None, server.url).find(ROUND, on_web=False, holders=()) is None
        assert server.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        lambda round: None,
        lambda round: b"",
        lambda round: b"{}",
        lambda round: b"[]",
        lambda round: b"[" * MAX_ANSWER_BYTES,
        lambda round: b'{"signature": 5}',
        lambda round: b'{"signature": "zz"}',
        lambda round: b'{"signature": "00"}',
        lambda round: b"\xff\xfe",
        lambda round: as_json(round)[:-3],
        lambda round: as_json(round) + b" " * MAX_ANSWER_BYTES,
        lambda round: b"x" * 10_000_000,
    ],
    ids=["404", "empty", "no round", "list", "nested", "number", "no hex", "short", "not UTF-8", "cut", "padded", "huge"],
)
async def test_a_web_server_that_answers_something_else(answer: Callable[[int], bytes | None]) -> None:
    with web(answer) as server:
        with pytest.raises(NetworkError):
            await trio.to_thread.run_sync(fetch_round, server.url, TEST_CHAIN.hash, ROUND)
        one = searching(None, server.url)
        assert await one.find(ROUND, on_web=True, holders=()) is None
    assert one.last_error.startswith(server.url)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200) | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode))
def test_any_answer_is_a_network_error(data: bytes) -> None:
    with web(lambda round: data) as server, pytest.raises(NetworkError):
        fetch_round(server.url, TEST_CHAIN.hash, ROUND)


async def test_nobody_at_the_address() -> None:
    with web() as server:
        gone = server.url
    one = searching(None, gone)
    assert await one.find(ROUND, on_web=True, holders=()) is None
    assert "did not answer" in one.last_error


async def test_a_lying_server_is_refused_and_asked_last_from_then_on() -> None:
    with web(lambda round: as_json(round + 1)) as liar, web() as honest:
        one = searching(None, liar.url, honest.url)
        for _ in range(3):
            found = await one.find(ROUND, on_web=True, holders=())
            assert found is not None
            assert found.signature == GOOD
        assert (len(liar.asked), len(honest.asked)) == (1, 3)
    assert one.invalid == 1


async def test_a_server_that_drips_holds_neither_the_loop_nor_the_next_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "ANSWER_WITHIN_S", 0.2)
    with web(drip_s=0.05) as slow, web() as honest:
        one = searching(None, slow.url, honest.url)
        begun, beats = time.monotonic(), 0

        async def beat() -> None:
            nonlocal beats
            while True:
                await trio.sleep(0.01)
                beats += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat)
            assert await one.find(ROUND, on_web=True, holders=()) is not None
            nursery.cancel_scope.cancel()
        assert time.monotonic() - begun < 3
        assert beats >= 10
        assert one._busy == {slow.url}, "its thread is left alone, and it is not asked again until that ends"
        one._urls.reverse()
        assert await one.find(ROUND, on_web=True, holders=()) is not None
        assert len(slow.asked) == 1


def test_a_drip_ends_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drand_web, "ANSWER_WITHIN_S", 0.2)
    with web(drip_s=0.05) as slow, pytest.raises(NetworkError, match="too slowly"):
        fetch_round(slow.url, TEST_CHAIN.hash, ROUND)


@pytest.mark.parametrize("url", ["", "drand.example", "file:///etc/passwd", "ftp://drand.example"])
def test_an_address_that_is_none_is_said_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match="write https://"):
        searching(None, url)


async def test_a_peer_has_it_while_another_hangs(autojump_clock: object) -> None:
    network = Peers({"a": never, "b": gives(GOOD), "c": refuses})
    found = await searching(network).find(ROUND, on_web=True, holders=())
    assert found is not None
    assert (found.signature, found.source) == (GOOD, "peers")


async def test_a_search_ends(autojump_clock: object) -> None:
    network = Peers(dict.fromkeys("abcdefgh", never))
    with trio.fail_after(20):
        assert await searching(network).find(ROUND, on_web=False, holders=()) is None
    assert len(network.asked) == PEERS_ASKED


@pytest.mark.parametrize("wrong", [b"", bytes(48), GOOD[:-1], b"\xc0" + bytes(47), sign_round(ROUND + 1)])
async def test_a_peer_that_lies_is_verified_once(wrong: bytes) -> None:
    network = Peers({"liar": gives(wrong)})
    one = searching(network)
    for _ in range(5):
        assert await one.find(ROUND, on_web=False, holders=("liar",)) is None
    assert network.asked == ["liar"]
    assert one.invalid == 1


async def test_holders_are_asked_first_and_do_not_take_every_place() -> None:
    network = Peers(dict.fromkeys(["mallory", "malice", "malta", *"abcdefgh"], refuses))
    await searching(network).find(ROUND, on_web=False, holders=("mallory", "malice", "malta"))
    assert {"malice", "malta"} <= set(network.asked)
    assert len(network.asked) == PEERS_ASKED
    assert len(set(network.asked) & set("abcdefgh")) >= PEERS_ASKED - 3


async def test_other_peers_are_asked_each_time() -> None:
    network = Peers(dict.fromkeys("abcdefghijklmnop", refuses))
    one = searching(network)
    for _ in range(20):
        await one.find(ROUND, on_web=False, holders=())
        await trio.sleep(0.002)
    assert len(set(network.asked)) > 2 * PEERS_ASKED


def test_the_server_of_the_tests_is_like_drands() -> None:
    answer = json.loads(as_json(ROUND))
    assert verify_round(TEST_CHAIN, answer["round"], bytes.fromhex(answer["signature"])).hex() == answer["randomness"]


async def test_a_server_that_was_not_asked_after_all_owes_nothing() -> None:
    one = searching(None, "http://127.0.0.1:1")
    with trio.CancelScope() as given_up:
        given_up.cancel()
        await one._from_web("http://127.0.0.1:1", ROUND)
    assert one._busy == set()
