"""OpenAI's completions and chat completions: requests as a `Wish`, and replies in the form that
clients expect.

A parameter that this server lacks is refused if it would change the answer. Unknown parameters are
ignored: clients send many that are meant for others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Any

from swarm.policy.policy import Reply
from swarm.records import Conversation, Prompt, Turn
from swarm.serving.http import HttpError, Request, Response, answer_json
from swarm.serving.trained import Wish

MAX_TOKENS, DEFAULT_TOKENS = 8192, 256
MAX_REPLIES = 32  # of one request, over all its prompts
MAX_STOPS = 8
ROLES = ("system", "developer", "user", "assistant")
# Unsupported parameters, with the values that would not change the answer.
NOT_DONE: dict[str, tuple[Any, ...]] = {
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False, 0),
    "top_logprobs": (0,),
    "best_of": (1,),
    "suffix": ("",),
    "echo": (False,),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "response_format": ({"type": "text"},),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A parsed request: the wish, and how its replies are cut and sent."""

    wish: Wish
    model: str | None
    chat: bool
    stops: tuple[str, ...]
    stream: bool


def read(request: Request, *, chat: bool) -> Asked:
    """Parse a request. Raises `HttpError`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HttpError(415, "send JSON, with the header Content-Type: application/json")
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        raise HttpError(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise HttpError(400, "the body must be a JSON object")
    for name, neutral in NOT_DONE.items():
        if body.get(name) is not None and body[name] not in neutral:
            raise HttpError(400, f"{name} is not supported by this server; leave it out", "unsupported_parameter")
    prompts: tuple[Prompt, ...] = (_messages(body),) if chat else _texts(body)
    count = _number(body, "n", 1, 1, MAX_REPLIES, whole=True)
    if count * len(prompts) > MAX_REPLIES:
        raise HttpError(400, f"one request may have at most {MAX_REPLIES} replies over all its prompts")
    tokens = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    wish = Wish(
        prompts=prompts,
        samples=int(count),
        max_tokens=int(_number(body, tokens, DEFAULT_TOKENS, 1, MAX_TOKENS, whole=True)),
        temperature=_number(body, "temperature", 1.0, 0, 2),
        seed=int(_number(body, "seed", SystemRandom().getrandbits(53), 0, 2**63 - 1, whole=True)),
    )
    model = body.get("model")
    return Asked(wish, model if isinstance(model, str) else None, chat, _stops(body), body.get("stream") is True)


def _number(body: dict[str, Any], name: str, default: float, least: float, most: float, *, whole: bool = False) -> float:
    value = default if body.get(name) is None else body[name]
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not least <= value <= most:
        raise HttpError(400, f"{name} must be {'a whole number' if whole else 'a number'} from {least:g} to {most:g}")
    return value


def _texts(body: dict[str, Any]) -> tuple[str, ...]:
    prompt = body.get("prompt")
    texts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and _is_unicode(text) for text in texts):
        raise HttpError(400, "prompt must be a text or a list of texts; token ids are not taken")
    return tuple(texts)


def _messages(body: dict[str, Any]) -> Conversation:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise HttpError(400, "messages must be a list of at least one message")
    return tuple(map(_message, messages))


def _message(message: Any) -> Turn:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise HttpError(400, f"a message has a role, one of {', '.join(ROLES)}, and a content")
    content = message.get("content")
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str) or not _is_unicode(content):
        raise HttpError(400, "a message's content must be text")
    return Turn("system" if message["role"] == "developer" else message["role"], content)


def _stops(body: dict[str, Any]) -> tuple[str, ...]:
    stop = body.get("stop")
    stops = [] if stop is None else [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or len(stops) > MAX_STOPS or not all(isinstance(each, str) and each for each in stops):
        raise HttpError(400, f"stop must be a text or a list of at most {MAX_STOPS} texts")
    return tuple(stops)


def _is_unicode(text: str) -> bool:
    return text == text.encode(errors="ignore").decode()


def answer(
    asked: Asked, groups: Sequence[Sequence[Reply]], *, identity: str, created_s: int, model: str, weights: str
) -> Response:
    """Format the replies, one choice each. A streamed reply comes whole, in one event."""
    replies = [reply for group in groups for reply in group]
    cut = [_cut(reply, asked.stops) for reply in replies]
    kind = "chat.completion" if asked.chat else "text_completion"
    head = {"id": f"{'chatcmpl' if asked.chat else 'cmpl'}-{identity}", "object": kind, "created": created_s, "model": model}
    head["system_fingerprint"] = weights
    if not asked.stream:
        prompt, completion = sum(group[0].prompt_tokens for group in groups), sum(reply.tokens for reply in replies)
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        choices = [_choice(asked, index, text, why) for index, (text, why) in enumerate(cut)]
        return answer_json({**head, "choices": choices, "usage": usage})
    head["object"] = "chat.completion.chunk" if asked.chat else kind
    chunks = [{**head, "choices": [_choice(asked, index, text, why)]} for index, (text, why) in enumerate(cut)]
    events = [*map(json.dumps, chunks), "[DONE]"]
    return Response(200, "".join(f"data: {event}\n\n" for event in events).encode(), "text/event-stream")


def _cut(reply: Reply, stops: Sequence[str]) -> tuple[str, str]:
    """Return the text up to the first stop, and why it ended there."""
    ends = [position for stop in stops if (position := reply.text.find(stop)) >= 0]
    if ends:
        return reply.text[: min(ends)], "stop"
    return reply.text, "stop" if reply.finished else "length"


def _choice(asked: Asked, index: int, text: str, why: str) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": index, "finish_reason": why, "logprobs": None}
    if asked.chat:
        choice["delta" if asked.stream else "message"] = {"role": "assistant", "content": text}
    else:
        choice["text"] = text
    return choice
