"""Every family of models through a policy's whole life: `python -m benchmarks.zoo.architectures`.

A tiny random model of each (families.py), all weights and LoRA: generate, one update, checkpoint,
resume bit for bit, export, and the export answers as the policy does. Prints JSON: per family "ok"
or what went wrong.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from benchmarks.zoo.families import FAMILIES, write_family
from swarm.config.schema import GenerationSection, PolicySection, TrainingSection
from swarm.policy.policy_worker import Worker

PROMPTS = ["1+1=", "what is 12*12?"]
ASKED = {"prompts": PROMPTS, "num_generations": 4, "max_completion_length": 10, "temperature": 1.0, "seed": 0}
GREEDY = {**ASKED, "num_generations": 1, "temperature": 0.0}


def life(folder: Path, adapter: str, work: Path) -> None:
    """Take the model in `folder` through its life; raises where anything is wrong."""
    config = PolicySection(model=str(folder), device="cpu", dtype="float32", adapter=adapter)
    policy = _worker(config)
    group = policy.generate(ASKED)["groups"][0]
    texts, ids = [fields for fields, _ in group], [ids for _, ids in group]
    likely = policy.log_likelihoods([PROMPTS[:1] * len(texts), [fields[0] for fields in texts]])
    for fields, tokens, logprob in zip(texts, ids, likely, strict=True):
        plain = min(tokens[:-1], default=99) > 5  # no special token among them, which text does not show
        if fields[1] and plain and abs(fields[3] - logprob) > 1e-3:
            raise AssertionError(f"sampled with {fields[3]:.4f}, given back as {logprob:.4f}")
    own = {"prompt": PROMPTS[0], "completions": texts, "rewards": [1.0, 0.0, 1.0, 0.0], "weights": [1.0] * 4, "foreign": False}
    answer = policy.train([{**own, "token_ids": ids, "min_probability": 0.0, "max_tokens": 0}])
    if not answer["gradient_norm"] > 0 or answer["skipped"]:
        raise AssertionError(f"nothing was trained: {answer}")
    policy.save({"directory": str(work / "checkpoints"), "node_state": {}})
    policy.export(str(work / "exported"))
    said = policy.generate(GREEDY)["groups"]
    resumed = _worker(config, str(next((work / "checkpoints").iterdir())))
    if resumed.generate(GREEDY)["groups"] != said or resumed.hello(None)["tag"] != policy.hello(None)["tag"]:
        raise AssertionError("the resumed policy is another")
    exported = _worker(PolicySection(model=str(work / "exported"), device="cpu", dtype="float32", adapter="none"))
    if [ids for group in exported.generate(GREEDY)["groups"] for _, ids in group] != [ids for group in said for _, ids in group]:
        raise AssertionError("the exported model answers otherwise")


def _worker(config: PolicySection, checkpoint: str | None = None) -> Worker:
    worker = Worker(config, GenerationSection(), TrainingSection(learning_rate=1e-3))
    worker.open(checkpoint)
    return worker


def main() -> None:
    """Take every family through, then print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", default=FAMILIES, help="only these")
    options = parser.parse_args()
    disable_progress_bar()
    set_verbosity_error()
    found: dict[str, dict[str, Any]] = {}
    for family in options.families:
        found[family] = {}
        for adapter in ("none", "lora"):
            with tempfile.TemporaryDirectory() as place:
                try:
                    life(write_family(Path(place) / "model", family), adapter, Path(place))
                    found[family][adapter] = "ok"
                except Exception as error:  # noqa: BLE001 - what is wrong is the result
                    found[family][adapter] = f"{type(error).__name__}: {error}"
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
