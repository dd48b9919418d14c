"""Where the weights lie on their way to a second device: in main memory, or else in the home."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swarm.config.schema import GenerationSection, PolicySection, TrainingSection
from swarm.errors import HomeError
from swarm.policy import second
from swarm.policy.policy_worker import Worker
from swarm.policy.second import places_for


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(second, "MEMORY", tmp_path / "shm")
    (tmp_path / "shm").mkdir()
    return tmp_path / "shm"


def test_the_best_place_is_a_folder_of_our_own_in_main_memory(tmp_path: Path, memory: Path) -> None:
    home = tmp_path / "home" / "handover.safetensors"
    best, last = places_for(home)
    assert (best.parent.parent, last) == (memory, home)
    assert best.parent.stat().st_mode & 0o777 == 0o700
    assert places_for(home) == [best, last], "a start after a kill writes over the old file"
    assert places_for(tmp_path / "other" / "handover.safetensors")[0] != best
    best.parent.chmod(0o777)
    assert places_for(home) == [home], "others might have made it"
    best.parent.rmdir()
    best.parent.symlink_to(tmp_path)
    assert places_for(home) == [home]


def test_without_such_a_place_it_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second, "MEMORY", tmp_path / "nowhere")
    assert places_for(tmp_path / "handover.safetensors") == [tmp_path / "handover.safetensors"]


def test_with_too_little_room_it_goes_to_the_home_from_then_on(tmp_path: Path, model_folder: Path) -> None:
    full, home = tmp_path / "full" / "handover", tmp_path / "handover"
    sections = PolicySection(model=str(model_folder), device="cpu"), GenerationSection(), TrainingSection()
    worker = Worker(*sections, handover=[str(full), str(home)])
    worker.open(None)
    assert worker._hand_over() == str(home)
    full.parent.mkdir()
    assert worker._hand_over() == str(home)
    taking = Worker(*sections)
    taking.open(None, trained=False)
    worker._policy.parameters[0][1].data += 1
    worker._digest = worker._policy.digest()
    assert taking.take(worker._hand_over()) == 0
    assert taking._policy.digest() == worker._policy.digest()
    assert sorted(os.listdir(tmp_path)) == ["full", "handover"], "no half-written file stays"
    home.unlink()
    home.mkdir()
    with pytest.raises(HomeError, match="generation_device"):
        worker._hand_over()
