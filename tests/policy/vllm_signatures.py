"""What vLLM's calls take, in the oldest and the newest release that pyproject.toml allows: argument
names only, in vllm_signatures.json.

Anew, from wheels: `python tests/policy/vllm_signatures.py vllm-0.19.1-*.whl vllm-0.33.0-*.whl`.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable, Iterator
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any
from zipfile import ZipFile

KEPT = Path(__file__).with_suffix(".json")
CALLS = ("sleep", "wake_up", "apply_model", "reset_prefix_cache", "generate")


def releases() -> dict[str, dict[str, Any]]:
    """Return, per release, the names that each call takes: [those by place or name, those by name
    only]."""
    return dict(json.loads(KEPT.read_text()))


def checked(call: Callable[..., Any], names: list[list[str]]) -> Callable[..., Any]:
    """Wrap `call`; arguments that vLLM's own would refuse raise `TypeError`."""
    placed = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=None) for name in names[0]]
    named = [Parameter(name, Parameter.KEYWORD_ONLY, default=None) for name in names[1]]
    signature = Signature([*placed, *named])

    def bound(*arguments: Any, **options: Any) -> Any:
        signature.bind(*arguments, **options)
        return call(*arguments, **options)

    return bound


def _read(wheel: str) -> dict[str, list[list[str]]]:
    with ZipFile(wheel) as archive:
        engine = _class(archive.read("vllm/entrypoints/llm.py"), "LLM")
        options = _fields(_class(archive.read("vllm/engine/arg_utils.py"), "EngineArgs"))
        sampling = _fields(_class(archive.read("vllm/sampling_params.py"), "SamplingParams"))
    methods = {node.name: node.args for node in engine.body if isinstance(node, ast.FunctionDef)}
    # Whatever LLM does not name itself it hands to EngineArgs.
    named = sorted({*options, *(each.arg for each in methods["__init__"].kwonlyargs)})
    calls = {
        name: [[each.arg for each in methods[name].args[1:]], [each.arg for each in methods[name].kwonlyargs]] for name in CALLS
    }
    return {"LLM": [["model"], [name for name in named if name != "model"]], "SamplingParams": [[], sorted(sampling)], **calls}


def _class(source: bytes, name: str) -> ast.ClassDef:
    return next(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef) and node.name == name)


def _fields(of: ast.ClassDef) -> Iterator[str]:
    for node in of.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not node.target.id.startswith("_"):
            yield node.target.id


if __name__ == "__main__":
    KEPT.write_text(json.dumps({Path(each).name.split("-")[1]: _read(each) for each in sys.argv[1:]}) + "\n")
