"""What the doctor says of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is: `FAIL` keeps the node from working, `WARN` does not; `SKIPPED` was not looked at, `found` says why."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and what mends it (one sentence, empty where nothing is to be done)."""

    subject: str
    verdict: Severity
    found: str
    fix: str = ""


def ok(subject: str, found: str) -> Finding:
    """As it should be."""
    return Finding(subject, Severity.OK, found)


def warn(subject: str, found: str, fix: str) -> Finding:
    """Works, and could be better."""
    return Finding(subject, Severity.WARN, found, fix)


def fail(subject: str, found: str, fix: str) -> Finding:
    """Keeps a node from working."""
    return Finding(subject, Severity.FAIL, found, fix)


def skipped(subject: str, why: str) -> Finding:
    """Could not be looked at."""
    return Finding(subject, Severity.SKIPPED, why)
