"""A conversation with the policy, line by line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from swarm.config.schema import Config
from swarm.errors import PolicyError
from swarm.home import Home
from swarm.serving.trained import Trained, Wish, open_trained


@dataclass(frozen=True, slots=True)
class Manner:
    """How answers are made: after `system`, if there is one, of at most `max_tokens`; temperature 0 takes the likeliest."""

    system: str | None
    max_tokens: int
    temperature: float


def run_chat(
    home: Home, config: Config, which: str, manner: Manner, hear: Callable[[], str], say: Callable[[str], None], *, once: bool
) -> None:
    """Answer what `hear` gives until it is empty, or `once`. Raises `SwarmdError`."""
    trio.run(_converse, home, config, which, manner, hear, say, once)


async def _converse(
    home: Home, config: Config, which: str, manner: Manner, hear: Callable[[], str], say: Callable[[str], None], once: bool
) -> None:
    turns = [{"role": "system", "content": manner.system}] if manner.system else []
    kept = len(turns)  # whatever is forgotten
    async with open_trained(home, config, which) as trained:
        number = 0
        while said := hear().strip():  # nothing else happens meanwhile
            turns.append({"role": "user", "content": said})
            number += 1
            # Each turn another seed, so that the same question need not get the same answer.
            wish = Wish((turns,), max_tokens=manner.max_tokens, temperature=manner.temperature, seed=number)
            reply = await _reply(trained, turns, kept, wish)
            say(reply)
            turns.append({"role": "assistant", "content": reply})
            if once:
                return


async def _reply(trained: Trained, turns: list[dict[str, str]], kept: int, wish: Wish) -> str:
    """The answer to the last of `turns`, which are the wish's; what no longer fits into the model is forgotten, oldest first."""
    while True:
        try:
            ((reply,),) = await trained.answer(wish)
            return reply.text
        except PolicyError:
            if len(turns) - kept < 3:
                raise
            del turns[kept : kept + 2]
