"""Programming problems as an environment: a Python program must be right in every hidden case.

A problem is drawn from its seed: words, the program that they describe, and cases with that
program's results. A few cases are shown in the prompt. The others are run in a sandbox that gets
the arguments only. The results are compared outside, byte by byte, so that nothing a program prints
about itself counts.

The reward is 1 or 0, not the share of the cases. A constant is right in some cases of many
problems. Half-right answers with true rewards teach a swarm to be half right (`partial` in
docs/lab-log.md).
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

from swarm.errors import EnvironmentRefused
from swarm.tasks.code.drafts import FUNCTION, Draft
from swarm.tasks.code.machines import machines, numbers
from swarm.tasks.code.pipelines import lists, strings
from swarm.tasks.code.sandbox import Sandbox
from swarm.tasks.environment import Problem, Unbuildable

# Raise it whenever a seed draws another problem, or a program may score differently (limits,
# modules, the reading of answers).
REVISION = 1

KINDS: Mapping[str, Callable[[Random, int], Draft]] = {
    "lists": lists,
    "machines": machines,
    "numbers": numbers,
    "strings": strings,
}
LEVELS = 4
SHOWN, HIDDEN = 3, 12
MOST_ALIKE = HIDDEN // 2  # hidden cases with one and the same result
DRAWS = 100  # tries to draw `SHOWN + HIDDEN` different cases

INSTRUCTION = (
    "Answer with one Python program, between ```python and ```. It may import modules such as math, re, itertools and "
    "collections; it has no input, no files and no network."
)


@dataclass(frozen=True, slots=True)
class Cases:
    """The hidden cases: arguments, and the results as expected from the sandbox."""

    arguments: tuple[tuple[object], ...]
    results: bytes


class Code:
    """The family "code"; see `swarm.tasks.environment.Environment`."""

    # Which programs are right depends on the language's version.
    version = f"{REVISION}+{sys.implementation.cache_tag}"

    def __init__(self) -> None:
        self._sandbox = Sandbox()

    def names(self) -> Collection[str]:
        """Return all kinds if there is a sandbox, else no kind."""
        return [] if self._sandbox.missing else list(KINDS)

    def refused(self) -> Mapping[str, str]:
        """Return all kinds with the missing part if there is no sandbox, else no kind."""
        missing = self._sandbox.missing
        return dict.fromkeys(KINDS, missing) if missing else {}

    def levels(self, name: str) -> int:
        """Return the number of levels, the same for all kinds."""
        self._check(name)
        return LEVELS

    def build(self, name: str, seed: int, level: int) -> Problem:
        """Return the problem of this seed; its `answer` is a program."""
        self._check(name)
        if not 0 <= level < LEVELS:
            raise EnvironmentRefused(f"code/{name} has levels 0 to {LEVELS - 1}, not {level}")
        return _build(name, seed, level)

    def score(self, name: str, problem: Problem, rendering: str, completion: str) -> float:
        """Return 1.0 for a program that is right in all hidden cases, else 0.0.

        Raises `EnvironmentRefused` if the machine failed, not the program.
        """
        cases: Cases = problem.entry
        output = self._sandbox.run(program_of(completion), FUNCTION, cases.arguments, len(cases.results) + 1)
        return float(output == cases.results)

    def _check(self, name: str) -> None:
        if missing := self._sandbox.missing or ("" if name in KINDS else "no such kind"):
            raise EnvironmentRefused(f"code/{name}: {missing}")


def program_of(completion: str) -> str:
    """Return the last block between three backticks, without the language's name.

    A text without a block is returned whole.
    """
    parts = completion.split("```")
    if len(parts) < 3:
        return completion
    block = parts[-2] if len(parts) % 2 else parts[-3]
    language, newline, program = block.partition("\n")
    return program if newline and language.strip().lower() in ("", "py", "python", "python3") else block


@lru_cache(maxsize=256)
def _build(name: str, seed: int, level: int) -> Problem:
    random = Random(f"code/{name}/{level}/{seed}")
    draft = KINDS[name](random, level)
    solve = _function(draft.program)
    cases: dict[str, tuple[object, Any]] = {}
    for _ in range(DRAWS):
        argument = draft.draw_case(random)
        cases.setdefault(json.dumps(argument), (argument, solve(argument)))
        if len(cases) == SHOWN + HIDDEN:
            break
    chosen = list(cases.values())
    shown, hidden = chosen[:SHOWN], chosen[SHOWN:]
    results = [json.dumps(result) for _, result in hidden]
    if len(hidden) < HIDDEN or Counter(results).most_common(1)[0][1] > MOST_ALIKE:
        raise Unbuildable(f"code/{name}, level {level}, seed {seed}: too few different cases")
    examples = "\n".join(f"{FUNCTION}({argument!r}) == {result!r}" for argument, result in shown)
    prompt = f"{draft.question}\n\nExamples:\n{examples}\n\n{INSTRUCTION}"
    entry = Cases(tuple((argument,) for argument, _ in hidden), "\n".join(results).encode())
    return Problem(draft.question, draft.program, {"prose": prompt}, entry, {"prose": f"```python\n{draft.program}```"})


def _function(program: str) -> Callable[[object], Any]:
    module: dict[str, Any] = {}
    exec(program, module)  # noqa: S102 - our own text, from the tables of this folder
    solve: Callable[[object], Any] = module[FUNCTION]
    return solve
