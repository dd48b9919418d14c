"""The view of a policy: how it is shown its tasks, and how long its answers may be."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.manifest import Manifest
from swarm.config.schema import Config
from swarm.records import Conversation, Task
from swarm.roles.examples import NO_EXAMPLES, Examples, gather_examples
from swarm.tasks.scoring import Scorer


@dataclass(frozen=True, slots=True)
class View:
    """The prompt template (`rendering`), the most tokens of a completion, and worked examples."""

    rendering: str
    max_tokens: int
    examples: Examples = NO_EXAMPLES

    def prompt(self, task: Task) -> Conversation:
        """Return the task as the policy sees it."""
        return self.examples.shown(task, self.rendering)


async def view_of(config: Config, manifest: Manifest, scorer: Scorer) -> View:
    """Return the view of a node's settings within the swarm's rules; the scorer builds examples."""
    cap = manifest.max_completion_tokens
    rendering = rendering_of(config, manifest)
    examples = await gather_examples(scorer, manifest, rendering, config.policy.examples)
    return View(rendering, min(config.generation.max_completion_length or cap, cap), examples)


def rendering_of(config: Config, manifest: Manifest) -> str:
    """Return the prompt template of a node's policy.

    "auto" takes the one that suits the model, if the swarm allows it, else the swarm's first.
    """
    if config.policy.rendering != "auto":
        return config.policy.rendering
    suits = "compact" if config.policy.model == "embedded" else "prose"
    return suits if suits in manifest.renderings else manifest.renderings[0]
