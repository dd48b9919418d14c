"""Read one field of a decoded array: right type and within its limits.

Else raises ProtocolError ("schema") with the field's name.
"""

from __future__ import annotations

import math
import re
from typing import Any

from protocols.limits import (
    MAX_ENVIRONMENT_CHARS,
    MAX_INTEGER,
    MAX_MODEL_CHARS,
    MAX_PARAMETER_NAME_CHARS,
    MAX_RENDERING_CHARS,
    MAX_VERSION_CHARS,
)
from protocols.reasons import ProtocolError, Reason

# Names are compared, hashed and shown, so they are plain ASCII; [0-9] and \Z rather than \d and $,
# which take more.
ENVIRONMENT = re.compile(rf"(?=.{{1,{MAX_ENVIRONMENT_CHARS}}}\Z)[a-z0-9_.-]+/[a-z0-9_.-]+\Z")
ENVIRONMENT_VERSION = re.compile(rf"[0-9A-Za-z.+_-]{{1,{MAX_VERSION_CHARS}}}\Z")
PARAMETER_NAME = re.compile(rf"[a-z][a-z0-9_]{{0,{MAX_PARAMETER_NAME_CHARS - 1}}}\Z")
RENDERING = re.compile(rf"[a-z][a-z0-9_]{{0,{MAX_RENDERING_CHARS - 1}}}\Z")
MODEL = re.compile(rf"[!-~]{{1,{MAX_MODEL_CHARS}}}\Z")


def schema_error(message: str) -> ProtocolError:
    """The error of this file, for checks that go across fields."""
    return ProtocolError(Reason.SCHEMA, message)


def integer(value: Any, what: str, least: int = 0, most: int = MAX_INTEGER) -> int:
    """An integer of `least..most`; a boolean is none."""
    if type(value) is not int or not least <= value <= most:
        raise schema_error(f"{what} must be an integer of {least}..{most}")
    return value


def number(value: Any, what: str, least: float, most: float) -> float:
    """A 64-bit float of `least..most`, no integer and no negative zero."""
    if type(value) is not float or not least <= value <= most or (value == 0 and math.copysign(1, value) < 0):
        raise schema_error(f"{what} must be a float of {least}..{most}")
    return value


def boolean(value: Any, what: str) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise schema_error(f"{what} must be true or false")
    return value


def binary(value: Any, what: str, size: int) -> bytes:
    """Exactly `size` bytes."""
    if type(value) is not bytes or len(value) != size:
        raise schema_error(f"{what} must be {size} bytes")
    return value


def text(value: Any, what: str, max_bytes: int) -> str:
    """Valid Unicode text of at most `max_bytes` bytes in UTF-8."""
    try:
        if type(value) is str and len(value) <= max_bytes and (value.isascii() or len(value.encode("utf-8")) <= max_bytes):
            return value
    except UnicodeEncodeError:
        pass
    raise schema_error(f"{what} must be text of at most {max_bytes} bytes")


def name(value: Any, what: str, pattern: re.Pattern[str]) -> str:
    """Text of the given pattern."""
    if type(value) is not str or not pattern.match(value):
        raise schema_error(f"{what} is not a valid name: {value!r:.100}")
    return value


def array(value: Any, what: str, least: int, most: int) -> list[Any]:
    """An array of `least..most` items."""
    if type(value) is not list or not least <= len(value) <= most:
        count = str(least) if least == most else f"{least}..{most}"
        raise schema_error(f"{what} must be an array of {count} items")
    return value
