"""Every number of the wire, with its unit. Changing one means a new version of the protocol."""

from __future__ import annotations

from typing import Final

PROTOCOL_VERSION: Final = 1

# Bytes of whole things.
MAX_ENVELOPE_BYTES: Final = 768 * 1024  # bytes; libp2p's pubsub silently loses messages of 1 MiB, and wraps them in some more
MAX_INLINE_BODY_BYTES: Final = 256 * 1024  # bytes; larger bodies are announced, so that any two envelopes fit into a proof
MAX_BODY_BYTES: Final = 8 * 1024 * 1024  # bytes of an announced body, pulled over a stream
MAX_MANIFEST_BYTES: Final = 64 * 1024  # bytes of a manifest's TOML
MAX_INVITE_CHARS: Final = 8 * 1024  # characters

# Values and nesting; an array counts as one value besides what it holds, and as one level.
MAX_ENVELOPE_VALUES: Final = 16
MAX_ENVELOPE_DEPTH: Final = 2
MAX_BODY_VALUES: Final = 65_536
MAX_BODY_DEPTH: Final = 8

# Values that occur anywhere.
MAX_INTEGER: Final = 2**53 - 1  # every language and JSON holds it exactly; also the bound of negative ones
HASH_BYTES: Final = 32  # SHA-256
KEY_BYTES: Final = 32  # Ed25519 public key
SIGNATURE_BYTES: Final = 64  # Ed25519
BEACON_BYTES: Final = 32  # public random value of an epoch
ROUND_SIGNATURE_BYTES: Final = 48  # of a drand round: a compressed point of G1
ROUND_KEY_BYTES: Final = 96  # of a drand chain: a compressed point of G2
MAX_KIND: Final = 127  # kinds of bodies are 1..127

# Share.
MAX_GROUPS: Final = 128  # groups of one share
MAX_COMPLETIONS: Final = 64  # completions of one group
MAX_TEXT_BYTES: Final = 256 * 1024  # UTF-8 bytes of one completion
MAX_REWARD: Final = 1000.0  # absolute value of a claimed reward

# Names: printable ASCII, so bytes and characters are the same.
MAX_ENVIRONMENT_CHARS: Final = 96
MAX_VERSION_CHARS: Final = 32
MAX_RENDERING_CHARS: Final = 32
MAX_MODEL_CHARS: Final = 128
MAX_BEACON_ID_CHARS: Final = 64  # of a drand chain

# Recipe parameters.
MAX_PARAMETERS: Final = 16
MAX_PARAMETER_NAME_CHARS: Final = 64
MAX_PARAMETER_TEXT_BYTES: Final = 256  # UTF-8 bytes of a text value

# Manifest.
MAX_ENVIRONMENTS: Final = 256
MAX_RENDERINGS: Final = 8
MAX_EPOCH_SECONDS: Final = 31_536_000  # one year
MAX_NAME_BYTES: Final = 64  # UTF-8 bytes of the swarm's name
MAX_DESCRIPTION_BYTES: Final = 1024  # UTF-8 bytes

# Log requests.
MAX_SYNC_REQUEST_BYTES: Final = 128  # bytes
MAX_HEADS: Final = 1024  # heads of one answer
MAX_HEADS_BYTES: Final = 128 * 1024  # bytes of an answer of heads
MAX_LOG_ENVELOPES: Final = 256  # envelopes of one answer
MAX_LOG_BYTES: Final = 1024 * 1024  # bytes of an answer of envelopes; the largest envelope fits

# Invite.
MAX_ADDRESSES: Final = 16
MAX_ADDRESS_CHARS: Final = 256
MAX_INVITE_VALUES: Final = 24
MAX_INVITE_DEPTH: Final = 2
CHECKSUM_BYTES: Final = 4
