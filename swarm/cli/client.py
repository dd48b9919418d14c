"""The operator's side of the control socket: one line of JSON there, one line back, over TCP on
127.0.0.1.

The running daemon writes port and token into `control.json`, readable by its user only; the token
keeps other users of the machine out. A killed daemon may leave the file behind: then nothing
answers at its port.
"""

from __future__ import annotations

import json
import socket
from typing import Any

from swarm.errors import NotRunningError, SwarmdError
from swarm.home import Home

_MAX_ANSWER_BYTES = 64 * 2**20


def ask(home: Home, verb: str, *, timeout_s: float = 30.0, **arguments: Any) -> Any:
    """Return the daemon's answer to `verb`.

    Raises `NotRunningError` when no daemon answers, and the daemon's own refusal with its message
    and exit code.
    """
    port, token = _endpoint(home)
    request = json.dumps({"token": token, "verb": verb, **arguments}) + "\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
            connection.sendall(request.encode())
            with connection.makefile("rb") as stream:
                line = stream.readline(_MAX_ANSWER_BYTES)
    except TimeoutError:
        raise NotRunningError(
            f"the daemon of {home.path} did not answer within {timeout_s:g} s; is it stopped or swapping?"
        ) from None
    except OSError:
        raise _not_running(home) from None
    try:
        answer = json.loads(line)
        ok, result = answer["ok"], answer["result"] if answer["ok"] else answer["error"]
    except (ValueError, KeyError, TypeError):
        raise _not_running(home) from None
    if not ok:
        refusal = SwarmdError(result)
        refusal.exit_code = answer.get("exit_code", SwarmdError.exit_code)
        raise refusal
    return result


def _endpoint(home: Home) -> tuple[int, str]:
    try:
        control = json.loads(home.control.read_bytes())
        return int(control["port"]), str(control["token"])
    except (OSError, ValueError, KeyError, TypeError):
        raise _not_running(home) from None


def _not_running(home: Home) -> NotRunningError:
    if (holder := home.holder()) is not None:
        return NotRunningError(f"the daemon of {home.path} (process {holder}) does not answer; if it is starting, ask again soon")
    return NotRunningError(f"no daemon is running for {home.path}; start it with: swarmd --home {home.path} start")
