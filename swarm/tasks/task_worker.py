"""The scoring worker, a child process: rebuilds problems and runs the environments' verifiers.

It is the only place where environments run. A verifier that hangs is stopped in two ways. The
kernel ends this process when one answer or one request has used its CPU seconds. The parent ends it
when the answer is late by the clock. A simulation's clock stands still meanwhile; then the kernel
ends a late request too.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from functools import lru_cache
from typing import Any

import reasoning_gym  # noqa: F401 - slow to import: the fork server does so once, with this module

from protocols.rules import EnvironmentRule, Range
from swarm.child import Handlers
from swarm.errors import EnvironmentRefused
from swarm.tasks.environment import Environment, Problem, VerifierError, find, load_environments
from swarm.tasks.held_out import evaluation_seeds, example_problems, training_problem
from swarm.tasks.playable import check_playable

MOMENT_S = 1e-6  # no time left: a timer that is set to 0 would be off
ANSWER_LIMIT_S = 0.1  # CPU seconds of a verifier for one answer; its group is then refused
HUNG = 8  # times the CPU limit by the clock; later than a parent on the wall clock gives the request up
Body = Mapping[str, Any]


def main(arguments: Any) -> Handlers:
    """Return the handlers of a scoring worker; `arguments` is None.

    Every body but those of `ready` and `check` has `environment` ("family/kind"), `version`,
    `parameters` ([[name, value], …]), `seed` (63 bits) and `limit_s` (seconds, see `_guarded`). The
    handlers raise `EnvironmentRefused` for a recipe that cannot be rebuilt here.

    - `build` → {"prompts": {rendering: text}, "answer": text, "solutions": {rendering: text}}
    - `score`, with `rendering` and `texts` → the same with "rewards" (one per text) and "errors"
      (verifier failures)
    - `held_out`, with `count` → a list of results as of `build`
    - `score_held_out`, with `count`, `rendering` and `texts`, one per held-out task → {"rewards":
      […], "errors": n}
    - `examples`, with `rendering` and `count` → a list of [prompt, a completion worth 1], none of
      them held out
    - `ready`, with None → the versions of the families, {family: version}
    - `check`, with `rules` ([[name, version, [[parameter, value or [min, max]], …]], …]),
      `renderings` and `limit_s` → None if all of them can be played
    """
    families = load_environments()

    @lru_cache(maxsize=4096)
    def evaluation_walk(environment: str, level: int, seed: int, count: int) -> list[int]:
        # Every evaluation asks for the same few problems; finding them is most of the work.
        resolved, name = find(families, environment)
        return evaluation_seeds(resolved, environment.partition("/")[0], name, seed, level, count)

    def evaluation_problems(body: Body) -> list[Problem]:
        environment, _, name, level = _resolve(families, body)
        seeds = evaluation_walk(body["environment"], level, body["seed"], body["count"])
        return [environment.build(name, seed, level) for seed in seeds]

    def build(body: Body) -> dict[str, Any]:
        with _guarded(body):
            return _task(_training_problem(families, body))

    def score(body: Body) -> dict[str, Any]:
        with _guarded(body):
            problem = _training_problem(families, body)
            return _task(problem) | _judge(families, body, [(problem, text) for text in body["texts"]])

    def held_out(body: Body) -> list[dict[str, Any]]:
        with _guarded(body):
            return [_task(problem) for problem in evaluation_problems(body)]

    def score_held_out(body: Body) -> dict[str, Any]:
        with _guarded(body):
            return _judge(families, body, zip(evaluation_problems(body), body["texts"], strict=True))

    def examples(body: Body) -> list[list[str]]:
        with _guarded(body):
            environment, family, name, level = _resolve(families, body)
            problems = example_problems(environment, family, name, level, body["count"])
            rendering = body["rendering"]
            return [[each.prompts[rendering], each.solutions[rendering]] for each in problems if rendering in each.solutions]

    def ready(body: Any) -> dict[str, str]:
        return {family: environment.version for family, environment in families.items()}

    def check(body: Body) -> None:
        with _guarded(body):
            rules = [
                EnvironmentRule(
                    name, version, {each: Range(*value) if type(value) is list else value for each, value in parameters}
                )
                for name, version, parameters in body["rules"]
            ]
            check_playable(families, rules, body["renderings"])

    return {
        "build": build,
        "score": score,
        "held_out": held_out,
        "score_held_out": score_held_out,
        "examples": examples,
        "ready": ready,
        "check": check,
    }


@contextmanager
def _guarded(body: Body) -> Iterator[None]:
    """Let the kernel end this process after `limit_s` CPU seconds of the block. Print nothing.

    `HUNG` times as many seconds by the clock end it too. It is the signals' default action, not a
    Python handler: verifiers have `except:` clauses that would swallow an exception, and a loop
    inside the interpreter's C code would never reach a handler.
    """
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, body["limit_s"])
    signal.setitimer(signal.ITIMER_REAL, HUNG * body["limit_s"])
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def _guarded_answer() -> Iterator[None]:
    """Within `_guarded`, let the kernel end this process after `ANSWER_LIMIT_S` of the block."""
    left = signal.getitimer(signal.ITIMER_PROF)[0]
    given = min(left, ANSWER_LIMIT_S)
    signal.setitimer(signal.ITIMER_PROF, given)
    try:
        yield
    finally:
        used = given - signal.getitimer(signal.ITIMER_PROF)[0]
        signal.setitimer(signal.ITIMER_PROF, max(left - used, MOMENT_S))


def _resolve(families: Mapping[str, Environment], body: Body) -> tuple[Environment, str, str, int]:
    environment, name = find(families, body["environment"])
    if body["version"] != environment.version:
        raise EnvironmentRefused(
            f"{body['environment']} {body['version']} cannot be rebuilt here, where it has version {environment.version}; "
            "install the version that the swarm's manifest names"
        )
    parameters = dict(body["parameters"])
    level = parameters.pop("level", None)
    if parameters or type(level) is not int or not 0 <= level < environment.levels(name):
        raise EnvironmentRefused(
            f"{body['environment']} takes one parameter, level, a whole number from 0 to {environment.levels(name) - 1}; "
            f"it got {dict(body['parameters'])!r}"
        )
    return environment, body["environment"].partition("/")[0], name, level


def _training_problem(families: Mapping[str, Environment], body: Body) -> Problem:
    environment, family, name, level = _resolve(families, body)
    return training_problem(environment, family, name, body["seed"], level)


def _judge(families: Mapping[str, Environment], body: Body, pairs: Iterable[tuple[Problem, str]]) -> dict[str, Any]:
    environment, name = find(families, body["environment"])
    rendering = body["rendering"]
    rewards, errors = [], 0
    for problem, text in pairs:
        if rendering not in problem.prompts:
            known = ", ".join(problem.prompts)
            raise EnvironmentRefused(f"{body['environment']} has no rendering {rendering!r}; it has {known}")
        try:
            with _guarded_answer():
                rewards.append(environment.score(name, problem, rendering, text))
        except VerifierError:
            rewards.append(0.0)
            errors += 1
    return {"rewards": rewards, "errors": errors}


def _task(problem: Problem) -> dict[str, Any]:
    return {"prompts": dict(problem.prompts), "answer": problem.answer, "solutions": dict(problem.solutions)}
