"""An attacker's knowledge of a task: its proposer can look the answer up."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from protocols.manifest import EnvironmentRule, Manifest
from protocols.recipe import Recipe, local_beacon, seed
from swarm.errors import ConfigError
from swarm.roles.proposer import levels, parameters_at
from swarm.tasks.compact import COMPACT
from swarm.tasks.environment import Environment, Problem, find, load_environments
from swarm.tasks.held_out import training_problem


@dataclass(frozen=True)
class Puzzle:
    """One task with `right`, the answer alone.

    Attackers build and score in their own process, since they run their own text only.
    """

    recipe: Recipe
    rendering: str
    right: str
    problem: Problem
    environment: Environment

    @property
    def family(self) -> str:
        """The family of environments, "reasoning_gym"."""
        return self.recipe.environment.partition("/")[0]

    @property
    def name(self) -> str:
        """The kind of problem, "spell_backward"."""
        return self.recipe.environment.partition("/")[2]

    def framed(self, answer: str, before: str = "", after: str = "") -> str:
        """A completion with this answer, and text around it that no verifier looks at."""
        if self.family == "code":
            return f"{before}\n```python\n{answer}\n```\n{after}"
        if self.rendering == "scratch":
            return (f"{before}|" if before else "") + answer + (f"#{after}" if after else "")
        if self.rendering == "prose":
            return f"{before}<answer>{answer}</answer>{after}"
        return answer

    def reward(self, text: str) -> float:
        """What every verifier gives."""
        return self.environment.score(self.name, self.problem, self.rendering, text)

    def mistakes(self, random: Random) -> list[str]:
        """Answers that are nearly right, in random order, the ones worth least first."""
        right = self.right
        place = random.randrange(max(len(right) - 1, 1))
        swapped = right[:place] + right[place + 1 : place + 2] + right[place : place + 1] + right[place + 2 :]
        near = sorted({right[:-1], right[1:], right[::-1], swapped, right + right[-1:], "?"} - {right, ""})
        random.shuffle(near)
        return sorted((each for each in near if self.worth(each) < 1.0), key=self.worth)

    def worth(self, answer: str) -> float:
        """The reward of an answer without anything around it."""
        return self.reward(self.framed(answer))


class Library:
    """Rebuilds the tasks of one swarm in this process."""

    def __init__(self, manifest: Manifest, rendering: str) -> None:
        if manifest.beacon != "local":
            raise ConfigError(f'attackers know the tasks of swarms with beacon = "local" only; {manifest.name} has another')
        self.manifest = manifest
        self.rendering = rendering
        self.arms = [(rule, level) for rule in manifest.environments for level in levels(rule)]
        self._families = load_environments()

    def puzzle(self, rule: EnvironmentRule, level: int, epoch: int, proposer: bytes, index: int) -> Puzzle:
        """The task of a rule at a level, under the proposer's index."""
        recipe = Recipe(rule.name, rule.version, parameters_at(rule, level), epoch, proposer, index)
        environment, name = find(self._families, rule.name)
        family = rule.name.partition("/")[0]
        problem = training_problem(environment, family, name, seed(recipe, local_beacon(self.manifest.id, epoch)), level)
        compact = family == "reasoning_gym" and self.rendering in ("compact", "scratch")
        right = COMPACT[name].solution(problem.entry) if compact else problem.answer
        return Puzzle(recipe, self.rendering, right, problem, environment)
