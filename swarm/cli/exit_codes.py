"""The meanings of `swarmd`'s exit codes: those of the error tree, and the few besides."""

from __future__ import annotations

from swarm import errors


def exit_codes() -> dict[int, str]:
    """Return every exit code with its meaning, in order; an error's is the first line of its
    docstring."""
    codes = {
        0: "Success; for `start`, the node was told to stop and has saved its state.",
        1: "Any other failure; a bug when there is a traceback.",
        2: "The command line is wrong: an unknown command or option, or a missing argument.",
        130: "Interrupted with Ctrl-C; `start` saves first and ends with 0, a second signal ends it at once with this code.",
    }
    for error in errors.SwarmdError.__subclasses__():
        meaning = (error.__doc__ or "").splitlines()[0]
        codes[error.exit_code] = f"{codes[error.exit_code]} {meaning}" if error.exit_code in codes else meaning
    return dict(sorted(codes.items()))


def table() -> str:
    """Return the text of docs/exit-codes.md."""
    rows = "".join(f"| {code} | {meaning} |\n" for code, meaning in exit_codes().items())
    return f"## Exit codes\n\n| code | meaning |\n|---|---|\n{rows}"
