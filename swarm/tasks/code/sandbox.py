"""Runs strangers' programs where they can only compute; `sealed.py`, the other end, says how.

The output is bytes, which nobody should parse: they are compared with the expected bytes, and cut
off if they are longer.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarm.errors import EnvironmentRefused

# No settings or packages of the user, UTF-8, and the same order of every set on every machine.
INTERPRETER = ("-S", "-s", "-P", "-B", "-X", "utf8", str(Path(__file__).with_name("sealed.py")))
ENVIRONMENT = {"PYTHONHASHSEED": "0"}

# A function that computes, with some memory, and one that evades the limits on imports to make a
# system call.
COMPUTES = "def solve(n): return len({str(i): [i] * 9 for i in range(n)})"
ASKS = "import json\ndef solve(n): return json.codecs.builtins.__import__('os').getcwd()"


class Sandbox:
    """One program at a time, each in its own fork of a small interpreter, started when needed."""

    def __init__(self) -> None:
        self._interpreter: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._holds = False

    def run(self, program: str, function: str, cases: Sequence[Sequence[Any]], most: int) -> bytes:
        """Return the program's results of `function`, a line of JSON per case (its arguments).

        The last newline is left out. At most `most` bytes come back, mostly none from a program
        that fails. Raises `EnvironmentRefused` if the machine failed, not the program.
        """
        if self.missing:
            raise EnvironmentRefused(self.missing)
        return self._run(program, function, cases, most)[0]

    @property
    def missing(self) -> str:
        """Why no program can be run here; "" if two trial programs have once ended as expected."""
        found = "" if self._holds else self._trial()
        if not found:
            self._holds = True
            return ""
        return (
            "programs are run in a sandbox only, which needs Linux on x86_64 or aarch64 with seccomp filters "
            "(CONFIG_SECCOMP_FILTER, and a container that allows prctl); "
            f"on this {sys.platform} {platform.machine()}, {found}; choose a swarm without code tasks, or a machine that has them"
        )

    def _trial(self) -> str:
        """Run two programs; return the fault of the sandbox, or ""."""
        if sys.platform != "linux":
            return "there are none"
        try:
            computed = self._run(COMPUTES, "solve", [[9999]], 100)
            asked = self._run(ASKS, "solve", [[1]], 100)
        except EnvironmentRefused as error:
            return str(error)
        holds = computed == (b"9999", 0) and asked == (b"", signal.SIGSYS)
        return "" if holds else f"a trial gave {computed} and {asked}"

    def close(self) -> None:
        """End the interpreter; the next program starts another."""
        if self._channel is not None and self._interpreter is not None:
            self._channel.close()
            self._interpreter.wait()
        self._channel = self._interpreter = None

    def _run(self, program: str, function: str, cases: Sequence[Sequence[Any]], most: int) -> tuple[bytes, int]:
        """Return the output and the signal that ended the program, or 0."""
        request = json.dumps([program, function, cases]).encode()
        ours, theirs = socket.socketpair()
        output = bytearray()
        try:
            channel = self._open()
            with ours:
                with theirs:
                    socket.send_fds(channel, [b"\0"], [theirs.fileno()])
                ours.sendall(request)
                ours.shutdown(socket.SHUT_WR)
                while len(output) < most and (chunk := ours.recv(most - len(output))):
                    output += chunk
            # A program that writes on finds a closed socket; one that computes on uses up its CPU
            # time.
            (status,) = struct.unpack("<i", channel.recv(4, socket.MSG_WAITALL))
        except (OSError, struct.error) as error:
            self.close()
            raise EnvironmentRefused(f"the sandbox's interpreter ended, or could not be started: {error!r}") from error
        ended_by = os.WTERMSIG(status)
        if ended_by == signal.SIGKILL:
            raise EnvironmentRefused(f"the machine ended a program in the sandbox, for want of memory? {bytes(output)!r}")
        return bytes(output), ended_by

    def _open(self) -> socket.socket:
        if self._channel is None:
            self._channel, theirs = socket.socketpair()
            with theirs:
                # The interpreter ends when this end of the channel closes, or this process ends.
                self._interpreter = subprocess.Popen(  # noqa: S603 - ourselves
                    [sys.executable, *INTERPRETER],
                    env=ENVIRONMENT, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                )  # fmt: skip
        return self._channel
