"""A model's chat template: how it writes a conversation, and what it writes around an answer.

A template is a program of its model's author. Three things are asked of it: the text of a
conversation up to the answer, the white space that it puts before and behind an answer, and the
token that ends an assistant's turn. That token need not be the tokenizer's `eos_token`: of models
whose configuration names several ends, only the template tells which one ends a turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarm.errors import PolicyError
from swarm.records import Conversation, Turn

_QUESTION, _ANSWER = "question", "swarmd-answer"


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around an answer: white space `before` and `after` it, and the token that ends
    it, or None where the template names none."""

    before: str = ""
    after: str = ""
    end: int | None = None


class ChatTemplate:
    """The template of a tokenizer, called with `arguments`, such as enable_thinking."""

    def __init__(self, tokenizer: Any, arguments: Mapping[str, Any]) -> None:
        self._tokenizer = tokenizer
        self._arguments = dict(arguments)

    def __bool__(self) -> bool:
        return bool(self._tokenizer.chat_template)

    def render(self, conversation: Conversation) -> str:
        """Return the text of a conversation, up to where the answer begins.

        Where a template has no system role, its text opens the first user's turn instead. Raises
        `PolicyError` where the template refuses the conversation.
        """
        system = conversation[0].content if conversation and conversation[0].role == "system" else ""
        try:
            text = self._render(conversation, generate=True)
            if system.strip() in text:
                return text
        except Exception as error:  # noqa: BLE001 - it raises what its author likes
            refusal = f"the model's chat template refuses this conversation: {error}"
            if not system:
                raise PolicyError(refusal) from None
        else:
            refusal = "the model's chat template leaves out the system turn; put it into the user's turn"
        try:
            return self._render(_folded(conversation), generate=True)
        except Exception:  # noqa: BLE001 - as above
            raise PolicyError(refusal) from None

    def frame(self) -> Frame:
        """Find out what stands around an answer, by rendering one."""
        if not self:
            return Frame()
        question = Turn("user", _QUESTION)
        try:
            asked = self._render((question,), generate=True)
            said = self._render((question, Turn("assistant", _ANSWER)), generate=False)
        except Exception:  # noqa: BLE001 - a template that shows no answers tells nothing about them
            return Frame()
        opening, found, closing = said.rpartition(_ANSWER)
        before = opening.removeprefix(asked) if opening.startswith(asked) else ""
        # Other text than white space is the answer's own: empty reasoning, for one.
        before = "" if before.strip() else before
        rest = closing.lstrip()
        ids = self._tokenizer([rest], add_special_tokens=False)["input_ids"][0] if found and rest else []
        if not ids or ids[0] not in self._tokenizer.added_tokens_decoder:
            return Frame(before)
        return Frame(before, closing[: len(closing) - len(rest)], ids[0])

    def _render(self, conversation: Conversation, *, generate: bool) -> str:
        turns = [turn._asdict() for turn in conversation]
        text: str = self._tokenizer.apply_chat_template(turns, add_generation_prompt=generate, tokenize=False, **self._arguments)
        return text


def _folded(conversation: Conversation) -> Conversation:
    """Put the system's text in front of the user's first turn."""
    system, *rest = conversation
    if not rest or rest[0].role != "user":
        return (Turn("user", system.content), *rest)
    return (Turn("user", f"{system.content}\n\n{rest[0].content}"), *rest[1:])
