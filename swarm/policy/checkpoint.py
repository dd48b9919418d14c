"""Checkpoints that are whole or not there: what a kill or a full disk at any moment must leave
behind.

    <root>/step-00000123/
        model/                  a plain Hugging Face folder, or the adapter as peft writes it
        optimizer.safetensors   AdamW's moments, rests of narrower weights, random states
        node.json               the node's own state, opaque here
        meta.json               written last: a description, the SHA-256 of every file and of itself

A checkpoint is written into a hidden sibling, flushed to the disk file by file, and renamed. A
name is never given twice: a second checkpoint of the same step is `step-00000123.1`, and then the
first one is removed. `newest` believes no name: it checks every sum and falls back to the
checkpoint before. This file never imports torch, so that the node itself can use it.

A program beside the daemon reads a checkpoint while it holds it (`hold`): a shared lock on its
folder, which ends with the program however that ends. Who prunes leaves a held one for later.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from swarm.errors import HomeError

FORMAT = 1
MODEL, OPTIMIZER, NODE, META = "model", "optimizer.safetensors", "node.json", "meta.json"
_TEMPORARY = ".writing-"
_NAME = re.compile(r"step-(\d{8,})(?:\.(\d+))?")
# Writes model and optimizer into a folder. May return the sums of files that it has summed while it
# wrote them, by their names in that folder.
Fill = Callable[[Path], Mapping[str, str] | None]


def write(root: Path, step: int, meta: Mapping[str, Any], node_state: Mapping[str, Any], fill: Fill) -> Path:
    """Make the checkpoint of `step` out of what `fill` writes.

    Raises `HomeError` when the disk refuses; earlier checkpoints and the folder are then as before.
    """
    of_step = [path for path in every(root) if step_of(path) == step]
    final = root / (f"step-{step:08d}" + (f".{_writing(of_step[0]) + 1}" if of_step else ""))
    temporary = root / f"{_TEMPORARY}{final.name}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        temporary.mkdir()
        known = fill(temporary) or {}
        (temporary / NODE).write_text(json.dumps(node_state, indent=1, sort_keys=True, allow_nan=False), encoding="utf-8")
        names = {path.relative_to(temporary).as_posix(): path for path in _files(temporary)}
        sums = {name: known.get(name) or _sum(path) for name, path in names.items()}
        whole = {"format": FORMAT, "step": step, **meta, "files": sums}
        (temporary / META).write_bytes(_described({**whole, "sum": _content_sum(whole)}))
        for path in [*_files(temporary), *_folders(temporary), temporary]:
            _flush(path)
        temporary.rename(final)
        _flush(root)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise HomeError(
            f"cannot write the checkpoint {final}: {error.strerror or error}; free space or make the folder writable "
            "(earlier checkpoints are intact)"
        ) from None
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for path in of_step:
        with suppress(OSError):  # the next prune tries again
            _remove(path)
    return final


def newest(root: Path) -> Path | None:
    """Return the newest checkpoint that is complete and undamaged, or None.

    Reads every byte of it: call it from a thread.
    """
    return next((path for path in every(root) if damage(path) is None), None)


def damage(path: Path) -> str | None:
    """Say what is wrong with a checkpoint, or None."""
    try:
        for name, expected in meta(path)["files"].items():
            if _sum(path / name) != expected:
                return f"{path / name} is damaged"
    except HomeError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror or error}"
    return None


def meta(path: Path) -> dict[str, Any]:
    """Read the description of a checkpoint: format, step, base model, file sums.

    Raises `HomeError` if it cannot be read.
    """
    content = _json(path / META)
    if content.get("format") != FORMAT:
        raise HomeError(f"{path} has the checkpoint format {content.get('format')!r}, this version reads {FORMAT}; move it away")
    # To the byte: JSON reads the same with a space more, and a space may once have been something
    # else.
    if (path / META).read_bytes() != _described(content) or content.pop("sum", None) != _content_sum(content):
        raise HomeError(f"{path / META} is damaged")
    return content


def has_adapter(path: Path) -> bool:
    """Whether a checkpoint holds an adapter, which needs its base model.

    Raises `HomeError` like `meta`.
    """
    adapter = meta(path).get("adapter")
    return isinstance(adapter, dict) and adapter.get("kind") != "none"


def node_state(path: Path) -> dict[str, Any]:
    """Read the node's own state, as given when the checkpoint was written.

    Raises `HomeError` if it cannot be read.
    """
    return _json(path / NODE)


def prune(root: Path, keep: int, sound: Set[Path] = frozenset()) -> None:
    """Remove checkpoints older than the newest `keep` whole ones, and what killed writers left.

    Those in `sound` are known to be whole. Reads every byte of the others that it keeps: call it
    from a thread. Raises `HomeError` if it cannot remove them.
    """
    try:
        _sweep(root)
    except OSError as error:
        raise HomeError(f"cannot clear {root} of unfinished checkpoints: {error.strerror or error}; make it writable") from None
    remove_older(root, keep, sound)


def remove_older(root: Path, keep: int, sound: Set[Path] = frozenset()) -> None:
    """Remove older checkpoints like `prune`, but leave unfinished ones alone: a daemon may be
    writing.

    Raises `HomeError`.
    """
    try:
        kept = 0
        for path in every(root):
            if kept < keep and (path in sound or damage(path) is None):
                kept += 1
            elif kept:  # as long as no whole checkpoint was seen, a damaged one may still be of use
                _remove(path)
    except OSError as error:
        raise HomeError(f"cannot remove old checkpoints in {root}: {error.strerror or error}; make it writable") from None


def discard_newest(root: Path) -> None:
    """Remove the newest whole checkpoint because its policy is no good.

    The only one stays. Raises `HomeError`.
    """
    whole = [path for path in every(root) if damage(path) is None]
    try:
        if len(whole) > 1:
            _remove(whole[0], even_held=True)
    except OSError as error:
        raise HomeError(f"cannot remove {whole[0]}: {error.strerror or error}; make {root} writable") from None


def unlisted(path: Path) -> list[Path]:
    """Return the files in a checkpoint that its description does not name."""
    return [file for file in _files(path) if file.relative_to(path).as_posix() not in {META, *meta(path)["files"]}]


def every(root: Path) -> list[Path]:
    """Return all checkpoint folders, newest first; damaged ones included, unfinished ones not."""
    found = [path for path in root.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()] if root.is_dir() else []
    return sorted(found, key=lambda path: (step_of(path), _writing(path)), reverse=True)


def step_of(path: Path) -> int:
    """Return the step of a checkpoint, by its name."""
    return int(path.name.split("-")[1].split(".")[0])


def _writing(path: Path) -> int:
    """Return how often the step had been written before."""
    return int(path.suffix[1:] or 0)


@contextmanager
def hold(path: Path) -> Iterator[bool]:
    """Keep others from pruning a checkpoint inside the block; yields whether it is still there.

    Only `discard_newest` asks nobody.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        # It may have been removed, and made again, before it was locked.
        yield path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())
    finally:
        os.close(descriptor)


def _remove(path: Path, *, even_held: bool = False) -> None:
    """Remove a folder unless it is held; a kill half-way leaves no half checkpoint of that name."""
    doomed = path.with_name(f"{_TEMPORARY}removing-{path.name}")
    with suppress(FileNotFoundError):  # daemon and operator may remove the same one at once
        descriptor = os.open(path, os.O_RDONLY)
        try:
            with suppress(BlockingIOError) if even_held else nullcontext():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.rename(doomed)
            shutil.rmtree(doomed)
        except BlockingIOError:
            return
        finally:
            os.close(descriptor)


def _sweep(root: Path) -> None:
    """Remove what killed writers left.

    One daemon at a time uses a home, so nobody is writing now.
    """
    for path in root.glob(f"{_TEMPORARY}*"):
        with suppress(FileNotFoundError):  # an operator may be removing old ones
            shutil.rmtree(path)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_dir())


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content_sum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _described(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1).encode()


def _flush(path: Path) -> None:
    """Have the kernel put a file, or a folder's list of names, on the disk."""
    if path.is_dir() and os.name == "nt":  # Windows keeps folders by itself
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise HomeError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise HomeError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict):
        raise HomeError(f"{path} is damaged: not a mapping")
    return content
