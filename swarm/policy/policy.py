"""The handle on the policy. The policy itself lives in a child process (policy_worker.py).

Everything random follows from the `seed` of a call, so the same calls give the same policy, bit for
bit, on the same CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from protocols.messages import Completion, PolicyTag
from swarm.child import Child
from swarm.clock import Clock
from swarm.config.schema import Config
from swarm.errors import ChildFailed, HomeError, PolicyError
from swarm.policy.second import Second, places_for
from swarm.records import Prompt, Sample, TrainingGroup, TrainReport, as_text

# What a virtual clock charges, in seconds per token: a fixed part, and a part per weight. Of the
# magnitude of one core.
GENERATE_COST, GENERATE_COST_PER_WEIGHT = 2e-5, 2e-10
TRAIN_COST, TRAIN_COST_PER_WEIGHT = 4e-5, 1e-10
LOAD_COST = SAVE_COST = 0.1


@dataclass(frozen=True, slots=True)
class PolicyStatistics:
    """Totals since the handle was made.

    Seconds are the child's real time; answers of evaluations count no tokens.
    """

    generated_tokens: int = 0
    trained_tokens: int = 0
    generate_seconds: float = 0.0
    answer_seconds: float = 0.0
    train_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    updates: int = 0
    skipped_steps: int = 0
    out_of_memory: int = 0
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the policy; `tokens` and `prompt_tokens` are counts, `finished` says that it
    ended by itself."""

    text: str
    finished: bool
    tokens: int
    prompt_tokens: int


