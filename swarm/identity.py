"""A node's identity: an Ed25519 key on disk.

Whoever reads the file can speak as the node. Whoever loses it is a new node.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.peer_id import peer_id
from swarm.errors import IdentityError
from swarm.home import storage, sync_directory

_MAX_KEY_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's key pair."""

    private_key: Ed25519PrivateKey

    @property
    def seed(self) -> bytes:
        """The private key's 32 bytes (RFC 8032)."""
        return self.private_key.private_bytes_raw()

    @property
    def public_key(self) -> bytes:
        """The public key's 32 bytes."""
        return self.private_key.public_key().public_bytes_raw()

    @property
    def peer_id(self) -> str:
        """The libp2p peer id of the public key ("12D3Koo…")."""
        return peer_id(self.public_key)

    def to_pem(self) -> bytes:
        """Return the key as its file holds it (PEM, PKCS #8)."""
        return self.private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature of `data` (64 bytes)."""
        return self.private_key.sign(data)


def create(path: Path) -> Identity:
    """Write a new key into a new file (mode 600), flush it to the disk, and return it.

    Raises `IdentityError` if the file exists.
    """
    identity = Identity(Ed25519PrivateKey.generate())
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    with storage(path.parent):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(identity.to_pem())
                file.flush()
                os.fsync(file.fileno())
            # A link fails if the name is taken, and the name never shows a half-written key.
            os.link(temporary, path)
        except FileExistsError:
            raise IdentityError(f"{path} exists already and is not replaced; move it away to make a new identity") from None
        finally:
            temporary.unlink()
        sync_directory(path.parent)
    return identity


def load(path: Path) -> Identity:
    """Read the identity in `path`. Raises `IdentityError`, which says what to do."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(_MAX_KEY_BYTES + 1)
    except FileNotFoundError:
        raise IdentityError(
            f"the key file {path} is missing; restore it from a backup, or run swarmd init for a new one"
        ) from None
    except OSError as error:
        raise IdentityError(f"the key file {path} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise IdentityError(f"others can read the key file {path} (mode {mode:o}); run: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        raise IdentityError(f"the key file {path} is encrypted; swarmd needs it without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm, InternalError):
        raise IdentityError(f"the key file {path} is damaged or no PEM private key; restore it from a backup") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise IdentityError(f"the key file {path} holds a key of another kind; swarmd needs an Ed25519 key (PEM, PKCS #8)")
    return Identity(key)
