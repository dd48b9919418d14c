"""Whether a policy suits a swarm, by the settings and the manifest alone, before anything is loaded
or fetched."""

from __future__ import annotations

from collections.abc import Iterator

from protocols.manifest import Manifest
from swarm.config.schema import Config

# The embedded model's, as its config.json says.
EMBEDDED_POSITIONS = 128


def rendering_of(config: Config, manifest: Manifest) -> str:
    """Return the prompt template of a node's policy.

    "auto" takes the one that suits the model, if the swarm allows it, else the swarm's first.
    """
    if config.policy.rendering != "auto":
        return config.policy.rendering
    suits = "compact" if config.policy.model == "embedded" else "prose"
    return suits if suits in manifest.renderings else manifest.renderings[0]


def why_not(config: Config, manifest: Manifest) -> str:
    """Say why this policy cannot work in this swarm, with the remedy; "" if it can."""
    size, rendering, swarm = config.generation.num_generations, rendering_of(config, manifest), f"the swarm {manifest.name}"
    if not manifest.min_group_size <= size <= manifest.max_group_size:
        return (
            f"{swarm} takes groups of {manifest.min_group_size} to {manifest.max_group_size} completions, and "
            f"generation.num_generations is {size}; set it to one of these"
        )
    if rendering not in manifest.renderings:
        return f"{swarm} shows its tasks as {', '.join(manifest.renderings)}, and policy.rendering is {rendering}; set it to auto"
    if config.policy.model != "embedded":
        return ""
    if rendering == "prose":
        return (
            f"{swarm} asks in prose, which the embedded model cannot read; take a language model, as `swarmd models` lists them: "
            "--profile gpu chooses one for a card of 8 GB and more, --model or policy.model names any"
        )
    if max_tokens(config, manifest) >= EMBEDDED_POSITIONS:
        return (
            f"{swarm} allows answers of {max_tokens(config, manifest)} tokens, and the embedded model has "
            f"{EMBEDDED_POSITIONS} positions for question and answer; set generation.max_completion_length to 64 or less"
        )
    return ""


def doubts(config: Config, manifest: Manifest) -> Iterator[str]:
    """Say what will work badly, with the remedy."""
    rendering, model = rendering_of(config, manifest), config.policy.model
    if model != "embedded" and rendering != "prose" and not config.policy.examples:
        shown = "take --profile smollm2, which shows it examples" if model == "smollm2" else "set policy.examples to 5"
        yield (
            f"the swarm {manifest.name} shows tasks in the short form that the embedded model was taught, which {model} has not "
            f"seen; {shown}, or take --profile default --model embedded"
        )


def max_tokens(config: Config, manifest: Manifest) -> int:
    """Return the most tokens of an answer: the swarm's cap, or the node's below it."""
    cap = manifest.max_completion_tokens
    return min(config.generation.max_completion_length or cap, cap)
