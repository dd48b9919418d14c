"""A simulated swarm's weather: nodes that leave for good, and a partition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from swarm.net.simulated import MemoryNetwork, Partition

FOREVER_S = 1e18


@dataclass(frozen=True, slots=True)
class Stay:
    """One node's time in the run: it holds `place` for `rounds` rounds from round `first` on."""

    number: int
    place: int
    first: int
    rounds: int


def stays(rounds: Sequence[int], churn: float) -> list[list[Stay]]:
    """Return per place who holds it in turn, with replacements spread over the run's middle half.

    Every place holds a node for its `rounds` in all, so that a run with churn costs as much as one
    without.
    """
    places = len(rounds)
    replaced = round(churn * places)
    turns = {turn * places // replaced: turn for turn in range(replaced)}
    lives = []
    for place, all_rounds in enumerate(rounds):
        left = all_rounds
        if place in turns:
            left = max(1, all_rounds // 4 + (turns[place] + 1) * (all_rounds // 2) // (replaced + 1))
        life = [Stay(place, place, 0, min(left, all_rounds))]
        if left < all_rounds:
            life.append(Stay(places + sum(other < place for other in turns), place, left, all_rounds - left))
        lives.append(life)
    return lives


class Divider:
    """Cuts the network in two after a third of the run, and heals it after two thirds."""

    def __init__(self, network: MemoryNetwork, rounds: int, sides: Callable[[], Sequence[frozenset[str]]]) -> None:
        self._cut, self._healed = self.rounds_of(rounds)
        self._network = network
        self._sides = sides

    @staticmethod
    def rounds_of(rounds: int) -> tuple[int, int]:
        """Return the rounds of a run at which it is cut and healed."""
        return max(1, rounds // 3), max(2, 2 * rounds // 3)

    def slowest(self, rounds: int) -> None:
        """Cut or heal by the rounds that the slowest place has done."""
        cut = self._cut <= rounds < self._healed
        if cut and not self._network.conditions.partitions:
            parts = (Partition(0.0, FOREVER_S, tuple(self._sides())),)
            self._network.conditions = replace(self._network.conditions, partitions=parts)
        elif not cut and self._network.conditions.partitions:
            self._network.conditions = replace(self._network.conditions, partitions=())


def side_of(place: int, places: int) -> int:
    """Return a place's side in a partition: 0 for the first half of all places, else 1."""
    return int(place >= (places + 1) // 2)
