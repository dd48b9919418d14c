"""Why something was refused: one list of codes for the wire and for admission."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """A refusal code, as it is counted, stored and shown; `meaning` explains it in one sentence."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Reason:
        """A member that carries its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    # Decoding: the sender does not speak the protocol, or speaks a newer one.
    TOO_LARGE = "too-large", "More bytes, values or nesting than the stated limit."
    MALFORMED = "malformed", "Not one complete value of the wire: cut off, bytes left over, or a type the wire does not use."
    NOT_CANONICAL = "not-canonical", "The value could have been written in another, shorter or ordinary way."
    VERSION = "version", "Another protocol version; counted, never held against the sender."
    KIND = "kind", "A kind of body this version does not know; counted, never held against the sender."
    SCHEMA = "schema", "A field is missing, of the wrong type, out of its range, or contradicts another field."
    SIGNATURE = "signature", "The signature does not belong to these bytes, this key and this swarm."
    CHECKSUM = "checksum", "An invite was mistyped or cut: its checksum does not fit."
    MANIFEST = "manifest", "A manifest cannot be read or contradicts itself."

    # The signer's log.
    OWN_KEY = "own-key", "Signed with this node's own key: an echo, or the same identity runs twice."
    DUPLICATE = "duplicate", "This very envelope was seen before."
    EQUIVOCATION = "equivocation", "Its signer signed another envelope with the same sequence number: a proof of cheating."
    FALSE_PROOF = "false-proof", "What is given as a proof of equivocation proves nothing."
    CHAIN = "chain", "The signer's envelope before or after it is not the one that the chain of hashes names."
    STALE = "stale", "Older than this node accepts, by its time or epoch."
    FUTURE = "future", "Its time lies further ahead of this node's clock than is tolerated."

    # The swarm's rules, as the manifest states them.
    PROPOSER = "proposer", "A recipe's proposer is not the signer of the envelope."
    UNKNOWN_ENVIRONMENT = "unknown-environment", "The manifest does not name the environment."
    ENVIRONMENT_VERSION = "environment-version", "The manifest names another version of the environment."
    PARAMETER = "parameter", "A parameter is missing, unknown or out of the manifest's range."
    RENDERING = "rendering", "The manifest does not allow this rendering."
    EPOCH = "epoch", "The epoch does not fit the envelope's time."
    BEACON = "beacon", "The public random value of the epoch is not known here."
    INDEX = "index", "A task index at or above the manifest's cap for one proposer and epoch."
    INDEX_GAP = "index-gap", "The indices do not continue where the signer's previous share of this epoch ended."
    GROUP_COUNT = "group-count", "More groups in one share than the manifest allows."
    GROUP_SIZE = "group-size", "Fewer or more completions in a group than the manifest allows."
    COMPLETION_LENGTH = "completion-length", "A completion is longer, in characters or tokens, than the manifest allows."

    # Rebuilding and scoring.
    VERIFIER_TIMEOUT = "verifier-timeout", "Rebuilding the task or scoring took longer than the time limit."
    VERIFIER_FAILED = "verifier-failed", "Rebuilding the task or scoring ended with an error."
    REWARD = "reward", "The claimed rewards are not those of the environment's verifier."

    # What this node can and wants to take.
    STANDING = "standing", "The signer has lost its standing with this node."
    QUOTA = "quota", "The signer has used up its share of messages, bytes, verification time or storage."
    QUEUE_FULL = "queue-full", "More arrived than this node could take in."
    BODY_UNAVAILABLE = "body-unavailable", "Nobody who was asked had the announced body."
    BODY_MISMATCH = "body-mismatch", "The pulled body has another size or hash than announced."


class ProtocolError(ValueError):
    """Bytes or values that break the protocol.

    `reason` is the code to count; the message says what is wrong.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


class ManifestError(ProtocolError):
    """A manifest that cannot be used; the message names the key and says what to write instead."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.MANIFEST, message)

    def __reduce__(self) -> tuple[type[ManifestError], tuple[str]]:
        return type(self), (self.message,)
