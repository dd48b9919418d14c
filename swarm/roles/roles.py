"""The roles of a node in swarm sampling (SAPO, arXiv 2509.08721): propose, solve, evaluate."""

from __future__ import annotations

from dataclasses import dataclass

from swarm.policy.policy import Policy
from swarm.roles.proposer import Proposer
from swarm.roles.view import View
from swarm.tasks.scoring import Scorer


@dataclass(frozen=True, slots=True)
class Roles:
    """The proposer, the policy that solves tasks shown in `view`, and the scorer that evaluates."""

    proposer: Proposer
    policy: Policy
    scorer: Scorer
    view: View
