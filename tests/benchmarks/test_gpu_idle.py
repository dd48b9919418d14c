"""`benchmarks.cost.overlap` on a GPU: the share of the time in which the driver saw it idle."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import trio
from drivers import nvidia_smi

from benchmarks.cost.overlap import gpu_readings, idle_shares


async def test_it_is_read_from_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, monkeypatch, "while sleep 0.02; do printf '0, 90\\n1,'; sleep 0.02; printf ' 40\\n2, [N/A]\\n'; done")
    begun = time.monotonic()
    with trio.fail_after(30):
        async with gpu_readings("cuda:0") as readings:
            while len(readings) < 5:
                await trio.sleep(0.01)
    assert idle_shares(readings, begun, time.monotonic()) == {"0": 0.1, "1": 0.6}
    assert idle_shares(readings, begun - 1, begun) == {}, "what was before is none of it"
    async with gpu_readings("cpu") as none:
        assert none == []
