"""Using a trained policy: evaluation with intervals, a talk, and the list of checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from swarm.cli.main import main
from swarm.config.schema import Config
from swarm.errors import PolicyError
from swarm.home import Home
from swarm.identity import create
from swarm.policy import checkpoint
from swarm.policy.public_name import public_name
from swarm.serving.card import Provenance, card
from swarm.serving.comparison import Evaluation, compare, known_evaluations, remember, wilson
from swarm.serving.dialogue import Manner, run_chat
from swarm.serving.trained import Wish


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home").create()
    create(home.identity_key)
    return home


def swarmd(home: Home, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home.path), *arguments])


def saved(home: Home, *steps: int) -> list[Path]:
    def fill(folder: Path) -> None:
        (folder / checkpoint.MODEL).mkdir()
        (folder / checkpoint.MODEL / "weights").write_bytes(bytes(1000))

    state = {"round": 7, "canary": {"last": [True, False, True, True]}}
    return [checkpoint.write(home.checkpoints, step, {"digest": f"{step:064x}"}, state, fill) for step in steps]


def test_intervals_are_wilsons() -> None:
    # Newcombe 1998, table I, method 3: the score interval without continuity correction.
    for right, count, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        share = wilson(right, count)
        assert math.isclose(share.low, low, abs_tol=5e-5)
        assert math.isclose(share.high, high, abs_tol=5e-5)
        assert share.accuracy == right / count
    assert wilson(20, 20).high == 1


EVALUATION = Evaluation(
    "embedded",
    3,
    f"{3:064x}",
    "embedded",
    "compact",
    compare({"a": [True, False, False], "b": [True]}, {"a": [True, True, True], "b": [False]}),
)


def test_before_and_after_are_compared_task_by_task() -> None:
    a, b, whole = EVALUATION.comparisons
    assert (a.base.solved, a.now and a.now.solved, a.won, a.lost) == (1, 3, 2, 0)
    assert (b.won, b.lost) == (0, 1)
    assert (whole.environment, whole.base.tasks, whole.won, whole.lost) == ("all", 4, 2, 1)
    (base, _) = compare({"a": [True, False]}, None)
    assert (base.now, base.won, base.lost) == (None, 0, 0)


def test_checkpoints_are_listed_with_what_is_known_of_them(home: Home) -> None:
    assert swarmd(home, "checkpoints").stdout == "no checkpoints yet\n"
    *_, newest = saved(home, 1, 2, 3)
    (home.checkpoints / "step-00000002" / checkpoint.MODEL / "weights").write_bytes(b"damaged")
    remember(home, EVALUATION)
    remember(home, EVALUATION)
    assert len(known_evaluations(home)) == 1
    listed = json.loads(swarmd(home, "checkpoints", "--json").stdout)
    assert [(each["step"], each["round"], each["canary"]) for each in listed] == [(3, 7, 0.75), (2, 7, 0.75), (1, 7, 0.75)]
    assert [each["evaluated"] for each in listed] == [0.75, None, None]
    assert [bool(each["damage"]) for each in listed] == [False, True, False]
    assert listed[0]["path"] == str(newest)
    assert listed[0]["bytes"] > 1000
    assert "step" in swarmd(home, "checkpoints").stdout
    home.evaluations.write_text("damaged")
    assert known_evaluations(home) == []


def test_checkpoints_are_pruned_but_not_what_a_daemon_needs(home: Home) -> None:
    saved(home, 1, 2, 3, 4)
    writing = home.checkpoints / ".writing-step-00000005"
    writing.mkdir()
    with home.lock():
        refused = swarmd(home, "checkpoints", "--prune", "1")
        assert (refused.exit_code, len(checkpoint.every(home.checkpoints))) == (3, 4)
        assert "running daemon needs" in refused.stderr
        assert swarmd(home, "checkpoints", "--prune", "2").exit_code == 0
    assert [path.name for path in checkpoint.every(home.checkpoints)] == ["step-00000004", "step-00000003"]
    assert writing.exists(), "what a daemon is writing is left alone"
    assert len(json.loads(swarmd(home, "checkpoints", "--prune", "1", "--json").stdout)) == 1
    assert swarmd(home, "checkpoints", "--prune", "0").exit_code == 2


@pytest.mark.parametrize("system", ["be brief", None])
def test_a_long_conversation_forgets_its_beginning(home: Home, monkeypatch: pytest.MonkeyPatch, system: str | None) -> None:
    asked: list[list[str]] = []

    class Short:
        """Has room for three turns."""

        async def answer(self, wish: Wish) -> list[tuple[SimpleNamespace]]:
            (turns,) = wish.prompts
            if sum(turn.role != "system" for turn in turns) > 3:  # type: ignore[index]
                raise PolicyError("the prompt fills the model's positions")
            asked.append([turn.content for turn in turns])  # type: ignore[index]
            return [(SimpleNamespace(text="yes"),)]

    @asynccontextmanager
    async def opened(*_: object) -> AsyncIterator[Short]:
        yield Short()

    monkeypatch.setattr("swarm.serving.dialogue.open_trained", opened)
    lines, said = iter(["one", "two", "three", ""]), list[str]()
    run_chat(home, Config(), "newest", Manner(system, 5, 0.0), lambda: next(lines), said.append)
    before = [system] if system else []
    assert asked == [[*before, "one"], [*before, "one", "yes", "two"], [*before, "two", "yes", "three"]]
    assert said == ["yes"] * 3


def test_the_card_says_where_a_model_is_from(tmp_path: Path) -> None:
    made = Provenance(
        base="Qwen/Qwen2.5-0.5B-Instruct",
        revision="abc123",
        adapter=True,
        step=12,
        digest="ff" * 32,
        round=9,
        own_groups=20,
        foreign_groups=31,
        signers=3,
        swarm_name="reasoning",
        swarm_id="ab" * 32,
        environments=("`reasoning_gym/arc_1d` 0.1.25+3, level 0 to 2",),
        training="LoRA of rank 16, dapo loss, learning rate 1e-05",
        command="swarmd export --adapter --to out",
        evaluation=EVALUATION.to_json(),
    )
    text = card(made)
    assert text.startswith('---\nbase_model: "Qwen/Qwen2.5-0.5B-Instruct"\nlibrary_name: peft\n')
    for words in (
        "revision abc123",
        "12, in 9 rounds",
        "20 own and 31 foreign",
        "\n- `reasoning_gym/arc_1d` 0.1.25+3, level 0 to 2\n",
        "LoRA of rank 16",
        "3 signers",
        "reasoning",
        "swarmd export --adapter",
    ):
        assert words in text
    assert "| a | 3 | 0.333 [0.061, 0.792] | 1.000 [0.439, 1.000] |" in text
    (tmp_path / "alice" / "model").mkdir(parents=True)
    assert public_name(str(tmp_path / "alice" / "model")) == "model", "a path names people"
    assert public_name("org/name") == "org/name"


def test_the_policy_is_evaluated_and_talked_to(home: Home) -> None:
    shown = swarmd(home, "eval", "--tasks", "1", "--json", "--set", "scoring.workers=1")
    assert shown.exit_code == 0, shown.output
    result = json.loads(shown.stdout)
    assert (result["model"], result["step"], result["swarm"]) == ("embedded", 0, "embedded")
    assert {each["now"] for each in result["comparisons"]} == {None}, "there is no checkpoint: only the base is measured"
    assert [each["digest"] for each in known_evaluations(home)] == [result["digest"]]
    said: list[str] = []
    lines = iter(["12", "again", ""])
    run_chat(home, Config(), "base", Manner("be short", 5, 0.0), lambda: next(lines), said.append)
    assert len(said) == 2
    missing = swarmd(home, "chat", "--once", "12", "--checkpoint", "9")
    assert (missing.exit_code, "swarmd checkpoints" in missing.stderr) == (4, True)
