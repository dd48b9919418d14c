"""Programming problems: a seed gives everybody the same one, and only right solutions pass."""

import json
import subprocess
import sys
import tomllib
from importlib import resources

import pytest

from protocols.recipe import Recipe
from swarm.clock import WallClock
from swarm.errors import ChildFailed, EnvironmentRefused
from swarm.tasks import task_worker
from swarm.tasks.code.family import KINDS, LEVELS, Code, program_of
from swarm.tasks.code.sandbox import Sandbox
from swarm.tasks.environment import Problem, Unbuildable, load_environments
from swarm.tasks.scoring import Scorer

needs_sandbox = pytest.mark.skipif(bool(Sandbox().missing), reason="this machine has no sandbox for programs")
ARMS = [(name, level) for name in KINDS for level in range(LEVELS)]


@pytest.fixture(scope="module")
def code() -> Code:
    return Code()


def problems(code: Code, name: str, level: int, count: int) -> list[Problem]:
    found = []
    for seed in range(3 * count):
        try:
            found.append(code.build(name, seed << 32, level))
        except Unbuildable:
            continue
        if len(found) == count:
            break
    return found


def test_it_is_an_installed_family():
    assert isinstance(load_environments()["code"], Code)


@needs_sandbox
@pytest.mark.parametrize(("name", "level"), ARMS)
def test_its_own_program_is_right_and_others_are_not(code: Code, name: str, level: int):
    first, second = problems(code, name, level, 2)
    framed = f"The program:\n```python\n{first.answer}```\nIt is right."
    for right in (first.answer, framed, first.solutions["prose"]):
        assert code.score(name, first, "prose", right) == 1.0
    assert code.score(name, second, "prose", first.answer) == 0.0
    for wrong in ("", "def solve(x): return x", "print('all passed')", "def solve(x): return 0"):
        assert code.score(name, first, "prose", wrong) == 0.0


@needs_sandbox
@pytest.mark.parametrize("name", KINDS)
def test_there_are_many_problems_and_each_level_is_longer(code: Code, name: str):
    shown = [problems(code, name, level, 60) for level in range(LEVELS)]
    assert all(len({problem.question for problem in each}) > 45 for each in shown)
    assert len({problem.question for each in shown for problem in each}) > 200
    lengths = [sum(len(problem.answer) for problem in each) for each in shown]
    assert lengths == sorted(lengths)
    # A prompt has to leave room for the answer, in models of a few thousand tokens.
    assert max(len(problem.prompts["prose"]) for each in shown for problem in each) < 3000


@needs_sandbox
@pytest.mark.parametrize("name", KINDS)
def test_hidden_cases_are_not_those_that_are_shown_and_no_constant_is_right(code: Code, name: str):
    for problem in problems(code, name, 1, 30):
        hidden = [json.loads(json.dumps(argument)) for (argument,) in problem.entry.arguments]
        assert len({json.dumps(argument) for argument in hidden}) == 12
        shown = [line for line in problem.prompts["prose"].splitlines() if line.startswith("solve(")]
        assert len(shown) == 3
        assert not any(line.startswith(f"solve({argument!r})") for line in shown for argument in hidden)
        results = problem.entry.results.splitlines()
        assert len(results) == 12
        assert max(results.count(result) for result in results) <= 6


@needs_sandbox
def test_a_table_of_the_shown_cases_is_wrong(code: Code):
    for name in KINDS:
        problem = problems(code, name, 2, 1)[0]
        lines = [line.partition(" == ") for line in problem.prompts["prose"].splitlines() if line.startswith("solve(")]
        tests = "".join(f"    if x == {call[6:-1]}: return {result}\n" for call, _, result in lines)
        assert code.score(name, problem, "prose", f"def solve(x):\n{tests}    return {lines[0][2]}") == 0.0


REBUILD = """
from swarm.tasks.code.family import Code, KINDS
from swarm.tasks.environment import Unbuildable
from hashlib import sha256
code, digest = Code(), sha256()
for name in KINDS:
    for level in range(4):
        for seed in range(25):
            try:
                problem = code.build(name, seed << 32, level)
            except Unbuildable:
                continue
            digest.update(repr((problem.prompts, problem.answer, problem.entry)).encode())
print(code.version, digest.hexdigest())
"""
# Seeds must not begin to draw other problems unnoticed: raise REVISION, which the manifests name,
# and write down the new digest.
KNOWN = "dd24150dda58b506b7efa81fd048592a2d214dd9b4d6a31fe9b6ce1ccd9c6a58"


