"""The server of `swarmd serve`: the newest policy behind OpenAI's addresses, on 127.0.0.1."""

from __future__ import annotations

import logging
import signal
import time
import uuid
from collections.abc import Callable

import trio

from swarm.config.schema import Config
from swarm.errors import NetworkError, PolicyError, SwarmdError
from swarm.home import Home
from swarm.serving.http import HttpError, Request, Response, answer_json, converse
from swarm.serving.openai import Asked, answer, read
from swarm.serving.trained import Trained, open_trained

HOST = "127.0.0.1"
MAX_CONNECTIONS = 64  # the others wait in the kernel
MAX_WAITING = 16  # requests that wait for their turn; more are told to come back

logger = logging.getLogger(__name__)


def run_server(home: Home, config: Config, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; call `ready` with the address. Raises `SwarmdError`."""
    trio.run(_main, home, config, port, ready)


async def _main(home: Home, config: Config, port: int, ready: Callable[[str], None]) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        # First the port: a taken one should not cost the loading of a model. Clients that connect
        # meanwhile wait.
        listeners = await _listen(port)
        port = listeners[0].socket.getsockname()[1]
        async with open_trained(home, config) as trained, trio.open_nursery() as nursery:
            nursery.start_soon(trained.follow)
            nursery.start_soon(_serve, listeners, port, Endpoints(trained))
            logger.info("%s, step %d, is ready", trained.name, trained.step)
            ready(f"http://{HOST}:{port}/v1")
            await anext(aiter(signals))
            nursery.cancel_scope.cancel()


async def _listen(port: int) -> list[trio.SocketListener]:
    try:
        return list(await trio.open_tcp_listeners(port, host=HOST))
    except OSError as error:
        raise NetworkError(f"cannot listen on {HOST}:{port}: {error.strerror or error}; choose another --port") from None


async def _serve(listeners: list[trio.SocketListener], port: int, endpoints: Endpoints) -> None:
    places = trio.CapacityLimiter(MAX_CONNECTIONS)

    async def connected(stream: trio.SocketStream) -> None:
        async with places:
            await converse(stream, port, endpoints.handle)

    await trio.serve_listeners(connected, listeners)


class Endpoints:
    """Answers the requests to each address."""

    def __init__(self, trained: Trained) -> None:
        self._trained = trained

    async def handle(self, request: Request) -> Response:
        """Answer one request. Raises `HttpError`."""
        path = request.target.partition("?")[0].rstrip("/")
        match request.method, path:
            case "GET", "/v1/models":
                return answer_json({"object": "list", "data": [self._model()]})
            case "POST", "/v1/completions":
                return await self._complete(read(request, chat=False))
            case "POST", "/v1/chat/completions":
                return await self._complete(read(request, chat=True))
            case _, "/v1/models" | "/v1/completions" | "/v1/chat/completions":
                raise HttpError(405, f"{path} does not know the method {request.method}")
            case "GET", _ if path == f"/v1/models/{self._trained.name}":
                return answer_json(self._model())
        raise HttpError(404, f"there is no {path or '/'} here; there are /v1/models, /v1/completions and /v1/chat/completions")

    def _model(self) -> dict[str, object]:
        trained = self._trained
        return {
            "id": trained.name,
            "object": "model",
            "created": trained.saved_s,
            "owned_by": "swarmd",
            "step": trained.step,
            "digest": trained.digest,
        }

    async def _complete(self, asked: Asked) -> Response:
        trained = self._trained
        if asked.model not in (None, "", trained.name):
            raise HttpError(404, f"the model here is {trained.name!r}, not {asked.model!r}", "model_not_found")
        if trained.waiting >= MAX_WAITING:
            raise HttpError(429, f"{MAX_WAITING} requests are waiting already; try again in a moment", "queue_full")
        try:
            groups = await trained.answer(asked.wish)
        except PolicyError as error:
            raise HttpError(400, str(error)) from None
        except SwarmdError as error:
            logger.warning("no answer: %s", error)
            raise HttpError(503, f"the policy cannot answer now: {error}", "unavailable") from None
        return answer(
            asked,
            groups,
            identity=uuid.uuid4().hex,
            created_s=int(time.time()),
            model=trained.name,
            weights=f"step-{trained.step}-{trained.digest[:12]}",
        )
