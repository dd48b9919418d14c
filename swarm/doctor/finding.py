"""A finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """The gravity of a finding: `FAIL` keeps the node from working, `WARN` does not.

    `SKIPPED` was not examined; `found` says why.
    """

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One examined subject, its verdict, the observation, and the remedy ("" if nothing to do)."""

    subject: str
    verdict: Severity
    found: str
    fix: str = ""


def ok(subject: str, found: str) -> Finding:
    """Return the finding of a subject that is as it should be."""
    return Finding(subject, Severity.OK, found)


def warn(subject: str, found: str, fix: str) -> Finding:
    """Return the finding of a subject that works and could be better."""
    return Finding(subject, Severity.WARN, found, fix)


def fail(subject: str, found: str, fix: str) -> Finding:
    """Return the finding of a subject that keeps a node from working."""
    return Finding(subject, Severity.FAIL, found, fix)


def skipped(subject: str, why: str) -> Finding:
    """Return the finding of a subject that could not be examined."""
    return Finding(subject, Severity.SKIPPED, why)