@needs_sandbox
@pytest.mark.parametrize("hash_seed", ["0", "12345"])
def test_problems_are_the_same_in_every_process(hash_seed: str):
    done = subprocess.run([sys.executable, "-c", REBUILD], env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True)
    assert done.stdout.split() == [Code.version, KNOWN], done.stderr


@pytest.mark.parametrize(
    ("completion", "program"),
    [
        ("x = 1", "x = 1"),
        ("```python\nx = 1\n```", "x = 1\n"),
        ("Here:\n```py\nx = 1\n```\nand so on", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("```Python3 \nx = 1\n```", "x = 1\n"),
        ("```x = 1```", "x = 1"),
        ("```python\nx = 1\n```\nbetter:\n```python\nx = 2\n```", "x = 2\n"),
        ("```python\nx = 1\n```\nbetter:\n```python\nx = 2", "x = 1\n"),
        ("```python\nx = 1", "```python\nx = 1"),
        ("```rust\nx = 1\n```", "rust\nx = 1\n"),
        ("``````", ""),
        ("", ""),
    ],
)
def test_the_program_in_a_completion(completion: str, program: str):
    assert program_of(completion) == program


CHEATS = {
    "prints the verdict": "print('[1, 2, 3]\\nall tests passed')\nimport sys\nsys.exit(0)",
    "returns what equals everything": (
        "class Any(int):\n def __eq__(self, other): return True\n def __ne__(self, other): return False\n"
        "def solve(x): return Any()"
    ),
    "returns a text that looks like results": "def solve(x): return {results!r}",
    "looks for the results": (
        "import json\n"
        "def solve(x):\n"
        " module = json.codecs.builtins.__import__\n"
        " frames, frame = [], module('sys')._getframe()\n"
        " while frame: frames.append(frame); frame = frame.f_back\n"
        " values = [v for f in frames for place in (f.f_locals, f.f_globals) for v in place.values()]\n"
        " texts = [value for value in values if isinstance(value, (bytes, str))]\n"
        " texts += [o for o in module('gc').get_objects() if isinstance(o, (list, tuple, dict))]\n"
        " for text in texts:\n"
        "  if {first!r} in str(text) and {last!r} in str(text): return text\n"
    ),
    "writes results to every descriptor": (
        "import json\n"
        "os = json.codecs.builtins.__import__('os')\n"
        "for place in (1, 2): os.write(place, b'1\\n1')\n"
        "def solve(x): return 1"
    ),
}  # fmt: skip


@needs_sandbox
@pytest.mark.parametrize("name", CHEATS)
def test_nothing_that_a_program_says_of_itself_counts(code: Code, name: str):
    problem = problems(code, "strings", 1, 1)[0]
    results = problem.entry.results.decode()
    first, *_, last = results.splitlines()
    text = CHEATS[name].replace("{results!r}", repr(results)).replace("{first!r}", repr(first)).replace("{last!r}", repr(last))
    assert code.score("strings", problem, "prose", text) == 0.0


@needs_sandbox
def test_a_result_of_another_type_is_wrong(code: Code):
    for name in KINDS:
        problem = problems(code, name, 0, 1)[0]
        for form in ("[solve_(x)]", "str(solve_(x))", "repr(solve_(x))", "None"):
            text = problem.answer.replace("def solve(", "def solve_(") + f"def solve(x): return {form}"
            if form == "str(solve_(x))" and problem.entry.results.startswith(b'"'):
                continue
            assert code.score(name, problem, "prose", text) == 0.0


@needs_sandbox
async def test_scored_in_a_worker_that_outlives_the_attacks():
    hostile = [
        "import json\nos = json.codecs.builtins.__import__('os')\nos.kill(os.getppid(), 9)",
        "def solve(x):\n while True: pass",
        "def solve(x): return [0] * 10 ** 10",
        "(" * 5000,
        "import json\nos = json.codecs.builtins.__import__('os')\nwhile True: os.fork()",
    ]
    async with Scorer(1, 60, WallClock()) as scorer:
        before = scorer.pids
        recipe = Recipe("code/lists", Code.version, (("level", 1),), 0, bytes(32), 3)
        (task,) = await scorer.build([(recipe, 99)])
        scored = await scorer.score(recipe, 99, "prose", [*hostile, task.answer, f"```python\n{task.answer}\n```", "no"])
        assert scored.task == task
        assert scored.rewards == (*[0.0] * len(hostile), 1.0, 1.0, 0.0)
        assert scorer.pids == before
        tasks = await scorer.held_out("code/machines", {"level": 0}, 5, 1)
        assert len({task.prompts["prose"] for task in tasks}) == 5
        answers = [task.answer for task in tasks]
        assert await scorer.score_held_out("code/machines", {"level": 0}, 5, 1, "prose", answers) == (1.0,) * 5
    statistics = scorer.statistics()
    assert (statistics.deaths, statistics.timeouts, statistics.verifier_errors) == (0, 0, 0)


@needs_sandbox
async def test_a_group_of_endless_loops_is_scored_and_no_fault():
    async with Scorer(1, 60, WallClock()) as scorer:
        recipe = Recipe("code/numbers", Code.version, (("level", 0),), 0, bytes(32), 3)
        scored = await scorer.score(recipe, 7, "prose", ["while True: pass"] * 8)
        assert scored.rewards == (0.0,) * 8
        assert (scorer.statistics().deaths, scorer.statistics().timeouts) == (0, 0)


@needs_sandbox
@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recipe("code/lists", Code.version, (("level", 4),), 0, bytes(32), 0), "from 0 to 3"),
        (Recipe("code/unknown", Code.version, (("level", 0),), 0, bytes(32), 0), "unknown environment"),
        (Recipe("code/lists", "1+cpython-38", (("level", 0),), 0, bytes(32), 0), "has version 1"),
    ],
)
async def test_what_is_not_there_is_refused(recipe: Recipe, message: str):
    async with Scorer(1, 5, WallClock()) as scorer:
        with pytest.raises(ChildFailed, match=message) as refused:
            await scorer.build([(recipe, 1)])
        assert refused.value.remote_type == "EnvironmentRefused"


