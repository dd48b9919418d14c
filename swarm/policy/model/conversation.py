"""What people and programs say to the policy, as tokens: texts to be continued, and conversations through the chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swarm.errors import PolicyError
from swarm.policy.model.model import LanguageModel

Turns = Sequence[Mapping[str, str]]


def encode(language_model: LanguageModel, prompts: Sequence[str | Turns]) -> list[list[int]]:
    """Token ids of each prompt: a text as it is, turns (`role`, `content`) through the template.

    A model without a template has learned to answer one prompt, so it is given the last turn alone.
    """
    return [
        _raw(language_model, prompt) if isinstance(prompt, str) else _conversation(language_model, prompt) for prompt in prompts
    ]


def _raw(language_model: LanguageModel, text: str) -> list[int]:
    row: list[int] = language_model.tokenizer([text], split_special_tokens=True)["input_ids"][0]
    return _opened(language_model, row[:-1] if row and row[-1] in language_model.stop_ids else row)


def _conversation(language_model: LanguageModel, turns: Turns) -> list[int]:
    tokenizer = language_model.tokenizer
    if not tokenizer.chat_template:
        return _raw(language_model, turns[-1]["content"])
    try:
        text = tokenizer.apply_chat_template([dict(turn) for turn in turns], add_generation_prompt=True, tokenize=False)
    except Exception as error:  # noqa: BLE001 - a template is a program of its model's author and raises what it likes
        raise PolicyError(f"the model's chat template refuses this conversation: {error}") from None
    row: list[int] = tokenizer([text], add_special_tokens=False)["input_ids"][0]
    return _opened(language_model, row)


def _opened(language_model: LanguageModel, row: list[int]) -> list[int]:
    # A model must be given something to continue.
    start = language_model.tokenizer.bos_token_id
    return row or [language_model.pad_id if start is None else start]
