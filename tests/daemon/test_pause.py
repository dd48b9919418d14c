"""A daemon whose owner has paused it by hand."""

from collections.abc import Callable
from pathlib import Path

from processes import LOOPBACK, SOON_S, Daemon


def test_a_pause_by_hand_outlives_the_daemon(tmp_path: Path, daemon: Callable[..., Daemon]) -> None:
    one = daemon(tmp_path / "home")
    one.ok("init", "--manifest", "embedded", "--listen", LOOPBACK)
    one.start()
    one.until("it learns", lambda status: status["round"] > 0)
    one.ok("pause", "--for", "1d")
    before = one.until("it is paused", lambda status: status["paused"]["in_effect"])
    one.stopped()

    one.log.write_text("")
    one.start()
    after = one.until("it is paused again", lambda status: status["paused"] and status["paused"]["in_effect"], SOON_S)
    assert (after["round"], after["paused"]) == (before["round"], before["paused"])
    assert f"swarmd --home {one.path} resume" in one.tail()

    one.ok("resume")
    one.until("it goes on", lambda status: status["round"] > after["round"])
    assert not one.home.pause.exists(), "the next daemon is not paused"
    one.stopped()
