"""Canonical MessagePack: one value has one spelling, so that everybody hashes the same bytes.

The wire uses a few of MessagePack's types: booleans, integers of ±(2^53 - 1), finite 64-bit floats,
UTF-8 text, binary, arrays. Not nil, maps, extensions or 32-bit floats: bodies are positional,
nothing is optional, and what does not exist needs no rules. Canonical means the shortest header
that holds a number or length, and no negative zero.

`decode` walks the bytes once, left to right, and names the first fault. A general decoder followed
by a comparison with the re-encoded value would be shorter, but it builds first and judges later:
768 KiB of empty arrays become 60 MB of lists, and nested headers that promise 65,535 items each
reserve half a megabyte per three bytes. Here nothing is built that the bytes at hand do not pay
for, and the number of values and the nesting are limited by the caller.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import msgpack

from protocols.limits import MAX_BODY_DEPTH, MAX_BODY_VALUES, MAX_INTEGER
from protocols.reasons import ProtocolError, Reason

Value = Any  # bool | int | float | str | bytes | list of the same (tuples are encoded as lists are)


# What a head byte announces: type, bytes of the number that follows, and the least number that
# needs this form.
_FORMS: dict[int, tuple[str, int, int]] = {
    0xCC: ("integer", 1, 0x80),
    0xCD: ("integer", 2, 0x100),
    0xCE: ("integer", 4, 0x10000),
    0xCF: ("integer", 8, 0x100000000),
    0xD0: ("negative", 1, 0x21),
    0xD1: ("negative", 2, 0x81),
    0xD2: ("negative", 4, 0x8001),
    0xD3: ("negative", 8, 0x80000001),
    0xD9: ("text", 1, 0x20),
    0xDA: ("text", 2, 0x100),
    0xDB: ("text", 4, 0x10000),
    0xC4: ("binary", 1, 0),
    0xC5: ("binary", 2, 0x100),
    0xC6: ("binary", 4, 0x10000),
    0xDC: ("array", 2, 0x10),
    0xDD: ("array", 4, 0x10000),
}
_FLOAT = struct.Struct(">d")


def encode(value: Value) -> bytes:
    """The canonical bytes of a value. Raises ProtocolError ("malformed") for other types."""
    _check(value)
    try:
        packed: bytes = msgpack.packb(value)  # shortest headers, 64-bit floats
    except UnicodeEncodeError as error:
        raise ProtocolError(Reason.MALFORMED, f"text that is not valid Unicode: {error}") from None
    return packed


def decode(data: bytes, max_bytes: int, max_values: int = MAX_BODY_VALUES, max_depth: int = MAX_BODY_DEPTH) -> Value:
    """The one value that the bytes spell; arrays come as lists.

    Raises ProtocolError: "too-large" (bytes, values or depth over the limit), "malformed" or
    "not-canonical".
    """
    if len(data) > max_bytes:
        raise ProtocolError(Reason.TOO_LARGE, f"{len(data)} bytes where at most {max_bytes} are allowed")
    reader = _Reader(data, max_values)
    value = reader.value(max_depth)
    if reader.at != len(data):
        raise ProtocolError(Reason.MALFORMED, f"{len(data) - reader.at} bytes are left over after the value")
    return value


class _Reader:
    """The bytes, the place reached, and how many more values may come."""

    __slots__ = ("at", "data", "values_left")

    def __init__(self, data: bytes, max_values: int) -> None:
        self.data = data
        self.at = 0
        self.values_left = max_values - 1

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        end = self.at + count
        if end > len(self.data):
            raise ProtocolError(
                Reason.MALFORMED, f"{count} bytes are needed at {self.at} and {len(self.data) - self.at} are left"
            )
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def head(self) -> int:
        """The next byte."""
        try:
            head = self.data[self.at]
        except IndexError:
            raise ProtocolError(Reason.MALFORMED, f"the bytes end at {self.at}, before the value does") from None
        self.at += 1
        return head

    def value(self, depth: int) -> Value:
        """The next value; arrays in it may nest `depth` levels."""
        head = self.head()
        if head < 0x80:
            return head
        if head >= 0xE0:
            return head - 0x100
        if 0xA0 <= head < 0xC0:
            return self.text(head & 0x1F)
        if 0x90 <= head < 0xA0:
            return self.array(head & 0x0F, depth)
        if head == 0xCB:
            return self.float64()
        if head in (0xC2, 0xC3):
            return head == 0xC3
        if head not in _FORMS:
            raise ProtocolError(Reason.MALFORMED, f"the type 0x{head:02x} before byte {self.at} is not used on the wire")
        kind, width, least = _FORMS[head]
        number = int.from_bytes(self.take(width), "big", signed=kind == "negative")
        if (-number if kind == "negative" else number) < least:
            raise ProtocolError(Reason.NOT_CANONICAL, f"the number {number} before byte {self.at} has a shorter form")
        if kind == "text":
            return self.text(number)
        if kind == "binary":
            return self.take(number)
        if kind == "array":
            return self.array(number, depth)
        if abs(number) > MAX_INTEGER:
            raise ProtocolError(Reason.MALFORMED, f"the integer before byte {self.at} is outside ±(2^53 - 1)")
        return number

    def text(self, size: int) -> str:
        """UTF-8, which excludes lone surrogates and overlong forms."""
        try:
            return self.take(size).decode("utf-8")
        except UnicodeDecodeError:
            raise ProtocolError(Reason.MALFORMED, f"the text before byte {self.at} is not UTF-8") from None

    def array(self, count: int, depth: int) -> list[Value]:
        """Refused on its promise alone, before any of it is built."""
        if count > self.values_left or depth == 0:
            raise ProtocolError(Reason.TOO_LARGE, f"too many values or levels at byte {self.at}")
        self.values_left -= count
        return [self.value(depth - 1) for _ in range(count)]

    def float64(self) -> float:
        """Finite, and zero without a sign, since two zeros would be two spellings."""
        packed = self.take(8)
        number: float = _FLOAT.unpack(packed)[0]
        if not math.isfinite(number):
            raise ProtocolError(Reason.MALFORMED, f"the number before byte {self.at} is not finite")
        if number == 0 and packed[0]:
            raise ProtocolError(Reason.NOT_CANONICAL, f"the zero before byte {self.at} has a sign")
        return number


def _check(value: Value) -> None:
    """Raise for what `decode` would refuse."""
    kind = type(value)
    if kind in (list, tuple):
        for item in value:
            _check(item)
    elif kind is int:
        if abs(value) > MAX_INTEGER:
            raise ProtocolError(Reason.MALFORMED, f"the integer {value} is outside ±(2^53 - 1)")
    elif kind is float:
        if not math.isfinite(value) or (value == 0 and math.copysign(1, value) < 0):
            raise ProtocolError(Reason.MALFORMED, f"the number {value} is not finite or a negative zero")
    elif kind not in (str, bytes, bool):
        raise ProtocolError(Reason.MALFORMED, f"{kind.__name__} does not exist on the wire")
