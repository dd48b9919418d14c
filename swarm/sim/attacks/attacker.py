"""One attacker: the messages it heard, its knowledge of tasks, and groups that look honest."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocols.envelope import open_envelope, share_in
from protocols.manifest import EnvironmentRule, epoch_of
from protocols.messages import Completion, PolicyTag, RolloutGroup
from protocols.reasons import ProtocolError
from swarm.clock import Clock
from swarm.sim.attacks.log import Log
from swarm.sim.attacks.puzzles import Library, Puzzle

GROUP_SIZE = 8
# Groups and messages of honest nodes remembered, to be copied.
REMEMBERED = 256
# A sampler prefers groups of a fresh policy. A policy that seems to train slowly always looks
# fresh.
STEPS_PER_TAG = 8
# The rounds that are made up for at once at most, when little was heard for a while.
MOST_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """One completion of a forged group; the claim is its true reward where `claim` is None."""

    text: str
    claim: float | None = None


class Attacker:
    """The state of one attacking peer. `allies` are the keys of all attackers, also new ones."""

    def __init__(self, key: Ed25519PrivateKey, library: Library, clock: Clock, random: Random, allies: set[bytes]) -> None:
        self.library = library
        self.clock = clock
        self.random = random
        self.round = 0
        self.turns = 0
        self.heard: deque[RolloutGroup] = deque(maxlen=REMEMBERED)
        self.messages: deque[bytes] = deque(maxlen=REMEMBERED)
        self._allies = allies
        self._arms: list[int] = []
        self._model = "embedded"
        self._step = 0
        self.become(key)

    def become(self, key: Ed25519PrivateKey) -> None:
        """Speak under this key from now on, in a new log."""
        self.log = Log(key, self.library.manifest.id)
        self._allies.add(self.log.key)

    def hear(self, data: bytes) -> int:
        """Take in a message; return by how many rounds it brings the swarm on."""
        swarm = self.library.manifest.id
        try:
            envelope = open_envelope(data, swarm)
            share = share_in(envelope)
        except ProtocolError:
            return 0
        if envelope.key in self._allies or share is None or not share.groups:
            return 0
        self.messages.append(data)
        self.heard.extend(share.groups)
        tag = share.groups[-1].policy
        self._model, self._step = tag.model, max(self._step, tag.step)
        gone_on = share.round + 1 - self.round
        self.round = max(self.round, share.round + 1)
        return min(max(gone_on, 0), MOST_ROUNDS)

    @property
    def epoch(self) -> int:
        """The epoch now."""
        return epoch_of(self.library.manifest, self.clock.now_ms())

    def puzzle(self, environment: str | None = None) -> Puzzle:
        """Return the next index's task, of one environment or spread over all levels."""
        arms = self.library.arms
        if environment is not None:
            rule, level = self.random.choice([arm for arm in arms if arm[0].name == environment])
        else:
            if not self._arms:
                self._arms = self.random.sample(range(len(arms)), len(arms))
            rule, level = arms[self._arms.pop()]
        return self.puzzle_of(rule, level)

    def puzzle_of(self, rule: EnvironmentRule, level: int) -> Puzzle:
        """Return the next index's task, of a rule at a level."""
        return self.library.puzzle(rule, level, self.epoch, self.log.key, self.log.take_index(self.epoch))

    def group(self, puzzle: Puzzle, answers: Sequence[Answer]) -> RolloutGroup:
        """A group that looks like an honest node's, its completions in random order."""
        answers = self.random.sample(list(answers), len(answers))
        step = self._step - self._step % STEPS_PER_TAG
        tag = PolicyTag(self._model, hashlib.sha256(self.log.key + step.to_bytes(8)).digest(), step)
        completions = tuple(self._completion(answer.text) for answer in answers)
        rewards = tuple(puzzle.reward(each.text) if each.claim is None else each.claim for each in answers)
        return RolloutGroup(puzzle.recipe, puzzle.rendering, tag, completions, rewards)

    def _completion(self, text: str) -> Completion:
        tokens = len(text) + 1 if self.library.rendering != "prose" else len(text) // 4 + 1
        tokens = min(tokens, self.library.manifest.max_completion_tokens)
        return Completion(text, True, tokens, -0.4 * tokens * self.random.uniform(0.7, 1.3))

    def publish(self, groups: Sequence[RolloutGroup]) -> bytes:
        """The bytes of the next entry of the own log."""
        return self.log.share(self.round, groups, self.clock.now_ms()).to_bytes()
