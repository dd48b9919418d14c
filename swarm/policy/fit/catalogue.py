"""Small instruct models worth a try, by their names at the model hub: licence and shape, as
published.

Any causal language model works. These are listed so that the owner of a new machine sees what fits.
"""

from __future__ import annotations

from dataclasses import dataclass

from swarm.policy.fit.estimate import Shape


@dataclass(frozen=True, slots=True)
class Known:
    """A model at the hub. `gated`: its owner asks for consent first."""

    name: str
    licence: str
    shape: Shape
    gated: bool = False


def _shape(layers: int, hidden: int, inner: int, heads: tuple[int, int, int], vocabulary: int, *, tied: bool = True) -> Shape:
    """`heads` are the number of query heads, the number of key heads, and their width."""
    queries, keys, width = heads
    return Shape(layers, hidden, inner, queries * width, keys * width, vocabulary, tied, gated=True)


SMOLLM2_SHAPE = _shape(30, 576, 1536, (9, 3, 64), 49152)
# The model that `policy.model = "embedded"` names, which is always here.
EMBEDDED_LICENCE = "Apache-2.0"
KNOWN = (
    Known("HuggingFaceTB/SmolLM2-135M-Instruct", "Apache-2.0", SMOLLM2_SHAPE),
    Known("HuggingFaceTB/SmolLM2-360M-Instruct", "Apache-2.0", _shape(32, 960, 2560, (15, 5, 64), 49152)),
    Known("HuggingFaceTB/SmolLM2-1.7B-Instruct", "Apache-2.0", _shape(24, 2048, 8192, (32, 32, 64), 49152)),
    Known("HuggingFaceTB/SmolLM3-3B", "Apache-2.0", _shape(36, 2048, 11008, (16, 4, 128), 128256)),
    Known("Qwen/Qwen2.5-0.5B-Instruct", "Apache-2.0", _shape(24, 896, 4864, (14, 2, 64), 151936)),
    Known("Qwen/Qwen2.5-1.5B-Instruct", "Apache-2.0", _shape(28, 1536, 8960, (12, 2, 128), 151936)),
    Known("Qwen/Qwen2.5-3B-Instruct", "Qwen Research", _shape(36, 2048, 11008, (16, 2, 128), 151936)),
    Known("Qwen/Qwen2.5-7B-Instruct", "Apache-2.0", _shape(28, 3584, 18944, (28, 4, 128), 152064, tied=False)),
    Known("Qwen/Qwen3-0.6B", "Apache-2.0", _shape(28, 1024, 3072, (16, 8, 128), 151936)),
    Known("Qwen/Qwen3-1.7B", "Apache-2.0", _shape(28, 2048, 6144, (16, 8, 128), 151936)),
    Known("Qwen/Qwen3-4B", "Apache-2.0", _shape(36, 2560, 9728, (32, 8, 128), 151936)),
    Known("meta-llama/Llama-3.2-1B-Instruct", "Llama 3.2", _shape(16, 2048, 8192, (32, 8, 64), 128256), gated=True),
    Known("meta-llama/Llama-3.2-3B-Instruct", "Llama 3.2", _shape(28, 3072, 8192, (24, 8, 128), 128256), gated=True),
    Known("google/gemma-3-1b-it", "Gemma", _shape(26, 1152, 6912, (4, 1, 256), 262144), gated=True),
)
