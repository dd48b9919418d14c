"""A drand chain for tests, and a loopback web server that serves its rounds well or badly."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from protocols.drand import randomness_of
from protocols.manifest import Manifest
from protocols.vectors.beacon_cases import TEST_CHAIN, sign_round


def with_drand(rules: Manifest, epoch_seconds: int = 60) -> Manifest:
    """The same rules on the test chain."""
    return replace(rules, name="beacon", beacon="drand", drand=TEST_CHAIN, epoch_seconds=epoch_seconds)


def as_json(round: int) -> bytes:
    """A round as drand's web servers answer."""
    signature = sign_round(round)
    return json.dumps({"round": round, "randomness": randomness_of(signature).hex(), "signature": signature.hex()}).encode()


@dataclass
class Web:
    """A server: `answer` makes a round's bytes, None is 404; `asked` are the paths of all
    requests."""

    url: str
    answer: Callable[[int], bytes | None] = as_json
    asked: list[str] = field(default_factory=list)
    drip_s: float = 0.0
    """Seconds before each byte."""


@contextmanager
def web(answer: Callable[[int], bytes | None] = as_json, drip_s: float = 0.0) -> Iterator[Web]:
    """The server, until the end of the context."""
    stopped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            data = served.answer(int(self.path.rsplit("/", 1)[1]))
            self.send_response(200 if data is not None else 404)
            self.end_headers()
            try:
                for byte in data or b"" if served.drip_s else ():
                    self.wfile.write(bytes([byte]))
                    if stopped.wait(served.drip_s):
                        return
                if not served.drip_s:
                    self.wfile.write(data or b"")
            except OSError:
                pass

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served = Web(f"http://127.0.0.1:{server.server_address[1]}", answer, drip_s=drip_s)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()
