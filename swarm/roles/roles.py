"""The roles of swarm sampling (SAPO, arXiv 2509.08721) that one node has: it proposes, solves, and evaluates."""

from __future__ import annotations

from dataclasses import dataclass

from swarm.policy.policy import Policy
from swarm.roles.proposer import Proposer
from swarm.roles.view import View
from swarm.tasks.scoring import Scorer


@dataclass(frozen=True, slots=True)
class Roles:
    """Who has them: the proposer, the policy that solves what it is shown in `view`, and the scorer that evaluates."""

    proposer: Proposer
    policy: Policy
    scorer: Scorer
    view: View
