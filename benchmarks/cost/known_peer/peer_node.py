"""One node of the known peer (gensyn-genrl 0.3.0), through its public classes.

It runs in that package's own environment.

It is put together as the package's reasoning-gym example does it: hivemind's DHT, GRPO trainer,
reasoning-gym data, exact rewards, one stage per round. What this file changes, and why:

- The DHT listens on 127.0.0.1 only (the package writes 0.0.0.0 into the call), without NAT mapping
  and relays.
- hivemind 1.1.12 no longer offers `get_dht_time` where the package imports it from; it is put back.
- The example's `transplant_trees` indexes a dataclass like a dict; the error is swallowed and the
  node trains alone. Here it draws foreign groups uniformly, so that the peer really trains on what
  it received.
- Top-k is off: left unset, transformers would cut the distribution at 50 tokens.

Prints one JSON line with the time at which each round ended and how it was spent, then waits for
its standard input to close, because a node that leaves early would make the other one wait.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import hivemind
import hivemind.utils

hivemind.get_dht_time = hivemind.utils.get_dht_time

from genrl.communication.hivemind import hivemind_backend  # noqa: E402 - needs the line above
from genrl.examples.rgym.data import ReasoningGymDataManager  # noqa: E402
from genrl.examples.rgym.rewards import RGRewards  # noqa: E402
from genrl.game import BaseGameManager  # noqa: E402
from genrl.rewards import DefaultRewardManager, RewardFnStore, RoundRewardFnStore  # noqa: E402
from genrl.state import GameState  # noqa: E402
from genrl.trainer.grpo_trainer import GRPOLanguageTrainerModule, GRPOTrainerConfig  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

LISTEN = ["/ip4/127.0.0.1/tcp/0"]


class LoopbackDHT(hivemind.DHT):
    """The DHT, listening on loopback whatever the caller asks for."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "host_maddrs": LISTEN})


class Questions(ReasoningGymDataManager):
    """The example's data, with foreign groups drawn uniformly."""

    drawn = 0

    def transplant_trees(self, current_state: GameState, swarm_states: dict, num_transplants: int) -> dict:
        foreign = [
            ((agent, question), payloads[0])
            for agent, questions in swarm_states.items()
            if agent not in current_state.trees
            for question, payloads in questions.items()
        ]
        chosen = random.sample(foreign, min(num_transplants, len(foreign)))
        self.drawn += len(chosen)
        return dict(chosen)


class Clocked:
    """Adds up the seconds spent in methods of the parts, by label."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def watch(self, part: Any, method: str, label: str) -> None:
        """Replace the bound method by one that is timed."""
        inner = getattr(part, method)

        def timed(*args: Any, **options: Any) -> Any:
            began = time.monotonic()
            try:
                return inner(*args, **options)
            finally:
                self.seconds[label] += time.monotonic() - began

        setattr(part, method, timed)


class Game(BaseGameManager):
    """The package's game; notes the clock after every round."""

    def __init__(self, clocked: Clocked, **parts: Any) -> None:
        super().__init__(**parts)
        self.clocked = clocked
        self.marks: list[tuple[float, dict[str, float]]] = []

    def _hook_after_round_advanced(self) -> None:
        self.marks.append((time.monotonic(), dict(self.clocked.seconds)))


def join(folder: Path, node: int, timeout_s: int) -> hivemind_backend.HivemindBackend:
    """Node 0 starts the DHT and leaves its address in a file; the others read it."""
    hivemind_backend.DHT = LoopbackDHT
    hivemind_backend.HivemindRendezvouz.init(is_master=node == 0)
    addresses = folder / "peer-0.addresses"
    initial_peers = None
    if node > 0:
        deadline = time.monotonic() + timeout_s
        while not addresses.exists():
            if time.monotonic() > deadline:
                sys.exit(f"Node 0 of the known peer did not come up within {timeout_s} s; its log is {folder / 'peer-0.log'}.")
            time.sleep(0.1)
        initial_peers = json.loads(addresses.read_text())
    backend = hivemind_backend.HivemindBackend(
        initial_peers=initial_peers, timeout=timeout_s, beam_size=50, auto_nat=False, nat_port_map=False, use_relay=False
    )
    if node == 0:
        partial = addresses.with_suffix(".partial")
        partial.write_text(json.dumps([str(address) for address in backend.dht.get_visible_maddrs()]))
        partial.rename(addresses)
    return backend


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--node", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, required=True, help="what known_peer.py passes, as JSON")
    arguments = parser.parse_args()
    settings = arguments.settings
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    random.seed(arguments.node)

    questions = arguments.folder / f"questions-{arguments.node}.yaml"
    dataset = {"name": settings["dataset"], "weight": 1, "config": settings["dataset_config"]}
    questions.write_text(json.dumps({"size": 1000, "seed": arguments.node, "datasets": [dataset]}))  # JSON is YAML
    data = Questions(
        str(questions),
        num_train_samples=settings["questions"],
        num_evaluation_samples=0,
        seed=1000 * (arguments.node + 1),
        system_prompt_id=settings["system_prompt"],
        num_transplant_trees=settings["foreign"],
    )
    trainer = GRPOLanguageTrainerModule(
        [AutoModelForCausalLM.from_pretrained(settings["model"])],
        GRPOTrainerConfig(
            max_new_tokens=settings["tokens"],
            num_generations=settings["completions"],
            temperature=1.0,
            top_k=0,
            learning_rate=settings["learning_rate"],
            minibatch_size=settings["minibatch"],
            enable_gradient_checkpointing=settings["gradient_checkpointing"],
        ),
        log_dir=str(arguments.folder),
    )
    backend = join(arguments.folder, arguments.node, settings["timeout_s"])
    clocked = Clocked()
    rewards = DefaultRewardManager(RewardFnStore(settings["rounds"], [RoundRewardFnStore(1, [RGRewards()])]))
    for part, method, label in (
        (data, "get_round_data", "questions"),
        (trainer, "generate", "generate"),
        (backend, "all_gather_object", "exchange"),
        (rewards, "update_rewards", "score"),
        (trainer, "train", "train"),
    ):
        clocked.watch(part, method, label)
    game = Game(
        clocked,
        max_stage=1,
        max_round=settings["rounds"],
        game_state=GameState(round=0, stage=0),
        reward_manager=rewards,
        trainer=trainer,
        data_manager=data,
        communication=backend,
        run_mode="train",
    )
    game.run_game()
    steps = {int(state["step"]) for state in trainer.optimizer.state.values()}
    report = {"marks": game.marks, "foreign_groups": data.drawn, "optimizer_steps": max(steps, default=0)}
    print(json.dumps(report), flush=True)
    sys.stdin.read()
    backend.dht.shutdown()


if __name__ == "__main__":
    main()
