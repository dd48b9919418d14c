"""The daemon: one node in the foreground of one process, from its home, until told to stop."""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence
from pathlib import Path

import trio

from protocols.manifest import Manifest, topic_of
from swarm import identity
from swarm.clock import WallClock
from swarm.config.manifest_lookup import find_manifest
from swarm.config.schema import Config
from swarm.context import Context
from swarm.errors import ConfigError, SwarmdError
from swarm.events import Event, EventLog, MostlyCut, PartRestarted, RoundFinished, TooLong
from swarm.home import Home, write_atomically
from swarm.identity import Identity
from swarm.learner.guest import said
from swarm.net.network import OpenNetwork, deaf
from swarm.node.control import serve_control
from swarm.node.fetching import ask_for_manifest
from swarm.node.joining import network_opener
from swarm.node.node import Node
from swarm.node.opening import open_node
from swarm.node.punctuality import Punctuality
from swarm.supervisor import find, supervise

logger = logging.getLogger(__name__)

# Seconds between two rounds of asking the bootstrap peers for a manifest.
ASK_AGAIN_S = 5.0


def run_daemon(home: Home, config: Config) -> None:
    """Run the node of `home` until it has finished and saved.

    Raises the `SwarmdError` that ended it, and `KeyboardInterrupt` if a second signal kept it from
    saving.
    """
    if not config.defences.verify:
        raise ConfigError(
            "defences.verify is false, which believes whatever rewards strangers claim; only a simulation may do that "
            "(swarmd sim --set defences.verify=false), so set it to true"
        )
    home.check_writable()
    with home.lock():
        who = identity.load(home.identity_key)
        try:
            saved = trio.run(_main, home, config, who)
        except BaseExceptionGroup as group:
            # trio's nurseries raise groups; the operator gets the one sentence inside.
            error = find(group, (SwarmdError,))
            if error is None:
                raise
            raise error from group
    if not saved:
        raise KeyboardInterrupt


async def _main(home: Home, config: Config, who: Identity) -> bool:
    """Run the node. Returns whether a checkpoint holds everything learned."""
    clock, saved = WallClock(), True

    async with trio.open_nursery() as nursery:
        node_here: list[Node] = []
        nursery.start_soon(_watch_signals, nursery.cancel_scope, node_here)
        open_network = network_opener(home, who, config, clock)
        manifest = find_manifest(config.swarm.manifest, home)
        if manifest is None:
            manifest = await _fetch_manifest(home, config, open_network)
        context = Context(home, who, config, manifest, clock, (EventLog(home.events), _log_event))
        if _at_hub(config.policy.model):
            logger.info("opening %s; files missing on this machine are fetched now, which may take minutes", config.policy.model)
        async with open_node(context, open_network) as node:
            node_here.append(node)
            saved = False
            logger.info("node %s listens on %s", who.peer_id, ", ".join(node.exchange.uplink.addresses()))
            if (pause := node.learner.guest.restore(home.pause)) is not None:
                logger.warning("paused %s; go on with: swarmd --home %s resume", said(pause), home.path)
            punctuality = Punctuality()
            nursery.start_soon(punctuality.watch)
            nursery.start_soon(serve_control, node, punctuality)
            if config.guest.battery or config.guest.gpu:
                nursery.start_soon(lambda: supervise("guest", node.learner.guest.watch, node.part_failed))
            await node.learn()
            saved = True
        nursery.cancel_scope.cancel()
    return saved


async def _watch_signals(scope: trio.CancelScope, nodes: Sequence[Node]) -> None:
    """End the node after its round, with a checkpoint, at the first SIGINT or SIGTERM; at once at
    the second."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if not nodes or nodes[0].learner.stopping:
                logger.info("ending at once")
                scope.cancel()
                return
            logger.info("finishing the round and saving; once more ends at once")
            nodes[0].learner.stop()


async def _fetch_manifest(home: Home, config: Config, open_network: OpenNetwork) -> Manifest:
    """Ask the bootstrap peers for the manifest with the swarm's id, and keep it in the home."""
    if not config.swarm.bootstrap:
        raise ConfigError(
            "the swarm's manifest is not here and swarm.bootstrap names no peer to ask for it; join with an invite: swarmd join"
        )
    async with open_network(deaf(topic_of(config.swarm.manifest))) as network:
        while True:
            async for address, found in ask_for_manifest(network, config.swarm.manifest, config.swarm.bootstrap):
                if isinstance(found, str):
                    write_atomically(home.manifest, found.encode())
                    return Manifest.from_toml(found)
                logger.warning("no manifest from %s yet: %s", address, found)
            await trio.sleep(ASK_AGAIN_S)


def _at_hub(model: str) -> bool:
    return model not in ("embedded", "smollm2") and not Path(model).expanduser().is_dir()


def _log_event(event: Event) -> None:
    if isinstance(event, RoundFinished):
        logger.info(
            "round %d: reward %.3f, trained %d own and %d foreign groups, %d peers",
            event.round,
            event.reward_mean,
            event.trained_own,
            event.trained_foreign,
            event.peers,
        )
    elif isinstance(event, TooLong):
        logger.warning(
            "tasks of %s are passed over, whose prompts or answers are too long for the model; leave %s out of "
            "tasks.environments, or take a model of more positions",
            event.environment,
            event.environment,
        )
    elif isinstance(event, MostlyCut):
        logger.warning(
            "%.0f %% of the answers of round %d were cut at %d tokens; raise generation.max_completion_length where the swarm "
            "allows it, keep the model from reasoning by policy.template_arguments, or take one that answers shorter",
            100 * event.share,
            event.round,
            event.cap,
        )
    elif isinstance(event, PartRestarted):
        logger.warning("%s begins again after: %s", event.part, event.error)
