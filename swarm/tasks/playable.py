"""Whether the tasks that a manifest names can be asked and judged with what is installed here.

`python -m swarm.tasks.playable` is a process of its own, since it loads every family: it reads the
text of a manifest as JSON from standard input, and writes {"refused": why not, or ""}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout

from protocols.manifest import Manifest
from protocols.rules import EnvironmentRule, Range
from swarm.errors import EnvironmentRefused
from swarm.tasks.environment import Environment, Problem, Unbuildable, find, load_environments
from swarm.tasks.held_out import walk

MAX_TRIES = 100  # seeds, for one that has a problem


def check_playable(families: Mapping[str, Environment], rules: Iterable[EnvironmentRule], renderings: Iterable[str]) -> None:
    """Build a task of every rule. Raises `EnvironmentRefused`, which says what cannot be played.

    That is another version, a parameter, a level or a rendering that an environment does not have.
    """
    for rule in rules:
        environment, name = find(families, rule.name)
        if rule.version != environment.version:
            raise EnvironmentRefused(
                f"{rule.name} has version {environment.version} here, and the manifest names {rule.version}; install that one, "
                "or write the version that is here into a manifest of yours"
            )
        lowest = _lowest_level(rule, environment.levels(name))
        shown = _some_problem(environment, name, lowest).prompts
        for rendering in renderings:
            if rendering not in shown:
                raise EnvironmentRefused(
                    f"{rule.name} has no rendering {rendering!r}; it has {', '.join(sorted(shown))}: choose among these in the "
                    "manifest, or leave the environment out"
                )


def why_unplayable(manifest: Manifest) -> str:
    """Return why a manifest's tasks cannot be played here, in one sentence; "" if they can."""
    try:
        with redirect_stdout(sys.stderr):  # some datasets print
            check_playable(load_environments(), manifest.environments, manifest.renderings)
    except EnvironmentRefused as error:
        return str(error)
    return ""


def _lowest_level(rule: EnvironmentRule, levels: int) -> int:
    level = rule.parameters.get("level")
    low, high = (level.min, level.max) if isinstance(level, Range) else (level, level)
    if set(rule.parameters) != {"level"} or type(low) is not int or not 0 <= low <= high < levels:  # type: ignore[operator]
        raise EnvironmentRefused(
            f"{rule.name} takes one parameter, level, of whole numbers from 0 to {levels - 1}; the manifest has "
            f"{_written(rule) or 'none'}"
        )
    return low


def _written(rule: EnvironmentRule) -> str:
    values = {
        name: f"{value.min} to {value.max}" if isinstance(value, Range) else value for name, value in rule.parameters.items()
    }
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def _some_problem(environment: Environment, name: str, level: int) -> Problem:
    for _, seed in zip(range(MAX_TRIES), walk(0), strict=False):
        try:
            return environment.build(name, seed, level)
        except Unbuildable:
            continue
    raise EnvironmentRefused(f"{name} at level {level} has no problem for {MAX_TRIES} seeds; leave it out of the manifest")


if __name__ == "__main__":
    print(json.dumps({"refused": why_unplayable(Manifest.from_toml(json.load(sys.stdin)))}))
