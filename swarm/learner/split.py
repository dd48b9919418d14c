"""Splits a node's time between making rollouts and learning from others' rollouts.

An own group costs a node one forward pass per token, a foreign one a single batched pass. The ratio
depends on the model and the machine, so the node measures both. It draws as many foreign groups as
fit into the share of a round's seconds that the sampler gives them.

Why a share: let a round that trains on n groups teach in proportion to n^a (several updates, each
worth a little less than the one before). A round takes T seconds for the own part and t for each
foreign group, so n^a / (T + n t) is learned per second. It is greatest where the foreign groups
take the share a of the whole round, whatever T and t are.
"""

from __future__ import annotations

from collections.abc import Mapping

from swarm.config.schema import TrainingSection

# Weight of the newest round in the running means.
NEWEST = 0.2
# Activities paid for own groups besides training; waiting and saving happen whatever is drawn.
OWN = ("proposing", "generating", "scoring", "sharing", "sampling")


class Split:
    """One node's number of foreign groups per round, between I and J, within a share of the time.

    Always J where `share` is 0.
    """

    def __init__(self, settings: TrainingSection, share: float) -> None:
        self._settings = settings
        self._share = share
        self._own_s = 0.0
        self._foreign_s = 0.0

    @property
    def external(self) -> int:
        """Foreign groups to draw in this round; J until a round was measured."""
        most, share = self._settings.external, self._share
        if not share or not self._foreign_s:
            return most
        fit = share / (1 - share) * self._own_s / self._foreign_s  # inf where a foreign group costs next to nothing
        return min(max(round(min(fit, most)), self._settings.local), most)

    def measured(self, seconds: Mapping[str, float], own: int, foreign: int) -> None:
        """Note a round's seconds per activity, and the numbers of own and foreign groups trained
        on."""
        if not foreign:
            return
        each_s = seconds.get("training", 0.0) / (own + foreign)
        own_s = sum(seconds.get(what, 0.0) for what in OWN) + own * each_s
        self._own_s += (NEWEST if self._own_s else 1.0) * (own_s - self._own_s)
        self._foreign_s += (NEWEST if self._foreign_s else 1.0) * (each_s - self._foreign_s)
