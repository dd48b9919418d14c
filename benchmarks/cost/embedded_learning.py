"""What reinforcement and sharing add: `python -m benchmarks.cost.embedded_learning`.

Nodes in one process, without network, admission or curriculum, on the policy code of the real node.
Every round each node samples 8 completions for some questions, and trains once on I + J groups:
informative own ones first, the rest drawn from the others' informative groups of the last rounds,
of which only better-than-average answers count. Accuracy is greedy, on held-out prompts, over all
tasks and levels; it is the mean over nodes. Prints one JSON line per configuration, with the CPU
seconds it cost.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import reasoning_gym
import torch

from protocols.messages import Completion
from swarm.config.schema import PolicySection, TrainingSection
from swarm.policy.engine.cache import CacheEngine
from swarm.policy.fit.memory import Memory
from swarm.policy.model.model import EMBEDDED, load
from swarm.policy.update.batch import make_batch
from swarm.policy.update.optimizer import Optimizer
from swarm.policy.update.trainer import Trainer
from swarm.policy.update.update import update
from swarm.records import TrainingGroup
from swarm.tasks.compact import COMPACT
from swarm.tasks.held_out import held_out

CAP, G, MEMORY = 18, 8, 3  # tokens of an answer, completions of a group, rounds that a shared group stays available


@dataclass(frozen=True)
class TinyProblem:
    """One question with its judge."""

    task: str
    prompt: str
    entry: Any

    def score(self, text: str) -> float:
        """Return 1.0 for the right answer."""
        return float(COMPACT[self.task].right(self.entry, text))


class Problems:
    """Problems by task and level; held-out ones never mix with the others."""

    def __init__(self) -> None:
        # Item i has the seed `seed + i`: with indices of 40 random bits any seed is as good as
        # another.
        self._datasets = {
            (task, level): reasoning_gym.create_dataset(task, seed=level << 48, size=1, **parameters)
            for task, compact in COMPACT.items()
            for level, parameters in enumerate(compact.levels)
        }

    def draw(self, task: str, random: Random, *, unseen: bool = False) -> TinyProblem:
        """Draw a problem of a random level."""
        dataset = self._datasets[task, random.randrange(len(COMPACT[task].levels))]
        while True:
            entry = dataset[random.getrandbits(40)]
            prompt = COMPACT[task].prompt(entry)
            if held_out(f"reasoning_gym/{task}\n{prompt}") == unseen:
                return TinyProblem(task, prompt, entry)

    def evaluation(self, per_task: int) -> list[TinyProblem]:
        """Return distinct held-out problems, the same at every call."""
        random = Random(2024)
        found: dict[str, TinyProblem] = {}
        for task in COMPACT:
            count = len(found) + per_task
            while len(found) < count:
                problem = self.draw(task, random, unseen=True)
                found.setdefault(problem.prompt, problem)
        return list(found.values())


class BareNode:
    """Of a node only policy, optimizer, and its own tasks."""

    def __init__(self, source: Path, tasks: list[str], settings: TrainingSection, seed: int) -> None:
        self.policy = load(source, PolicySection(device="cpu"))
        self.engine = CacheEngine(self.policy)
        self.trainer = Trainer(self.policy, Optimizer(self.policy.parameters, settings), settings, Memory(self.policy, 0.0))
        self.settings, self.tasks, self.random = settings, tasks, Random(seed)

    def solve(self, problems: Problems, count: int) -> list[TrainingGroup]:
        """Sample and score groups for `count` questions."""
        asked = [problems.draw(self.random.choice(self.tasks), self.random) for _ in range(count)]
        prompts = self.policy.encode_prompts([problem.prompt for problem in asked])
        seed = self.random.getrandbits(60)
        sampled = self.engine.sample(prompts, num_generations=G, max_tokens=CAP, temperature=1.0, seed=seed)
        groups = []
        for problem, samples in zip(asked, sampled, strict=True):
            ids = tuple(tuple(sample.token_ids) for sample in samples)
            texts = self.policy.decode(ids)
            completions = tuple(
                Completion(text, sample.finished, len(sample.token_ids), sample.logprob)
                for text, sample in zip(texts, samples, strict=True)
            )
            groups.append(TrainingGroup(problem.prompt, completions, tuple(map(problem.score, texts)), (1.0,) * G, False, ids))
        return groups

    def train(self, groups: list[TrainingGroup]) -> None:
        """Make one update."""
        update(self.trainer, make_batch(self.policy, groups, self.settings))

    def accuracy(self, problems: list[TinyProblem]) -> dict[str, float]:
        """Return greedy accuracy by task."""
        prompts = self.policy.encode_prompts([problem.prompt for problem in problems])
        sampled = self.engine.sample(prompts, num_generations=1, max_tokens=CAP, temperature=0.0, seed=0)
        texts = self.policy.decode([sample.token_ids for (sample,) in sampled])
        right: dict[str, list[bool]] = {}
        for problem, text in zip(problems, texts, strict=True):
            right.setdefault(problem.task, []).append(problem.score(text) == 1.0)
        return {task: statistics.fmean(values) for task, values in right.items()}


def informative(group: TrainingGroup) -> bool:
    """Return whether the rewards differ."""
    return min(group.rewards) != max(group.rewards)


def shared(group: TrainingGroup) -> TrainingGroup:
    """Return a group as another node trains on it: text only, better-than-average answers only."""
    mean = statistics.fmean(group.rewards)
    weights = tuple(float(reward > mean) for reward in group.rewards)
    return TrainingGroup(group.prompt, group.completions, group.rewards, weights, True, None)


@dataclass(frozen=True)
class Setup:
    """Nodes by their tasks; per round each generates, and trains on own and foreign groups."""

    tasks: list[list[str]]
    generate: int
    local: int
    external: int


def run(setup: Setup, options: argparse.Namespace) -> dict[str, Any]:
    """Learn for `options.rounds` rounds in one setup, and return the figures."""
    problems = Problems()
    unseen = problems.evaluation(options.per_task)
    settings = TrainingSection(learning_rate=options.rate)
    nodes = [BareNode(options.model, tasks, settings, options.seed * 1000 + i) for i, tasks in enumerate(setup.tasks)]
    random, pool = Random(options.seed), deque[list[tuple[int, TrainingGroup]]](maxlen=MEMORY)
    rewards, useful, curve, began = [], [], {}, time.process_time()
    spent = 0.0

    def look(number: int) -> dict[str, float]:
        nonlocal spent
        start = time.process_time()
        by_node = [node.accuracy(unseen) for node in nodes[: options.evaluate]]
        by_task = {task: round(statistics.fmean(each[task] for each in by_node), 3) for task in COMPACT}
        curve[number] = round(statistics.fmean(by_task.values()), 3)
        spent += time.process_time() - start
        return by_task

    before = look(0)
    for number in range(1, options.rounds + 1):
        own = [node.solve(problems, setup.generate) for node in nodes]
        solved = [group for groups in own for group in groups]
        rewards.append(statistics.fmean(sum(reward == 1.0 for reward in group.rewards) / G for group in solved))
        useful.append(statistics.fmean(map(informative, solved)))
        pool.append([(i, group) for i, groups in enumerate(own) for group in groups if informative(group)])
        for i, node in enumerate(nodes):
            mine = [group for group in own[i] if informative(group)][: setup.local]
            others = [group for groups in pool for j, group in groups if j != i]
            places = setup.local + setup.external - len(mine) if setup.external else 0
            node.train(mine + [shared(group) for group in random.sample(others, min(places, len(others)))])
        if number % 20 == 0 and number < options.rounds:
            look(number)
    after = look(options.rounds)
    return {
        "before": before, "after": after, "curve": curve, "cumulative_reward": round(sum(rewards), 1),
        "informative": [round(statistics.fmean(useful[i : i + 10]), 2) for i in range(0, options.rounds, 10)],
        "cpu_s": round(time.process_time() - began - spent),
    }  # fmt: skip


def main() -> None:
    """Run the configurations, and print one JSON line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=EMBEDDED)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--per-task", type=int, default=60, help="held-out prompts per task")
    parser.add_argument("--evaluate", type=int, default=8, help="nodes evaluated")
    parser.add_argument("--rate", type=float, default=TrainingSection().learning_rate, help="learning rate")
    parser.add_argument("--only", nargs="*", default=[], help="some of the configurations, by name")
    options = parser.parse_args()
    torch.set_num_threads(1)
    everything = list(COMPACT)
    thirds = [everything[i % 3 :: 3] for i in range(options.nodes)]
    setups = {
        "alone 2": Setup([everything], 2, 2, 0),
        "alone 8": Setup([everything], 8, 8, 0),
        "together 2 + 6": Setup([everything] * options.nodes, 2, 2, 6),
        "specialised, alone 2": Setup(thirds[:3], 2, 2, 0),
        "specialised, alone 8": Setup(thirds[:3], 8, 8, 0),
        "specialised, 2 + 6": Setup(thirds, 2, 2, 6),
    }
    for name, setup in setups.items():
        if not options.only or name in options.only:
            asked = {"configuration": name, "rounds": options.rounds, "seed": options.seed, "rate": options.rate}
            print(json.dumps(asked | run(setup, options)), flush=True)


if __name__ == "__main__":
    main()
