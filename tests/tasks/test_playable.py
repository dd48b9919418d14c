"""A manifest is played or refused: every task it names can be asked here, and answered in its
caps."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from itertools import islice

import pytest

from protocols.manifest import Manifest
from protocols.rules import EnvironmentRule, Range
from swarm.clock import WallClock
from swarm.config.manifest_lookup import built_in
from swarm.errors import ChildFailed
from swarm.roles.proposer import levels
from swarm.tasks.code.sandbox import Sandbox
from swarm.tasks.environment import Unbuildable, find, load_environments
from swarm.tasks.held_out import walk
from swarm.tasks.playable import why_unplayable
from swarm.tasks.scoring import Scorer

REASONING = built_in()["reasoning"]
ARC = REASONING.environments[0]
FAMILIES = load_environments()
WITHOUT_SANDBOX = {"code"} if Sandbox().missing else set()
PROMPT_BYTES = 2048  # room for a prompt beside 1024 tokens of answer, in a model of 2048 tokens


def changed(**changes: object) -> Manifest:
    rules = [replace(ARC, **changes)]
    return replace(REASONING, environments=tuple(rules))


UNPLAYABLE = {
    "has no rendering 'compact'; it has prose": replace(REASONING, renderings=("compact", "prose")),
    "has no rendering 'verse'": replace(REASONING, renderings=("verse",)),
    "from 0 to 2; the manifest has level = 0 to 3": changed(parameters={"level": Range(0, 3)}),
    "from 0 to 2; the manifest has level = -1": changed(parameters={"level": -1}),
    "from 0 to 2; the manifest has level = True": changed(parameters={"level": True}),
    "the manifest has depth = 1": changed(parameters={"depth": 1}),
    "the manifest has none": changed(parameters={}),
    "has version": changed(version="0.1.25+1"),
    "unknown environment": changed(name="reasoning_gym/verse"),
    "is refused: .* hash seeds": changed(name="reasoning_gym/word_ladder"),
}


@pytest.mark.parametrize("name", sorted(set(built_in()) - WITHOUT_SANDBOX))
def test_the_built_in_manifests_can_be_played(name: str) -> None:
    assert why_unplayable(built_in()[name]) == ""


@pytest.mark.parametrize("reason", UNPLAYABLE)
async def test_an_unplayable_manifest_is_refused_with_what_to_do(reason: str) -> None:
    manifest = UNPLAYABLE[reason]
    assert re.search(reason, why_unplayable(manifest))


async def test_workers_refuse_it_too() -> None:
    async with Scorer(1, 10, WallClock()) as scorer:
        await scorer.check([ARC], ["prose"])
        with pytest.raises(ChildFailed, match="no rendering"):
            await scorer.check([ARC], ["prose", "verse"])
        with pytest.raises(ChildFailed, match="from 0 to 2"):
            await scorer.check([EnvironmentRule(ARC.name, ARC.version, {"level": 9})], ["prose"])


def test_a_process_of_its_own_answers_for_a_manifest_file() -> None:
    text = built_in()["words"].to_toml()
    command = [sys.executable, "-m", "swarm.tasks.playable"]
    done = subprocess.run(command, input=json.dumps(text), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"refused": ""}


@pytest.mark.parametrize("name", sorted(set(built_in()) - WITHOUT_SANDBOX))
def test_right_answers_and_prompts_fit_at_every_level(name: str) -> None:
    manifest = built_in()[name]
    for rule in manifest.environments:
        environment, kind = find(FAMILIES, rule.name)
        for level in levels(rule):
            for seed in islice(walk(9), 12):
                try:
                    problem = environment.build(kind, seed, level)
                except Unbuildable:
                    continue
                for rendering in manifest.renderings:
                    solution = problem.solutions[rendering]
                    assert len(solution) <= manifest.max_completion_chars
                    # No tokenizer makes more tokens of a text than it has bytes.
                    assert len(solution.encode()) < manifest.max_completion_tokens, (rule.name, level)
                    assert len(problem.prompts[rendering].encode()) < PROMPT_BYTES, (rule.name, level)
