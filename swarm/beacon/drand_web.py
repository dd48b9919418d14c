"""Asks a drand web server for one round. It only bounds the answer; the caller verifies it."""

from __future__ import annotations

import http.client
import json
import time
import urllib.request

from protocols.limits import ROUND_SIGNATURE_BYTES
from swarm.errors import NetworkError

MAX_ANSWER_BYTES = 4096
ANSWER_WITHIN_S = 5.0


def fetch_round(url: str, chain: bytes, round: int) -> bytes:
    """Return the signature (48 bytes, unverified) of a round from drand's HTTP API, `url`/`chain
    hash`/public/`round`.

    Blocks for about `ANSWER_WITHIN_S` seconds, longer if the server drips, so call it in a thread
    that can be abandoned. Raises `NetworkError` for any failure.
    """
    request = urllib.request.Request(  # noqa: S310 - the setting is checked to be http or https
        f"{url.rstrip('/')}/{chain.hex()}/public/{round}", headers={"User-Agent": "swarmd", "Accept": "application/json"}
    )
    begun = time.monotonic()
    data = bytearray()
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S) as response:  # noqa: S310 - as above
            while chunk := response.read1(MAX_ANSWER_BYTES):
                data += chunk
                if len(data) > MAX_ANSWER_BYTES or time.monotonic() - begun > ANSWER_WITHIN_S:
                    raise NetworkError(f"{url} answered for round {round} too slowly, or with more than {MAX_ANSWER_BYTES} bytes")
        signature = bytes.fromhex(json.loads(data)["signature"])
    except (OSError, http.client.HTTPException) as error:
        raise NetworkError(f"{url} did not answer for round {round}: {error}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NetworkError(f"{url} answered for round {round} with something else than a round") from None
    if len(signature) != ROUND_SIGNATURE_BYTES:
        raise NetworkError(f"{url} answered for round {round} with a signature of {len(signature)} bytes")
    return signature
