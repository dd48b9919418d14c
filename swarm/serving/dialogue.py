"""A conversation with the policy, line by line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from swarm.config.schema import Config
from swarm.errors import PolicyError
from swarm.home import Home
from swarm.records import Turn
from swarm.serving.trained import Trained, Wish, open_trained


@dataclass(frozen=True, slots=True)
class Manner:
    """How answers are made: behind the turn `system`, if there is one, of at most `max_tokens`
    tokens.

    Temperature 0 takes the likeliest tokens.
    """

    system: str | None
    max_tokens: int
    temperature: float


def run_chat(home: Home, config: Config, which: str, manner: Manner, hear: Callable[[], str], say: Callable[[str], None]) -> None:
    """Answer each line from `hear` through `say`, until a line is empty. Raises `SwarmdError`."""
    trio.run(_converse, home, config, which, manner, hear, say)


async def _converse(
    home: Home, config: Config, which: str, manner: Manner, hear: Callable[[], str], say: Callable[[str], None]
) -> None:
    turns = [Turn("system", manner.system)] if manner.system else []
    async with open_trained(home, config, which) as trained:
        number = 0
        while said := hear().strip():  # nothing else happens meanwhile
            number += 1
            turns.append(Turn("user", said))
            reply = await _reply(trained, turns, manner, seed=number)
            say(reply)
            turns.append(Turn("assistant", reply))


async def _reply(trained: Trained, turns: list[Turn], manner: Manner, seed: int) -> str:
    """The answer to the last of `turns`, from which the oldest go where the model has no room.

    Each turn has a `seed` of its own, so that the same question need not get the same answer.
    """
    kept = 1 if manner.system else 0
    while True:
        wish = Wish((tuple(turns),), max_tokens=manner.max_tokens, temperature=manner.temperature, seed=seed)
        try:
            ((reply,),) = await trained.answer(wish)
            return reply.text
        except PolicyError:
            if len(turns) - kept < 3:
                raise
            del turns[kept : kept + 2]
