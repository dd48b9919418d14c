"""Which tasks fit a model: one that does not is passed over before anything is generated."""

from __future__ import annotations

from collections.abc import Sequence

from swarm.policy.model.model import LanguageModel
from swarm.records import Prompt


def fits(
    language_model: LanguageModel, prompts: Sequence[Prompt], solutions: Sequence[str | None], max_tokens: int
) -> list[bool]:
    """Return for each prompt whether the model has positions for it and `max_tokens` more, and
    whether its known solution is no longer than these."""
    encoded = language_model.encode_prompts(prompts)
    known = [(number, solution) for number, solution in enumerate(solutions) if solution is not None]
    answers = language_model.encode_completions(
        [prompts[number] for number, _ in known], [text for _, text in known], [True] * len(known)
    )
    room = [len(ids) + max_tokens <= language_model.max_length for ids in encoded]
    for (number, _), ids in zip(known, answers, strict=True):
        room[number] = room[number] and len(ids) <= max_tokens
    return room
