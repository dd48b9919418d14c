"""Where fuzzing begins: the test vectors, good and bad."""

from __future__ import annotations

import json
from typing import Any

from protocols.vectors.make import DIRECTORY

MAX_SEED_BYTES = 8192


def vectors(name: str) -> dict[str, Any]:
    """One file of vectors."""
    content: dict[str, Any] = json.loads((DIRECTORY / f"{name}.json").read_text())
    return content


def raw(value: str | list[list[Any]]) -> bytes:
    """Bytes as the vectors write them."""
    return bytes.fromhex(value) if isinstance(value, str) else b"".join(bytes.fromhex(part) * times for part, times in value)


def cases(name: str, field: str = "bytes", **wanted: object) -> list[bytes]:
    """The cases of a file with the `wanted` values, as bytes; too large ones are left out."""
    content = vectors(name)
    found = [each for part in ("valid", "invalid") for each in content[part]]
    found = [each for each in found if all(each.get(key) == value for key, value in wanted.items())]
    data = [raw(each[field]) if field == "bytes" else each[field].encode("utf-8", "surrogatepass") for each in found]
    return [each for each in data if len(each) <= MAX_SEED_BYTES]