@needs_sandbox
def test_without_a_sandbox_nothing_is_built_or_scored(code: Code, monkeypatch: pytest.MonkeyPatch):
    built = problems(code, "lists", 0, 1)[0]
    monkeypatch.setattr(sys, "platform", "darwin")
    code = Code()
    assert list(code.names()) == []
    assert set(code.refused()) == set(KINDS)
    with pytest.raises(EnvironmentRefused, match="programs are run in a sandbox only, which needs Linux"):
        code.build("lists", 1, 0)
    with pytest.raises(EnvironmentRefused, match="programs are run in a sandbox only"):
        code.score("lists", built, "prose", built.answer)
    handlers = task_worker.main(None)
    body = {"environment": "code/lists", "version": Code.version, "parameters": [["level", 0]], "seed": 1, "limit_s": 60}
    with pytest.raises(EnvironmentRefused, match=r"on this darwin .*; choose a swarm without code tasks"):
        handlers["build"](body)
    with pytest.raises(EnvironmentRefused, match="which needs Linux"):
        handlers["check"]({"rules": [["code/lists", Code.version, [["level", 0]]]], "renderings": ["prose"], "limit_s": 60})
    # The other families are there all the same.
    rule = ["reasoning_gym/bf", handlers["ready"](None)["reasoning_gym"], [["level", 0]]]
    assert handlers["check"]({"rules": [rule], "renderings": ["prose"], "limit_s": 60}) is None


def test_the_built_in_manifest_names_every_kind_and_level():
    rules = tomllib.loads(resources.files("swarm").joinpath("manifests", "code.toml").read_text())["environment"]
    assert {rule["name"] for rule in rules} == {f"code/{name}" for name in KINDS}
    for rule in rules:
        revision, _, language = rule["version"].partition("+")
        assert revision == Code.version.partition("+")[0]
        assert language.startswith("cpython-3")
        assert rule["parameters"] == {"level": {"min": 0, "max": LEVELS - 1}}
