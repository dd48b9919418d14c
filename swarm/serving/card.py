"""The model card of an exported policy: its origin, its training and its measured accuracy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import swarm
from swarm.serving.comparison import ALL


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an exported policy is from.

    `base` and `revision` name the base model; `digest` (hex) is over the trained weights; groups
    are those trained on. `signers` wrote the foreign groups that the pool still holds.
    `environments` are the swarm's, with version and parameters. `evaluation` is
    `Evaluation.to_json` of these weights, None if they were not evaluated. `command` made the
    export.
    """

    base: str
    revision: str
    adapter: bool
    step: int
    digest: str
    round: int
    own_groups: int
    foreign_groups: int
    signers: int
    swarm_name: str
    swarm_id: str
    environments: tuple[str, ...]
    training: str
    command: str
    evaluation: Mapping[str, Any] | None = None


def card(made: Provenance) -> str:
    """Return README.md, with the front matter that the hub reads."""
    # Only a name at the hub can be linked to.
    base = [f"base_model: {json.dumps(made.base)}"] if "/" in made.base else []
    library = "peft" if made.adapter else "transformers"
    front = [*base, f"library_name: {library}", "pipeline_tag: text-generation", "tags: [swarmd, reinforcement-learning]"]
    at = f", revision {made.revision}" if made.revision else ""
    kind = "The LoRA adapter of a policy" if made.adapter else "A policy"
    lines = [
        "---",
        *front,
        "---",
        f"# {made.base}, trained in the swarm {made.swarm_name}",
        "",
        f"{kind} trained by reinforcement learning with verifiable rewards, on its own rollouts and on those that other nodes "
        f"of a swarm shared as text (swarm sampling). Exported by swarmd {swarm.__version__}.",
        "",
        "| | |",
        "|---|---|",
        f"| base model | {made.base}{at} |",
        f"| swarm | {made.swarm_name} (`{made.swarm_id}`) |",
        f"| updates | {made.step}, in {made.round} rounds; {made.training} |",
        f"| groups trained on | {made.own_groups} own and {made.foreign_groups} foreign ones{_signers(made)} |",
        f"| digest of the trained weights | `{made.digest}` |",
        f"| made by | `{made.command}` |",
        "",
        "## Data",
        "",
        "Problems that are generated, none of them held out for evaluation, with answers by this and other nodes' policies:",
        "",
        *(f"- {environment}" for environment in made.environments or ("not known: the swarm's manifest is not on this machine",)),
        "",
        "## Evaluation",
        "",
        *_evaluation(made.evaluation),
        "",
        "## Limits",
        "",
        "It was rewarded for right answers to generated problems in a form of their own, and for nothing else. The base model's "
        "licence and limits hold.",
    ]
    return "\n".join(lines) + "\n"


def _signers(made: Provenance) -> str:
    if not made.foreign_groups:
        return ""
    return f" (those still in the pool are of {made.signers} signer{'' if made.signers == 1 else 's'})"


def _evaluation(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return ["These weights were not evaluated; `swarmd eval` does so before an export."]
    rows = [
        f"| {'all' if each['environment'] == ALL else each['environment']} | {each['base']['tasks']} "
        f"| {_share(each['base'])} | {_share(each['now'])} |"
        for each in found["comparisons"]
        if each["now"]
    ]
    return [
        f"Share of held-out tasks solved, greedy answers, {found['rendering']} rendering; 95 % intervals (Wilson).",
        "",
        "| environment | tasks | base model | this model |",
        "|---|---|---|---|",
        *rows,
    ]


def _share(share: Mapping[str, float]) -> str:
    return f"{share['accuracy']:.3f} [{share['low']:.3f}, {share['high']:.3f}]"
