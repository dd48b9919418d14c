"""A program that rebuilds reasoning-gym problems and prints {"name/level/number": digest} as JSON.

Arguments: "forward" or "reverse" (the order), "allowed" or "refused" (the datasets), seeds per
level, and "ends" or "all" (the levels).
"""

import hashlib
import json
import sys
from contextlib import redirect_stdout

from reasoning_gym.factory import create_dataset

from swarm.tasks.environment import Unbuildable, VerifierError
from swarm.tasks.held_out import walk
from swarm.tasks.reasoning import ReasoningGym


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def allowed(name: str, level: int, seed: int) -> str:
    """The problem, what its own answer scores, and what a spoiled one does."""
    environment = ReasoningGym()
    try:
        problem = environment.build(name, seed, level)
    except Unbuildable as reason:
        return f"unbuildable {reason}"
    answer = problem.answer
    scores: list[float | str] = []
    for text in (answer, answer[1:], f"{answer} {answer}"):
        try:
            scores.append(environment.score(name, problem, "prose", f"<answer>{text}</answer>"))
        except VerifierError as error:
            scores.append(str(error))
    assert scores[0] == 1.0 or not answer, (name, level, seed, answer, scores)
    return _digest(problem.question, answer, problem.prompts, scores)


def refused(name: str, seed: int) -> str:
    """A problem of a refused dataset in its default configuration."""
    item = create_dataset(name, seed=seed >> 32, size=1)[0]
    return _digest(item["question"], item["answer"])


def main(order: str, which: str, seeds: int, levels: str) -> None:
    environment = ReasoningGym()
    jobs = []
    if which == "refused":
        names = [name for name, reason in environment.refused().items() if reason.startswith("its problems or answers differ")]
        jobs = [(name, 0, number) for name in names for number in range(seeds)]
    else:
        for name in sorted(environment.names()):
            count = environment.levels(name)
            chosen = range(count) if levels == "all" else sorted({0, count - 1})
            jobs += [(name, level, number) for level in chosen for number in range(seeds)]
    if order == "reverse":
        jobs.reverse()
    digests = {}
    with redirect_stdout(sys.stderr):  # some datasets print
        for name, level, number in jobs:
            seed = next(walk(number))
            digests[f"{name}/{level}/{number}"] = refused(name, seed) if which == "refused" else allowed(name, level, seed)
    json.dump(digests, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
