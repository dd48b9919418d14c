"""The scorer: rebuilds and scores in workers, and no item can hold up or spoil another."""

import subprocess
import sys
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from protocols.recipe import Recipe
from swarm.child import Child
from swarm.clock import VirtualClock, WallClock
from swarm.errors import ChildDied, ChildError, ChildFailed, ChildTimeout
from swarm.tasks.held_out import held_out
from swarm.tasks.scoring import Scorer
from swarm.tasks.task_worker import ANSWER_LIMIT_S

# A plug-in as another package would bring it, whose verifier does what the completion says.
PLUGIN = """
import os, time
from swarm.tasks.environment import Problem, Unbuildable, VerifierError

class Obedient:
    version = "7"

    def names(self):
        return {"task", "broken"}

    def refused(self):
        return {"bad": "it cheats"}

    def levels(self, name):
        return 2

    def build(self, name, seed, level):
        if name == "broken":
            raise KeyError("nothing here")
        question = f"{level}:{seed % 1000}"
        return Problem(question, f"answer {seed % 1000}", {"prose": question}, None)

    def score(self, name, problem, rendering, completion):
        if completion == "stumble":
            raise VerifierError("stumbled")
        while completion == "spin":
            try:
                sum(range(1000))
            except:
                pass
        if completion.startswith("busy "):
            end = time.process_time() + float(completion[5:])
            while time.process_time() < end:
                pass
        if completion == "sleep":
            time.sleep(3600)
        if completion == "die":
            os._exit(3)
        return float(completion == problem.answer)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "obedient_environment.py").write_text(PLUGIN)
    info = tmp_path / "obedient_environment-7.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: obedient-environment\nVersion: 7\n")
    (info / "entry_points.txt").write_text("[swarmd.environments]\nobedient = obedient_environment:Obedient\n")
    monkeypatch.syspath_prepend(str(tmp_path))


def obedient(index: int = 0, name: str = "task", version: str = "7", **parameters: object) -> Recipe:
    return Recipe(f"obedient/{name}", version, tuple((parameters or {"level": 1}).items()), 0, bytes(32), index)  # type: ignore[arg-type]


def gym(scorer: Scorer, name: str, level: int, index: int = 0) -> Recipe:
    return Recipe(f"reasoning_gym/{name}", scorer.versions()["reasoning_gym"], (("level", level),), 0, bytes(32), index)


def test_importing_the_scorer_imports_nothing_heavy():
    code = "import sys, swarm.tasks.scoring; assert not {'reasoning_gym', 'torch', 'sympy', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_tasks_are_rebuilt_in_order_and_right_answers_score_one():
    async with Scorer(2, 10, WallClock()) as scorer:
        recipes = [(gym(scorer, "spell_backward", 1, i), 1000 + i) for i in range(12)]
        tasks = await scorer.build(recipes)
        assert [(task.recipe, task.seed) for task in tasks] == recipes
        assert len({task.answer for task in tasks}) > 6
        for task in tasks[:3]:
            assert set(task.prompts) == {"prose", "compact", "scratch"}
            texts = [f"I think <answer>{task.answer}</answer>", "<answer>no</answer>", task.answer]
            scored = await scorer.score(task.recipe, task.seed, "prose", texts)
            assert scored.task == task
            assert scored.rewards[0] == 1.0
            assert scored.rewards[1] < 1.0
            assert scored.rewards[2] == 0.0  # no tags, no answer
    statistics = scorer.statistics()
    assert (statistics.builds, statistics.groups, statistics.completions) == (12, 3, 9)
    assert (statistics.timeouts, statistics.deaths, statistics.restarts) == (0, 0, 0)
    assert statistics.busy_s > 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads page faults from /proc")
async def test_a_worker_finds_the_word_lists_made():
    async with Scorer(1, 10, WallClock()) as scorer:
        await scorer.build([(gym(scorer, "word_sorting", 0), 7)])  # whatever a first request costs
        before = page_faults(scorer.pids[0])
        await scorer.build([(gym(scorer, "spell_backward", level), 7) for level in range(3)])
        assert page_faults(scorer.pids[0]) - before < 1000, "a list of its own takes some 3,000 pages for each level"


def page_faults(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


async def test_held_out_tasks_are_distinct_never_built_and_scored_in_order():
    async with Scorer(1, 10, WallClock()) as scorer:
        tasks = await scorer.held_out("reasoning_gym/number_sorting", {"level": 1}, 20, 5)
        prompts = {task.prompts["compact"] for task in tasks}
        assert len(prompts) == 20
        assert all(held_out(f"reasoning_gym/number_sorting\n{prompt}") for prompt in prompts)
        built = await scorer.build([(gym(scorer, "number_sorting", 1), seed) for seed in range(200)])
        assert not prompts & {task.prompts["compact"] for task in built}
        texts = [f"<answer>{task.answer}</answer>" for task in tasks]
        arguments = ("reasoning_gym/number_sorting", {"level": 1}, 20, 5)
        assert await scorer.score_held_out(*arguments, "prose", texts) == (1.0,) * 20
        rewards = await scorer.score_held_out(*arguments, "prose", [*texts[1:], texts[0]])
        assert sum(rewards) < 10


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (obedient(name="bad"), "it cheats"),
        (obedient(name="unknown"), "unknown environment"),
        (Recipe("elsewhere/task", "7", (("level", 0),), 0, bytes(32), 0), "unknown environment family"),
        (Recipe("obedient", "7", (("level", 0),), 0, bytes(32), 0), "unknown environment"),
        (obedient(version="8"), "has version 7"),
        (obedient(level=2), "from 0 to 1"),
        (obedient(level=-1), "from 0 to 1"),
        (obedient(level=True), "one parameter, level"),
        (obedient(level=1.0), "one parameter, level"),
        (obedient(level=1, more=1), "one parameter, level"),
        (obedient(size=1), "one parameter, level"),
    ],
)
async def test_what_cannot_be_rebuilt_is_refused_with_the_reason(plugin, recipe, message):
    async with Scorer(1, 5, WallClock()) as scorer:
        with pytest.raises(ChildFailed, match=message) as refused:
            await scorer.build([(recipe, 1)])
        assert refused.value.remote_type == "EnvironmentRefused"


async def test_a_rendering_that_a_task_has_not_is_refused(plugin):
    async with Scorer(1, 5, WallClock()) as scorer:
        with pytest.raises(ChildFailed, match="no rendering 'compact'"):
            await scorer.score(obedient(), 1, "compact", ["x"])


async def test_a_broken_item_fails_alone(plugin):
    async with Scorer(2, 5, WallClock()) as scorer:
        with pytest.raises(ChildFailed, match="nothing here"):
            await scorer.build([(obedient(), 1), (obedient(name="broken"), 2), (obedient(), 3)])
        (task,) = await scorer.build([(obedient(), 1)])
        scored = await scorer.score(task.recipe, 1, "prose", ["stumble", task.answer, "wrong"])
        assert scored.rewards == (0.0, 1.0, 0.0)
        assert scorer.statistics().verifier_errors == 1


@pytest.mark.parametrize(("text", "error"), [("spin", ChildError), ("sleep", ChildTimeout), ("die", ChildDied)])
async def test_a_verifier_that_hangs_or_dies_costs_its_own_item_only(plugin, text, error):
    async with Scorer(2, 0.3, WallClock()) as scorer:
        failures: list[type[ChildError]] = []

        async def hostile() -> None:
            with pytest.raises(error):
                await scorer.score(obedient(), 1, "prose", ["fine", text])
            failures.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hostile)
            for index in range(30):
                (task,) = await scorer.build([(obedient(index), index)])
                assert (await scorer.score(task.recipe, index, "prose", [task.answer])).rewards == (1.0,)
        assert failures == [error]
        for _ in range(2):  # the replaced worker is among those asked
            await scorer.build([(obedient(), 1), (obedient(), 2)])
        statistics = scorer.statistics()
        assert statistics.restarts == 1
        assert statistics.timeouts + statistics.deaths == 1


async def test_one_answer_has_a_tenth_of_a_second_however_much_its_group_has(plugin):
    async with Scorer(1, 30, WallClock()) as scorer:
        begun = trio.current_time()
        with pytest.raises(ChildDied):
            await scorer.score(obedient(), 1, "prose", ["fine", "spin"])
        assert trio.current_time() - begun < 15, "long before the group's 30 s"
        (task,) = await scorer.build([(obedient(), 1)])
        texts = [f"busy {ANSWER_LIMIT_S / 2}"] * 6 + [task.answer]
        assert (await scorer.score(task.recipe, 1, "prose", texts)).rewards[-1] == 1.0, "each answer has its own"


async def test_a_worker_that_cannot_be_started_again_is_not_held_against_the_item(plugin, monkeypatch):
    async with Scorer(1, 5, WallClock()) as scorer:
        with pytest.raises(ChildDied):
            await scorer.score(obedient(), 1, "prose", ["die"])

        async def fails(child: Child) -> None:
            raise ChildDied("no room for another process")

        with monkeypatch.context() as patch:
            patch.setattr(Child, "start", fails)
            with pytest.raises(ChildTimeout, match="no room"):
                await scorer.score(obedient(), 1, "prose", ["fine"])
        assert (await scorer.score(obedient(), 1, "prose", ["fine"])).rewards == (0.0,)


async def test_more_hostile_items_than_workers_do_not_block(plugin):
    async with Scorer(2, 0.3, WallClock()) as scorer:
        outcomes: list[str] = []

        async def one(text: str) -> None:
            try:
                await scorer.score(obedient(), 1, "prose", [text])
                outcomes.append("scored")
            except ChildError:
                outcomes.append("failed")

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for text in ["die", "spin", "ok", "sleep", "die", "ok", "spin", "ok"]:
                    nursery.start_soon(one, text)
        assert sorted(outcomes) == ["failed"] * 5 + ["scored"] * 3


async def test_a_cancelled_request_leaves_no_half_read_answer(plugin):
    async with Scorer(1, 5, WallClock()) as scorer:
        with trio.move_on_after(0.2) as scope:
            await scorer.score(obedient(), 1, "prose", ["sleep"])
        assert scope.cancelled_caught
        (task,) = await scorer.build([(obedient(), 42)])
        assert task.answer.startswith("answer")


@pytest.mark.parametrize("text", ["spin", "sleep"])
def test_a_hang_is_ended_on_a_virtual_clock_too_and_its_time_is_modelled(plugin, text):
    mock = MockClock()
    clock = VirtualClock(mock, 0)

    async def main() -> None:
        async with Scorer(1, 0.2, clock) as scorer:
            before = trio.current_time()
            with pytest.raises(ChildDied):
                await scorer.score(obedient(), 1, "prose", [text])
            await scorer.score(obedient(), 1, "prose", ["fine"] * 8)
            assert trio.current_time() - before == pytest.approx(0.0024)  # the second group's cost, and no second of the machine

    trio.run(main, clock=mock)
