"""The name of a model in front of others: in policy tags, exported folders and cards."""

from __future__ import annotations

from pathlib import Path


def public_name(model: str) -> str:
    """`policy.model` as others may see it: of a local folder only its last name, since paths name
    people."""
    folder = Path(model).expanduser()
    return folder.resolve().name if folder.is_dir() else model
