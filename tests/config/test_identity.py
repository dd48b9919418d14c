import base64
import contextlib
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.peer_id import public_key
from swarm import identity
from swarm.errors import HomeError, IdentityError


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "identity.key"


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)


def test_a_created_key_is_loaded_again(key_file: Path) -> None:
    made = identity.create(key_file)
    loaded = identity.load(key_file)
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert (loaded.seed, loaded.public_key, loaded.peer_id) == (made.seed, made.public_key, made.peer_id)
    assert len(loaded.seed) == len(loaded.public_key) == 32
    assert public_key(loaded.peer_id) == loaded.public_key
    loaded.private_key.public_key().verify(made.sign(b"data"), b"data")
    assert list(key_file.parent.iterdir()) == [key_file]


def test_rfc_8032_vector() -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    node = identity.Identity(ed25519.Ed25519PrivateKey.from_private_bytes(seed))
    assert node.seed == seed
    assert node.public_key.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def test_an_existing_key_is_never_replaced(key_file: Path) -> None:
    peer_id = identity.create(key_file).peer_id
    with pytest.raises(IdentityError, match="not replaced"):
        identity.create(key_file)
    assert identity.load(key_file).peer_id == peer_id
    assert list(key_file.parent.iterdir()) == [key_file]


def test_a_missing_directory_is_a_home_error(tmp_path: Path) -> None:
    with pytest.raises(HomeError):
        identity.create(tmp_path / "nowhere" / "identity.key")


def test_a_missing_or_unreadable_key(key_file: Path) -> None:
    with pytest.raises(IdentityError, match="missing"):
        identity.load(key_file)
    key_file.mkdir()
    with pytest.raises(IdentityError, match="cannot be read"):
        identity.load(key_file)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_a_key_that_others_can_use_is_refused_with_the_cure(key_file: Path, mode: int) -> None:
    identity.create(key_file)
    key_file.chmod(mode)
    with pytest.raises(IdentityError, match=f"chmod 600 {key_file}"):
        identity.load(key_file)


def test_a_key_of_another_kind(key_file: Path) -> None:
    write(key_file, pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(IdentityError, match="another kind"):
        identity.load(key_file)
    write(key_file, pem(ed25519.Ed25519PrivateKey.generate(), b"secret"))
    with pytest.raises(IdentityError, match="encrypted"):
        identity.load(key_file)


def test_a_changed_bit_that_makes_it_a_key_of_a_kind_with_longer_keys(key_file: Path) -> None:
    """The name of Ed25519 becomes that of Ed448; OpenSSL fails over the key's length in a way that
    cryptography does not know."""
    lines = pem(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))).splitlines()
    changed = base64.b64decode(lines[1]).replace(b"\x2b\x65\x70", b"\x2b\x65\x71")
    assert changed != base64.b64decode(lines[1])
    write(key_file, b"\n".join([lines[0], base64.b64encode(changed), lines[2], b""]))
    with pytest.raises(IdentityError, match="damaged"):
        identity.load(key_file)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(position=st.integers(0, 118), byte=st.binary(min_size=1, max_size=1), cut=st.booleans())
def test_a_damaged_key_is_refused_or_still_a_key(key_file: Path, position: int, byte: bytes, cut: bool) -> None:
    data = pem(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)))
    write(key_file, data[:position] if cut else data[:position] + byte + data[position + 1 :])
    with contextlib.suppress(IdentityError):
        assert len(identity.load(key_file).seed) == 32


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=5000))
def test_any_bytes_are_refused(key_file: Path, data: bytes) -> None:
    write(key_file, data)
    with pytest.raises(IdentityError):
        identity.load(key_file)
