"""Admission as a whole: it lets in what the rules allow, with the verifiers' own rewards."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from functools import lru_cache
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fuzz.streams import InlinePool
from fuzz.target import Check, Target
from protocols.codec import encode
from protocols.envelope import ENVELOPE_DOMAIN, NO_PREVIOUS, seal
from protocols.manifest import epoch_of, permits
from protocols.messages import Completion, Kind, PolicyTag, RolloutGroup, Share, pack_body
from protocols.reasons import Reason
from protocols.recipe import Recipe, local_beacon, seed
from swarm.config.manifest_lookup import built_in
from swarm.config.schema import Config
from swarm.context import Context
from swarm.errors import ChildFailed, EnvironmentRefused, NetworkError
from swarm.home import Home
from swarm.identity import Identity
from swarm.pool.admission.admission import Admission
from swarm.pool.admission.checks import agree
from swarm.pool.standing.peer_scores import PeerScores
from swarm.records import Task
from swarm.tasks.environment import VerifierError, find, load_environments
from swarm.tasks.held_out import training_problem

Prepared = tuple[Check, Sequence[bytes]]

EMBEDDED = built_in()["embedded"]
KEY = Ed25519PrivateKey.from_private_bytes(bytes([5]) * 32)
OWN_KEY = Ed25519PrivateKey.from_private_bytes(bytes([6]) * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
NOW_MS = 1_767_225_600_000
EPOCH = epoch_of(EMBEDDED, NOW_MS)
VERIFY_WITHIN_S = 10.0


class StillClock:
    def now_ms(self) -> int:
        return NOW_MS


def _score(recipe: Recipe, seed: int, rendering: str, texts: Sequence[str]) -> dict[str, Any]:
    body = {"environment": recipe.environment, "version": recipe.version, "parameters": recipe.parameters, "seed": seed}
    answer: dict[str, Any] = _worker()["score"](body | {"limit_s": VERIFY_WITHIN_S, "rendering": rendering, "texts": list(texts)})
    return answer


@lru_cache(maxsize=1)
def _worker() -> Any:
    from swarm.tasks.task_worker import main  # takes seconds

    return main(None)


async def rescore(recipe: Recipe, seed: int, rendering: str, texts: Sequence[str]) -> Any:
    try:
        answer = _score(recipe, seed, rendering, texts)
    except EnvironmentRefused as error:
        raise ChildFailed("EnvironmentRefused", str(error)) from None
    return SimpleNamespace(
        task=Task(recipe=recipe, seed=seed, prompts=answer["prompts"], answer=answer["answer"]), rewards=tuple(answer["rewards"])
    )


async def no_body(body_hash: bytes, size: int, forwarder: str, signer: bytes) -> bytes:
    raise NetworkError("nobody has it")


def beacon(epoch: int) -> bytes:
    return local_beacon(EMBEDDED.id, epoch)


def honest_group(index: int, texts: int) -> RolloutGroup:
    """A group as a node would share it: the right answer and wrong ones."""
    rule = EMBEDDED.environments[index % len(EMBEDDED.environments)]
    recipe = Recipe(rule.name, rule.version, (("level", 0),), EPOCH, PUBLIC, index)
    own = _score(recipe, seed(recipe, beacon(EPOCH)), "compact", [])
    answers = [str(own["answer"]).lower()[:30], "1 2", "abc", ""][:texts]
    rewards = _score(recipe, seed(recipe, beacon(EPOCH)), "compact", answers)["rewards"]
    completions = tuple(Completion(text, True, min(len(text) + 1, 18), -1.5) for text in answers)
    return RolloutGroup(recipe, "compact", PolicyTag("embedded", bytes(32), 3), completions, tuple(rewards))


def signed(kind: int, body: bytes) -> bytes:
    """An envelope around any bytes, which `seal` would refuse."""
    fields = [1, kind, PUBLIC, 0, NO_PREVIOUS, NOW_MS, body]
    return encode([*fields, KEY.sign(ENVELOPE_DOMAIN + EMBEDDED.id + encode(fields))])


class Gate:
    """An admission with an empty pool for every message."""

    def __init__(self) -> None:
        self._pool = InlinePool()

    def admit(self, data: bytes) -> tuple[Reason | None, Any]:
        if self._pool.store.statistics().foreign_envelopes:
            self._pool.close()
            self._pool = InlinePool()
        # A pool in this thread, and a clock that stands still: for all that admission asks of them.
        context = Context(Home(Path("no home")), Identity(OWN_KEY), Config(), EMBEDDED, StillClock())
        admission = Admission(context, self._pool, PeerScores(), rescore, no_body, beacon)  # type: ignore[arg-type]
        opened = admission.screen(data)
        if isinstance(opened, Reason):
            return opened, trio.run(admission.unread, data, opened)
        admission.hears(opened)
        assert opened.envelope.key == PUBLIC
        return None, trio.run(admission.admit, opened, "forwarder")


def _shares() -> Iterator[Share]:
    for number, (groups, texts) in enumerate(((1, 4), (2, 4), (0, 4), (5, 4))):
        yield Share(number, EPOCH, 0, max(groups, 1), tuple(honest_group(index, texts) for index in range(groups)))


def envelopes() -> Prepared:
    """Changed bytes of signed envelopes: none of them is let in."""
    gate = Gate()
    good = [seal(KEY, 0, NO_PREVIOUS, NOW_MS, share, EMBEDDED.id).to_bytes() for share in _shares()]

    def check(data: bytes) -> None:
        reason, admitted = gate.admit(data)
        assert data in good or (reason is not None and not admitted.groups), "an envelope that nobody signed is let in"

    for data in good:
        assert not gate.admit(data)[1].refusals
    return check, good


def shares() -> Prepared:
    """Changed bodies, signed anew: admitted groups keep every rule and have our rewards."""
    gate = Gate()
    kinds = cycle([Kind.SHARE.value] * 13 + [Kind.PROOF.value, Kind.ANNOUNCE.value, 99])

    def check(data: bytes) -> None:
        reason, admitted = gate.admit(signed(next(kinds), data))
        assert reason is None or not admitted.groups
        for group in admitted.groups:
            recipe = group.task.recipe
            assert permits(EMBEDDED, recipe) is None
            assert (recipe.proposer, group.signer, recipe.epoch) == (PUBLIC, PUBLIC, EPOCH)
            assert EMBEDDED.min_group_size <= len(group.completions) <= EMBEDDED.max_group_size
            texts = [completion.text for completion in group.completions]
            assert all(len(text) <= EMBEDDED.max_completion_chars for text in texts)
            again = _score(recipe, seed(recipe, beacon(recipe.epoch)), group.rendering, texts)["rewards"]
            assert agree(group.rewards, again)

    good = [pack_body(share) for share in _shares()]
    return check, good


def verifiers() -> Prepared:
    """Any text to any task gets a reward from 0 to 1, soon.

    Two bytes choose the task, one the rendering, the rest is the text.
    """
    families = load_environments()
    names = sorted(f"{family}/{name}" for family, environment in families.items() for name in environment.names())

    @lru_cache(maxsize=512)
    def problem(choice: int) -> Any:
        environment, name = find(families, names[choice % len(names)])
        family = names[choice % len(names)].partition("/")[0]
        return environment, name, training_problem(environment, family, name, choice, 0)

    def check(data: bytes) -> None:
        if len(data) < 3:
            return
        environment, name, built = problem(int.from_bytes(data[:2], "big") % (4 * len(names)))
        renderings = sorted(built.prompts)
        try:
            with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
                reward = environment.score(
                    name, built, renderings[data[2] % len(renderings)], data[3:].decode("utf-8", "replace")
                )
        except VerifierError:
            return
        assert type(reward) in (int, float)
        assert math.isfinite(reward)
        assert 0 <= reward <= 1

    hostile = [b"nan", b"1e99999999", b"[[1, 2], [3, 4]]", b"9**9**9", b"<answer>a</answer>", b"1/0", b"\\frac{1}{0}", b"()" * 50]
    right = [problem(choice)[2].answer.encode() for choice in range(len(names))]
    return check, [number.to_bytes(2, "big") + bytes([0]) + text for number, text in enumerate(right)] + [
        number.to_bytes(2, "big") + bytes([0]) + hostile[number % len(hostile)] for number in range(len(names))
    ]


TARGETS = (
    Target("admission-envelopes", envelopes, bytes_per_byte=512, fixed_bytes=2**20, cost=6),
    Target("admission-shares", shares, bytes_per_byte=512, fixed_bytes=2**22, cost=15),
    Target("verifiers", verifiers, fixed_bytes=2**26, max_bytes=600, cost=4),
)
