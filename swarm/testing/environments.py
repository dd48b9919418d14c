"""One call that holds an environment against its contract (`swarm.tasks.environment`):

    from swarm.testing.environments import check_environment

    def test_my_environment():
        check_environment(MyEnvironment())

A swarm believes nobody's rewards: every node rebuilds a task from its seed and scores the answers
again. So the same seed must give the same problem in every process, and a verifier must take
whatever text a stranger sends.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from typing import Any

from swarm.errors import EnvironmentRefused
from swarm.tasks.environment import Environment, Problem, Unbuildable, VerifierError
from swarm.tasks.held_out import walk

# Text that verifiers do not expect: code, endless numbers, other types, deep nesting, nothing.
HOSTILE = (
    "",
    " ",
    "\x00" * 100,
    "nan",
    "-inf",
    "1e999999999",
    "9**9**9**9",
    "1" + "0" * 5000,
    "(" * 400 + "1" + ")" * 400,
    "[" * 1000 + "]" * 1000,
    '{"a": [1, {"b": null}]}',
    "[null]",
    "__import__('os').system('true')",
    "open('/etc/passwd').read()",
    "<answer>" * 200,
    "```python\nwhile True: pass\n```",
    "\ud83d\udc1d".encode("utf-16", "surrogatepass").decode("utf-16") * 50,
    "٣" * 200,
)
# Seeds tried until a kind has enough problems.
TRIES = 20
CPU_S = 10.0  # for one answer; a verifier needs milliseconds
PROCESS_S = 600.0
UNKNOWN = "no such kind, and never one"


def check_environment(
    environment: Environment, *, kinds: Collection[str] | None = None, problems: int = 2, hostile: Sequence[str] = HOSTILE
) -> None:
    """Raise `AssertionError` with every way in which an environment breaks its contract.

    `kinds` restricts the check to some of `names()`. At each level `problems` of a kind are built:
    twice here, and once in each of two processes with other hash seeds, which make the class of
    `environment` without arguments. Every known solution must be worth 1, and every reward lie
    between 0 and 1. Each text of `hostile` must be scored without an exception but `VerifierError`.
    """
    chosen = sorted(environment.names() if kinds is None else kinds)
    broken = [*_names(environment), *_refusals(environment, chosen)]
    for kind in chosen:
        for level in range(environment.levels(kind)):
            seeds = _seeds(environment, kind, level, problems)
            if not seeds:
                broken.append(f"{kind}, level {level} has no problem for {TRIES} seeds")
            for seed in seeds:
                broken += _problem(environment, kind, level, seed, hostile)
    asked = [chosen, problems, list(hostile)]
    with ThreadPoolExecutor(2) as processes:
        others = list(processes.map(lambda hash_seed: _rebuilt_elsewhere(environment, asked, hash_seed), ("1", "2")))
    broken += [other for other in others if isinstance(other, str)]
    own = rebuilt(environment, chosen, problems, list(hostile))
    for other in others:
        if isinstance(other, dict):
            broken += [f"{name} differs in another process" for name in own if own[name] != other.get(name)]
    assert not broken, "\n".join(broken)  # noqa: S101 - that is how a test is told


def rebuilt(environment: Environment, kinds: Sequence[str], problems: int, texts: Sequence[str]) -> dict[str, Any]:
    """Return the problems of [kind, number] pairs at every level as JSON takes them, with the
    rewards of their solutions, their answer and the `texts` in every form of the prompt."""
    found = {}
    for kind in kinds:
        for level in range(environment.levels(kind)):
            for seed in _seeds(environment, kind, level, problems):
                problem = environment.build(kind, seed, level)
                said = (*texts, problem.answer, *problem.solutions.values())
                rewards = {form: [_reward(environment, kind, problem, form, text) for text in said] for form in problem.prompts}
                shown = [problem.question, problem.answer, dict(problem.prompts), dict(problem.solutions), rewards]
                found[f"{kind}, level {level}, seed {seed}"] = shown
    return found


def answer() -> None:
    """Rebuild the problems that standard input asks for, [module, class, asked] as JSON, and print
    them.

    Run in a process of its own.
    """
    module, name, asked = json.load(sys.stdin)
    made = importlib.import_module(module)
    for part in name.split("."):
        made = getattr(made, part)
    # Some verifiers print.
    with redirect_stdout(sys.stderr):
        found = rebuilt(made(), *asked)  # type: ignore[operator]
    json.dump(found, sys.stdout)


def _names(environment: Environment) -> Iterator[str]:
    if not (isinstance(environment.version, str) and environment.version):
        yield f"version is {environment.version!r}, not a text that names what seeds rebuild to"
    if not environment.names():
        yield "it offers no kind"
    for kind in set(environment.names()) & set(environment.refused()):
        yield f"{kind} is both offered and refused"


def _refusals(environment: Environment, kinds: Collection[str]) -> Iterator[str]:
    for kind in (*environment.refused(), UNKNOWN):
        if not _refuses(environment, kind, 0):
            yield f"{kind} is refused by name and can be built"
    for kind in kinds:
        for level in (-1, environment.levels(kind)):
            if not _refuses(environment, kind, level):
                yield f"{kind} has {environment.levels(kind)} levels and can be built at level {level}"


def _refuses(environment: Environment, kind: str, level: int) -> bool:
    try:
        environment.build(kind, 1, level)
    except EnvironmentRefused:
        return True
    except Unbuildable:
        return False
    return False


def _seeds(environment: Environment, kind: str, level: int, wanted: int) -> list[int]:
    """Return seeds that have a problem, over the whole range that a swarm draws from."""
    found: list[int] = []
    for seed in (next(walk(number)) for number in range(TRIES)):
        try:
            environment.build(kind, seed, level)
        except Unbuildable:
            continue
        found.append(seed)
        if len(found) == wanted:
            break
    return found


def _problem(environment: Environment, kind: str, level: int, seed: int, hostile: Sequence[str]) -> Iterator[str]:
    where = f"{kind}, level {level}, seed {seed}"
    problem, again = (environment.build(kind, seed, level) for _ in range(2))
    if problem != again:
        yield f"{where} gives another problem the second time"
    if not problem.prompts:
        yield f"{where} has no prompt"
    for form, solution in problem.solutions.items():
        if form not in problem.prompts:
            yield f"{where} has a solution for {form!r}, of which it has no prompt"
        elif (reward := _reward(environment, kind, problem, form, solution)) != 1.0:
            yield f"{where}: its {form} solution is worth {reward!r}, not 1"
    for form in problem.prompts:
        right = problem.solutions.get(form)
        for text in (*hostile, problem.prompts[form]):
            reward, later = (_reward(environment, kind, problem, form, text) for _ in range(2))
            if isinstance(reward, str) or not 0.0 <= reward <= 1.0:
                yield f"{where}: {text[:40]!r} in {form} is worth {reward!r}, not a number in [0, 1]"
            elif reward != later:
                yield f"{where}: {text[:40]!r} in {form} is worth {reward!r}, and {later!r} the second time"
            elif reward and not text.strip() and text != right:
                yield f"{where}: {text!r} in {form} holds no answer and is worth {reward!r}"


def _reward(environment: Environment, kind: str, problem: Problem, form: str, text: str) -> float | str:
    """Return the reward of a text, or the failure in words."""
    begun = time.process_time()
    try:
        with redirect_stdout(io.StringIO()):
            reward = environment.score(kind, problem, form, text)
    except VerifierError:
        return 0.0
    except Exception as error:  # noqa: BLE001 - the author wants to see any exception of a verifier
        return f"{type(error).__name__}: {error}"
    took_s = time.process_time() - begun
    return reward if took_s < CPU_S else f"known only after {took_s:.0f} s"


def _rebuilt_elsewhere(environment: Environment, asked: Sequence[Any], hash_seed: str) -> dict[str, Any] | str:
    """Return a fresh process's problems, or why it could not rebuild them."""
    made = type(environment)
    if "<locals>" in made.__qualname__:
        return f"{made.__qualname__} is made inside a function, so no other process can import it"
    given = json.dumps([made.__module__, made.__qualname__, asked])
    paths = os.pathsep.join(path for path in sys.path if path)
    variables = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": paths}
    run = subprocess.run(  # noqa: S603 - this interpreter, and a program of our own
        [sys.executable, "-c", f"from {__name__} import answer; answer()"],
        input=given,
        capture_output=True,
        text=True,
        timeout=PROCESS_S,
        env=variables,
        check=False,
    )
    if run.returncode:
        return f"another process cannot rebuild its problems: {run.stderr.strip().splitlines()[-1:]}"
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer
