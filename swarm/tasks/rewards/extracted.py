"""What of a completion is the answer: no reasoning, no tags, no decoration.

Peers see the text alone, so the text alone decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Longest answer in characters: room for other notations of the right one, while every judge is
# fast.
MAX_CHARS, MAX_CHARS_PER_SOLUTION_CHAR = 1024, 4

_THINKING = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)
_OPEN, _CLOSE = "<answer>", "</answer>"

# What an answer may be wrapped in, each as a whole.
_DECORATION = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"```\w*\n(.*)```",
        r"`([^`]*)`",
        r"\$\$(.*)\$\$",
        r"\$([^$]*)\$",
        r"\\\((.*)\\\)",
        r"\\\[(.*)\\\]",
        r"\\(?:boxed|fbox|mbox|text|textbf|mathrm|mathbf)\s*\{(.*)\}",
        r"\\displaystyle\b(.*)",
        r"\*\*(.*)\*\*",
        r"\*([^*]+)\*",
        r"__([^_]+)__",
        r"\"([^\"]+)\"",
        r"'([^']+)'",
        r"“([^“”]+)”",
        r"=(?!=)(.*)",
        r"(.*[^.])\.",
    )
]
_MAX_LAYERS = 6


def extract_answer(completion: str) -> str | None:
    """Return the stripped text behind the last <answer>, up to the next </answer>; None without.

    The end of the text closes an answer too: a stop string "</answer>" is cut off. Reasoning in
    <think> holds no answer, and reasoning that never ends takes back what stands before it.
    """
    marks = list(_THINKING.finditer(completion))
    if marks and not marks[-1][1]:
        return None
    said = completion[marks[-1].end() :] if marks else completion
    _, opened, answer = said.rpartition(_OPEN)
    return answer.partition(_CLOSE)[0].strip() if opened else None


def readings(answer: str) -> Iterator[str]:
    """Yield the answer, then without each layer of decoration around it, from the outermost.

    `$ $`, `\\boxed{}`, `** **`, quotes, backticks, a leading "=" and a full stop are decoration.
    """
    text = answer.strip()
    yield text
    for _ in range(_MAX_LAYERS):
        inner = next((match[1].strip() for shape in _DECORATION if (match := shape.fullmatch(text))), None)
        if inner is None:
            return
        text = inner
        yield text


def too_long(answer: str, solution: str) -> bool:
    """Whether the answer is longer than any notation of the right one."""
    return len(answer) > MAX_CHARS + MAX_CHARS_PER_SOLUTION_CHAR * len(solution)
