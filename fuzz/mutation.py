"""Mutations that a byte-wise fuzzer seldom finds: values are decoded, changed and encoded again."""

from __future__ import annotations

from random import Random
from typing import Any

from protocols.codec import decode, encode
from protocols.limits import MAX_INTEGER
from protocols.reasons import ProtocolError

# Heads, lengths and numbers at which readers change their mind.
BYTES = bytes(
    [0, 1, 0x0F, 0x10, 0x1F, 0x20, 0x7F, 0x80, 0x90, 0xA0, 0xC0, 0xC2, 0xC4, 0xC6, 0xCB, 0xCC, 0xCF, 0xD3, 0xDB, 0xDD, 0xFF]
)
INTEGERS = (0, 1, 31, 32, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, MAX_INTEGER, -1, -32, -33, -MAX_INTEGER)
FLOATS = (0.0, 1.0, -1.0, 0.5, 1000.0, -1000.0, 1e-300, 1e300, 1e-6, 1.0000001)
TEXTS = ("", "a", "\0", "é", "\U0001f600", "nan", "1e9999", "reasoning_gym/ab", "compact", "9" * 40, "/p2p/")
MAX_NESTED = 2**16  # bytes of a binary in which another value is looked for


def mutated(data: bytes, random: Random) -> bytes:
    """The bytes changed in one to three places, as a value where they are one."""
    if random.random() < 0.6:
        try:
            return encode(_changed(decode(data, len(data)), random))
        except ProtocolError:
            pass
    changed = bytearray(data)
    for _ in range(random.randint(1, 3)):
        _change_bytes(changed, random)
    return bytes(changed)


def _change_bytes(data: bytearray, random: Random) -> None:
    place = random.randrange(len(data) + 1)
    match random.randrange(6):
        case 0:
            data[place : place + 1] = bytes([random.choice(BYTES)])
        case 1:
            data[place : place + 1] = bytes([random.randrange(256)])
        case 2:
            del data[place : place + random.choice((1, 2, 4, 16))]
        case 3:
            data[place:place] = random.randbytes(random.choice((1, 2, 4, 8)))
        case 4:
            data[place:place] = data[place : place + random.choice((1, 4, 32, 256))]
        case _:
            if data:
                data[place % len(data)] ^= 1 << random.randrange(8)


def _changed(value: Any, random: Random) -> Any:
    """The value with one of its parts changed, dropped, repeated or exchanged."""
    if isinstance(value, list) and value and random.random() < 0.9:
        items, place = list(value), random.randrange(len(value))
        match random.randrange(12):
            case 0:
                del items[place]
            case 1:
                items.insert(place, items[place])
            case 2:
                other = random.randrange(len(items))
                items[place], items[other] = items[other], items[place]
            case _:
                items[place] = _changed(items[place], random)
        return items
    return _another(value, random)


def _another(value: Any, random: Random) -> Any:
    if random.random() < 0.1:
        return random.choice((True, random.choice(INTEGERS), random.choice(FLOATS), random.choice(TEXTS), bytes(32), []))
    match value:
        case bool():
            return not value
        case int():
            return random.choice((value + 1, value - 1, random.choice(INTEGERS)))
        case float():
            return random.choice((value + 1.0, value * 0.5, random.choice(FLOATS)))
        case str():
            place = random.randrange(len(value) + 1)
            return random.choice(
                (value[:place], value[place:] + value[:place], value[:place] + random.choice(TEXTS) + value[place:])
            )
        case bytes() if len(value) > 1 and len(value) <= MAX_NESTED:
            return mutated(value, random)
        case _:
            return random.choice((bytes(32), b"", value))
