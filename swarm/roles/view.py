"""The view of a policy: how it is shown its tasks, and how long its answers may be."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.manifest import Manifest
from swarm.config.schema import Config
from swarm.records import Conversation, Task
from swarm.roles.examples import NO_EXAMPLES, Examples, gather_examples
from swarm.roles.suitable import max_tokens, rendering_of
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
    rendering = rendering_of(config, manifest)
    examples = await gather_examples(scorer, manifest, rendering, config.policy.examples)
    return View(rendering, max_tokens(config, manifest), examples)