class Policy:
    """The node's own policy. Use as an async context manager; one request is in flight at a time.

    Where `policy.generation_device` names a second device, a second process generates there. Then
    `generate` and `log_likelihoods` go on while the first process trains or saves; weights reach it
    through a file, in main memory or else `handover`. Every method may raise `ChildDied`, after
    which only `restart` helps, and `PolicyError`, which says what to do.
    """

    def __init__(
        self, config: Config, clock: Clock, *, checkpoint: Path | None, trained: bool = True, handover: Path | None = None
    ) -> None:
        self._config = config.policy
        self._trained = trained
        self._sections = {
            "policy": asdict(config.policy),
            "generation": asdict(config.generation),
            "training": asdict(config.training),
        }
        self._clock = clock
        self._places = places_for(handover) if handover and config.policy.generation_device else []
        self._second = Second(config.policy, self._sections, self._places, clock) if self._places else None
        self._checkpoint = checkpoint
        self._child = self._new_child()
        self._tag: PolicyTag | None = None
        self._generated_by: PolicyTag | None = None
        self._parameters = 0
        self._totals: dict[str, float] = asdict(PolicyStatistics())

    @property
    def tag(self) -> PolicyTag:
        """The policy as it is now.

        Above 50 million weights the digest is that of the last load or checkpoint.
        """
        if self._tag is None:
            raise RuntimeError("the policy has not been started")
        return self._tag

    @property
    def generated_by(self) -> PolicyTag:
        """The policy that wrote the completions of the newest `generate`."""
        if self._generated_by is None:
            raise RuntimeError("the policy has not generated anything")
        return self._generated_by

    async def generate(
        self, prompts: Sequence[Prompt], *, num_generations: int, max_completion_length: int, temperature: float, seed: int
    ) -> list[tuple[Sample, ...]]:
        """Sample `num_generations` completions of at most `max_completion_length` tokens for each
        prompt, in one run."""
        groups, seconds, self._generated_by = await self._sample(
            await self._generating(), prompts, num_generations, max_completion_length, temperature, seed
        )
        tokens = sum(sample.completion.tokens for group in groups for sample in group)
        self._count(generated_tokens=tokens, generate_seconds=seconds)
        return groups

    async def answer(self, prompts: Sequence[Prompt], *, max_completion_length: int) -> list[str]:
        """Return the greedy completion of each prompt as text, "" where the model has no room for
        one."""
        room = await self._fits(self._child, prompts, [None] * len(prompts), max_completion_length)
        fitting = [prompt for prompt, fits in zip(prompts, room, strict=True) if fits]
        groups, seconds, _ = await self._sample(self._child, fitting, 1, max_completion_length, 0.0, 0)
        self._count(answer_seconds=seconds)
        answers = (group[0].completion.text for group in groups)
        return [next(answers) if fits else "" for fits in room]

    async def fits(self, prompts: Sequence[Prompt], solutions: Sequence[str | None], max_tokens: int) -> list[bool]:
        """Return for each prompt whether the model has positions for it and `max_tokens` more, and
        whether its known solution is no longer than these."""
        return await self._fits(await self._generating(), prompts, solutions, max_tokens)

    async def converse(
        self, prompts: Sequence[Prompt], *, num_generations: int, max_completion_length: int, temperature: float, seed: int
    ) -> list[tuple[Reply, ...]]:
        """Answer people and programs: `num_generations` replies to each prompt, cut where the
        model's positions end."""
        body = {
            "prompts": list(prompts),
            "num_generations": num_generations,
            "max_completion_length": max_completion_length,
            "temperature": temperature,
            "seed": seed,
        }
        answer = await self._request("converse", body, cost=0.0)
        return [
            tuple(Reply(text, finished, tokens, prompt_tokens) for (text, finished, tokens, _), _ in group)
            for group, prompt_tokens in zip(answer["groups"], answer["prompt_tokens"], strict=True)
        ]

    async def log_likelihoods(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
        """Return the log-probability (nats) of each text as the whole answer to its prompt, end of
        sequence included.

        Minus infinity for a text that the model cannot say. One batched pass.
        """
        if not texts:
            return []
        weight = TRAIN_COST + TRAIN_COST_PER_WEIGHT * self._parameters
        cost = weight * sum(map(len, (*map(as_text, prompts), *texts)))
        answer = await self._request("log_likelihoods", [list(prompts), list(texts)], cost=cost, of=await self._generating())
        likelihoods: list[float] = answer
        return likelihoods

    async def train(self, groups: Sequence[TrainingGroup]) -> TrainReport:
        """Make one round's updates on own and foreign groups."""
        # Of a foreign completion only the text counts: its `tokens` are a claim.
        lengths = (
            len(completion.text) + 1 if group.token_ids is None else len(group.token_ids[i])
            for group in groups
            for i, completion in enumerate(group.completions)
        )
        weight = TRAIN_COST + TRAIN_COST_PER_WEIGHT * self._parameters
        answer = await self._request("train", [_fields(group) for group in groups], cost=weight * sum(lengths))
        self._tag = PolicyTag(*answer.pop("tag"))
        if (handed := answer.pop("handover")) and self._second is not None:
            self._second.handed = Path(handed)
        report = TrainReport(tag=self._tag, plausible=tuple(answer.pop("plausible")), **answer)
        self._count(
            trained_tokens=report.tokens, train_seconds=report.seconds, updates=report.updates, skipped_steps=report.skipped
        )
        self._count(out_of_memory=report.out_of_memory)
        return report

    async def save(self, directory: Path, node_state: Mapping[str, Any]) -> Path:
        """Write the checkpoint of this step into `directory`, atomically; return its folder.

        Raises `HomeError` when the disk refuses; earlier checkpoints stay intact.
        """
        answer = await self._request("save", {"directory": str(directory), "node_state": dict(node_state)}, cost=SAVE_COST)
        self._tag = PolicyTag(*answer["tag"])
        self._count(checkpoint_seconds=answer["seconds"])
        return Path(answer["path"])

    async def export(self, directory: Path) -> None:
        """Write a plain Hugging Face folder, an adapter merged into its base; `directory` is new or
        empty."""
        await self._request("export", str(directory), cost=SAVE_COST)

    async def release(self) -> None:
        """End the child, which frees all memory of the policy, a GPU's too.

        `resume` or `restart` begins anew.
        """
        await self._child.end()
        if self._second is not None:
            await self._second.end()

    async def resume(self, checkpoint: Path) -> None:
        """Continue from a checkpoint after `release`."""
        self._checkpoint = checkpoint
        self._child = self._new_child()
        await self._start()

    async def restart(self, checkpoint: Path | None) -> None:
        """Begin anew from a checkpoint (None: the base model) after the child died."""
        self._kill()
        self._checkpoint = checkpoint
        self._child = self._new_child()
        self._count(restarts=1)
        await self._start()

    def take_busy_s(self) -> dict[str, float]:
        """Return the seconds that each process computed since the last call, loading left out."""
        first = round(self._child.take_busy_s(), 4)
        return (
            {"policy": first} if self._second is None else {"training": first, "generating": round(self._second.take_busy_s(), 4)}
        )

    def statistics(self) -> PolicyStatistics:
        """Totals so far."""
        return PolicyStatistics(**self._totals)  # type: ignore[arg-type]

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._child.pid

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._kill()

    def _kill(self) -> None:
        self._child.kill()
        if self._second is not None:
            self._second.kill()

    def _new_child(self) -> Child:
        arguments = {
            **self._sections,
            "checkpoint": None if self._checkpoint is None else str(self._checkpoint),
            "trained": self._trained,
            "handover": list(map(str, self._places)),
        }
        return Child("swarm.policy.policy_worker:main", arguments, self._clock, niceness=self._config.niceness)

    async def _start(self) -> None:
        await self._child.start()
        try:
            answer = await self._request("hello", None, cost=LOAD_COST)
            if self._second is not None:
                facts = answer["adapter"], answer["tag"][2], answer["parameters"]
                second = await self._second.start(self._checkpoint, *facts)
                await self._request("hello", None, cost=LOAD_COST, of=second)
        except BaseException:
            self._kill()
            raise
        self.take_busy_s()  # loading is no computing
        self._tag = PolicyTag(*answer["tag"])
        self._parameters = answer["parameters"]

    async def _generating(self) -> Child:
        """Return the child that generates, with the newest weights."""
        return self._child if self._second is None else await self._second.newest(self.tag)

    async def _sample(
        self,
        child: Child,
        prompts: Sequence[Prompt],
        num_generations: int,
        max_completion_length: int,
        temperature: float,
        seed: int,
    ) -> tuple[list[tuple[Sample, ...]], float, PolicyTag]:
        """Return the groups, the child's seconds, and the policy that wrote them."""
        body = {
            "prompts": list(prompts),
            "num_generations": num_generations,
            "max_completion_length": max_completion_length,
            "temperature": temperature,
            "seed": seed,
        }
        tokens = len(prompts) * num_generations * max_completion_length
        cost = (GENERATE_COST + GENERATE_COST_PER_WEIGHT * self._parameters) * tokens
        answer = await self._request("generate", body, cost=cost, of=child)
        groups = [tuple(Sample(Completion(*completion), tuple(ids)) for completion, ids in group) for group in answer["groups"]]
        self._count(out_of_memory=answer["out_of_memory"])
        return groups, answer["seconds"], PolicyTag(*answer["tag"])

    async def _fits(
        self, child: Child, prompts: Sequence[Prompt], solutions: Sequence[str | None], max_tokens: int
    ) -> list[bool]:
        if not prompts:
            return []
        room: list[bool] = await self._request("fits", [list(prompts), list(solutions), max_tokens], cost=0.0, of=child)
        return room

    async def _request(self, kind: str, body: Any, *, cost: float, of: Child | None = None) -> Any:
        try:
            return await (of or self._child).request(kind, body, cost=cost)
        except ChildFailed as error:
            # The child's own error, as the class it had there.
            for known in (PolicyError, HomeError):
                if error.remote_type == known.__name__:
                    raise known(str(error).removeprefix(f"{error.remote_type}: ")) from None
            raise

    def _count(self, **more: float) -> None:
        for name, amount in more.items():
            self._totals[name] += amount


def _fields(group: TrainingGroup) -> dict[str, Any]:
    return {
        "prompt": group.prompt,
        "completions": [completion.to_array() for completion in group.completions],
        "rewards": group.rewards,
        "weights": group.weights,
        "foreign": group.foreign,
        "token_ids": group.token_ids,
        "min_probability": group.min_probability,
        "max_tokens": group.max_tokens,
    }
