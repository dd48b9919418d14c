"""A conversation with the policy, line by line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from swarm.config.schema import Config
from swarm.home import Home
from swarm.serving.trained import Wish, open_trained


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
    async with open_trained(home, config, which) as trained:
        while said := hear().strip():  # nothing else happens meanwhile
            turns.append({"role": "user", "content": said})
            # Each turn another seed, so that the same question need not get the same answer.
            wish = Wish((turns,), max_tokens=manner.max_tokens, temperature=manner.temperature, seed=len(turns))
            ((reply,),) = await trained.answer(wish)
            say(reply.text)
            turns.append({"role": "assistant", "content": reply.text})
            if once:
                return
