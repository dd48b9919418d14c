"""The learning curve of a run: held-out accuracy at intervals, and the cost until then.

The run does not notice that it is measured. Between two rounds of a node its policy answers first
and trains after that, since requests to a policy keep their order. And no virtual time goes by
meanwhile, so the same seed gives the same weights, measured or not. What measuring itself costs is
taken off the CPU seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swarm.clock import unseen
from swarm.errors import ChildDied
from swarm.node.node import Node
from swarm.roles.held_out_accuracy import HeldOut, examine
from swarm.sim.cpu import KNOWN, cpu_s, tree_cpu_s
from swarm.sim.options import SimulationOptions
from swarm.tasks.scoring import Scorer


@dataclass(frozen=True, slots=True)
class Point:
    """Held-out accuracy per place after `rounds` rounds, and all processes' CPU seconds until then.

    A place whose policy died while it answered is missing. `cpu_s` is None where the system does
    not tell.
    """

    rounds: int
    accuracies: tuple[float, ...]
    cpu_s: float | None


class Examiner:
    """Measures every place after each `evaluate_every` rounds and after the last.

    With `until` it tells all nodes to stop once their mean accuracy is that high.
    """

    def __init__(self, options: SimulationOptions, places: int, scorer: Scorer, problems: Sequence[HeldOut]) -> None:
        every = options.evaluate_every or options.rounds
        self._rounds = [*range(every, options.rounds, every), options.rounds]
        self._until = options.until
        self._places = places
        self._nodes: dict[int, Node] = {}
        self._scorer = scorer
        self._problems = problems
        self._answers: dict[int, dict[int, float | None]] = {mark: {} for mark in self._rounds}
        self._points: dict[int, Point] = {}
        self._spent_s = 0.0
        self._begun_s: float | None = None

    def begin(self) -> None:
        """Start the CPU clock: the nodes learn from here on."""
        self._begun_s = self._cpu_s() if self._begun_s is None else self._begun_s

    def due(self, rounds: int) -> bool:
        """Return whether a place is to be measured after `rounds` rounds."""
        return rounds in self._answers

    async def examine(self, node: Node, place: int, rounds: int) -> None:
        """Measure one node; its policy is asked before this first waits."""
        self._nodes[place] = node
        policy, view = node.learner.policy, node.learner.roles.view
        before_s = cpu_s(policy.pid)
        right: float | None = None
        with unseen():
            try:
                said = await examine(policy, self._scorer, self._problems, view)
                right = said.accuracy
            except ChildDied:
                pass  # the node goes back to a checkpoint, and the curve does without it
        self._spent_s += cpu_s(policy.pid) - before_s
        each = self._answers[rounds]
        each[place] = right
        if len(each) == self._places:
            known = tuple(value for _, value in sorted(each.items()) if value is not None)
            self._points[rounds] = Point(rounds, known, self._cpu_s() - (self._begun_s or 0.0) if KNOWN else None)
            if self._until and known and sum(known) / len(known) >= self._until:
                for each_node in self._nodes.values():
                    each_node.learner.stop()

    @property
    def points(self) -> tuple[Point, ...]:
        """The curve so far, without the measurement before the first round."""
        return tuple(point for _, point in sorted(self._points.items()) if point.accuracies)

    def _cpu_s(self) -> float:
        return tree_cpu_s(without=self._scorer.pids) - self._spent_s
