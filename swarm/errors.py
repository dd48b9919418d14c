"""The error tree. Every message says what is wrong and what to do.

`exit_code` is the code that `swarmd` ends with (docs/exit-codes.md).
"""

from __future__ import annotations


class SwarmdError(Exception):
    """The root of the errors that swarmd raises on purpose."""

    exit_code = 1


class ConfigError(SwarmdError):
    """A setting, manifest or invite is wrong, missing or unknown."""

    exit_code = 3


class HomeError(SwarmdError):
    """The home cannot be used: missing, read-only, full, locked by another daemon, or damaged."""

    exit_code = 4


class IdentityError(SwarmdError):
    """The key file is missing, unreadable, of the wrong kind, or readable by others."""

    exit_code = 5


class NetworkError(SwarmdError):
    """The network cannot be used: a port in use, a wrong address, a peer that does not answer."""

    exit_code = 6


class NotRunningError(SwarmdError):
    """No daemon answers for this home."""

    exit_code = 7


class ChildError(SwarmdError):
    """A child process (policy or scoring) died, timed out or reported an exception."""

    exit_code = 8


class ChildDied(ChildError):
    """The child ended while it owed an answer."""


class ChildTimeout(ChildError):
    """The child did not answer within its time limit and was killed."""


class ChildFailed(ChildError):
    """The child answered with an exception of class `remote_type`; the message carries its text."""

    def __init__(self, remote_type: str, message: str) -> None:
        super().__init__(f"{remote_type}: {message}")
        self.remote_type = remote_type


class PolicyError(SwarmdError):
    """A model or checkpoint cannot be loaded, or an update cannot be made."""

    exit_code = 9


class AuditError(SwarmdError):
    """The audit found something in the home that is damaged or contradicts its own records."""

    exit_code = 10


class DoctorError(SwarmdError):
    """`swarmd doctor` found something that keeps a node from working here."""

    exit_code = 11


class EnvironmentRefused(SwarmdError):
    """An environment is unknown or not allowed here; the message says why."""

    exit_code = 3


def unwrapped(error: BaseException) -> BaseException:
    """Return the one exception inside nested groups of one, as trio's nurseries raise them."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
