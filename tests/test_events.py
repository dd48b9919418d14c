"""The event log: one JSON object per line, bounded, and never the end of a node."""

from __future__ import annotations

import json
from pathlib import Path

from swarm.events import EventLog, NodeStopped, PartRestarted, RoundFinished


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_event_is_a_line(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log(NodeStopped("me", 3))
    log(PartRestarted("me", "network", "odd\n\udcff"))
    log(RoundFinished("me", 1, 0.5, 1, 2, 1, 1, {"other": 1}, 20, 1, 0.1, {"training": 0.5}))
    stopped, restarted, finished = read(tmp_path / "events.jsonl")
    assert stopped == {"event": "NodeStopped", "peer_id": "me", "round": 3}
    assert restarted["error"] == "odd\n\udcff"
    assert finished["trained_from"] == {"other": 1}


def test_a_full_file_is_put_aside_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path, max_bytes=300)
    for number in range(50):
        log(NodeStopped("me", number))
        assert path.stat().st_size <= 300
    assert {each.name for each in tmp_path.iterdir()} == {"events.jsonl", "events.jsonl.1"}
    rounds = [each["round"] for each in read(tmp_path / "events.jsonl.1") + read(path)]
    assert rounds == list(range(50 - len(rounds), 50))


def test_a_disk_that_refuses_costs_the_line_only(tmp_path: Path) -> None:
    EventLog(tmp_path / "no such folder" / "events.jsonl")(NodeStopped("me", 1))
    EventLog(tmp_path)(NodeStopped("me", 1))
