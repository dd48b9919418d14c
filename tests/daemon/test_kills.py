"""kill -9 at a few random moments; `make soak` does it hundreds of times, and on a full disk."""

from contextlib import ExitStack
from pathlib import Path
from random import Random

from kills import begin

DEATHS = 3


def test_nothing_is_lost_by_kill_9(tmp_path: Path) -> None:
    with ExitStack() as stack:
        victim, peer = begin(tmp_path, Random(11))
        stack.callback(victim.daemon.end)
        stack.callback(peer.end)
        for _ in range(DEATHS):
            victim.live_and_die()
        victim.settle(peer)
    assert victim.seen.violations == []
    assert victim.seen.own_log > 0
    assert victim.seen.foreign_envelopes > 0
