"""A round whose answers are mostly cut says so, once. At a high temperature hardly any ends."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from node_shapes import Medium, on_virtual_time

from protocols.messages import Completion
from swarm.events import Event, MostlyCut
from swarm.learner.cut_answers import CutAnswers
from swarm.node.daemon import _log_event
from swarm.node.status import status


def lived(path: Path, **settings: Any) -> tuple[list[MostlyCut], dict[str, Any]]:
    """What a lone node of three rounds says of cut answers, and its last status."""
    events: list[Event] = []
    shown: list[dict[str, Any]] = []

    async def main(medium: Medium) -> None:
        async with medium.node(0, events, node_rounds=3, **settings) as node:
            await node.learn()
            shown.append(await status(node))

    on_virtual_time(path, main)
    return [event for event in events if isinstance(event, MostlyCut)], shown[0]


def test_it_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (said,), shown = lived(tmp_path / "short", generation_temperature=20.0)
    assert said.round == 0
    assert said.share > 0.5
    assert shown["cut_share"] > 0
    with caplog.at_level(logging.WARNING):
        _log_event(said)
    assert f"of the answers of round 0 were cut at {said.cap} tokens; raise generation.max_completion_length" in caplog.text


def test_it_is_said_again_only_after_it_was_better() -> None:
    def said(cut: int) -> bool:
        completions = [Completion("", finished, 1, -1.0) for finished in [False] * cut + [True] * (8 - cut)]
        return answers.observe([SimpleNamespace(completions=completions)])  # type: ignore[list-item]

    answers = CutAnswers()
    assert answers.observe([]) is False
    assert answers.share is None
    assert [said(cut) for cut in (4, 5, 8, 3, 8, 1, 7, 8)] == [False, True, False, False, False, False, True, False]
    assert answers.share == 1.0


def test_answers_that_end_by_themselves_are_no_news(tmp_path: Path) -> None:
    said, shown = lived(tmp_path / "plain")
    assert said == []
    assert shown["cut_share"] < 0.5
