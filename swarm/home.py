"""A node's home: the directory of its files, and the lock of the one daemon that uses it."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import platformdirs

from swarm.errors import HomeError

VARIABLE = "SWARMD_HOME"
_PROBE_BYTES = 65536
_LOCK_TRIES = 5


@dataclass(frozen=True, slots=True)
class Home:
    """The paths inside a home directory, which need not exist."""

    path: Path

    @classmethod
    def find(cls, option: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> Self:
        """Return the home of `--home`, else of SWARMD_HOME, else the user's data directory."""
        chosen = option or environ.get(VARIABLE) or platformdirs.user_data_path("swarmd", appauthor=False)
        return cls(Path(chosen).expanduser().absolute())

    @property
    def node_toml(self) -> Path:
        """The user's settings."""
        return self.path / "node.toml"

    @property
    def identity_key(self) -> Path:
        """The Ed25519 private key that is this node (PEM, mode 600)."""
        return self.path / "identity.key"

    @property
    def manifest(self) -> Path:
        """The manifest of the swarm, as fetched from a peer."""
        return self.path / "manifest.toml"

    @property
    def pool(self) -> Path:
        """The SQLite store of own and foreign groups."""
        return self.path / "pool.sqlite"

    @property
    def checkpoints(self) -> Path:
        """The directory of checkpoints."""
        return self.path / "checkpoints"

    @property
    def handover(self) -> Path:
        """The newest weights on their way to a second device, while the daemon runs."""
        return self.path / "handover.safetensors"

    @property
    def address_book(self) -> Path:
        """Peers met before, for joining without a bootstrap peer (JSON)."""
        return self.path / "address_book.json"

    @property
    def events(self) -> Path:
        """The node's events, one JSON object per line."""
        return self.path / "events.jsonl"

    @property
    def evaluations(self) -> Path:
        """The figures of `swarmd eval`, as JSON."""
        return self.path / "evaluations.json"

    @property
    def control(self) -> Path:
        """Port and token of the running daemon's control socket (mode 600)."""
        return self.path / "control.json"

    @property
    def pause(self) -> Path:
        """Exists during a manual pause; holds its end (ms since 1970), or is empty."""
        return self.path / "pause"

    @property
    def lock_file(self) -> Path:
        """Locked by the running daemon; holds its process id."""
        return self.path / "lock"

    def create(self) -> Self:
        """Make the missing directories (mode 700), and return this home. Raises `HomeError`."""
        with storage(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.checkpoints.mkdir(mode=0o700, exist_ok=True)
        self.check_writable()
        return self

    def open(self) -> Self:
        """Return this home. Raises `HomeError` unless `swarmd init` has made it."""
        if not self.identity_key.exists() and not self.node_toml.exists():
            raise HomeError(f"{self.path} is not the home of a node; make one with: swarmd --home {self.path} init")
        return self

    def check_writable(self) -> None:
        """Write, sync and remove a small file. Raises `HomeError`.

        A read-only or full disk is reported now, and not by the first checkpoint.
        """
        with storage(self.path):
            handle, name = tempfile.mkstemp(prefix=".probe-", dir=self.path)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(bytes(_PROBE_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                Path(name).unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the home for this process; the lock ends with the context or the process.

        Raises `HomeError`, which names the process that holds the lock already.
        """
        with storage(self.path):
            descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _locked(descriptor):
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise HomeError(
                    f"{self.path} is in use by a running swarmd (process {holder}); "
                    f"stop it with: swarmd --home {self.path} stop, or choose another --home"
                )
            with storage(self.path):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def holder(self) -> int | None:
        """Return the id of the process that holds the lock, or None. The answer is never stale."""
        try:
            descriptor = os.open(self.lock_file, os.O_RDONLY)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, self.path) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.pread(descriptor, 32, 0) or b"0") or None
        finally:
            os.close(descriptor)
        return None


def _locked(descriptor: int) -> bool:
    """Take the lock; return whether that worked. Tries again, since `holder` takes it briefly."""
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the file at `path`. A crash leaves the old file or the new one, never a part."""
    with storage(path.parent):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
        sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Flush the names in `directory` to the disk, so that they survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def storage(directory: Path) -> Iterator[None]:
    """Turn an `OSError` raised inside into a `HomeError` that says what to do."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, directory) from error


def storage_error(error: OSError, directory: Path) -> HomeError:
    """Return the `HomeError` for `error`, met while using `directory`."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return HomeError(f"the disk of {directory} is full; free some space, or choose another --home")
        case errno.EROFS:
            return HomeError(f"{directory} is on a read-only file system; make it writable, or choose another --home")
        case errno.EACCES | errno.EPERM:
            return HomeError(f"{directory} cannot be written by this user; change its owner or mode, or choose another --home")
        case errno.ENOTDIR | errno.EEXIST:
            return HomeError(f"{directory} is not a directory; choose another --home")
        case _:
            return HomeError(f"{directory} cannot be used: {error.strerror or error}; choose another --home")
