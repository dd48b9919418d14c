"""Chooses the engine that a policy's completions come from (`generation.engine`)."""

from __future__ import annotations

from swarm.config.schema import GenerationSection
from swarm.policy.engine.cache import CacheEngine, Engine
from swarm.policy.engine.continuous import SlotEngine
from swarm.policy.engine.ends import Ends
from swarm.policy.fit.memory import Memory
from swarm.policy.model.model import LanguageModel
from swarm.policy.update.layout import takes_any_mask

# On a CPU a model of fewer weights is so quick that slots cost more than they save.
SLOTS_FROM = 10_000_000


def ends_of(language_model: LanguageModel, generation: GenerationSection) -> Ends:
    """Return what ends this model's completions."""
    return Ends(language_model.stop_ids, generation.stop, lambda ids: language_model.decode([ids])[0])


def open_engine(language_model: LanguageModel, generation: GenerationSection, memory: Memory) -> Engine:
    """Open the configured engine; for "auto", slots where model and device suit them.

    Raises `PolicyError`.
    """
    ends = ends_of(language_model, generation)
    if generation.engine == "vllm":
        from swarm.policy.engine.vllm import VllmEngine

        return VllmEngine(language_model, ends, generation.stop, memory)
    # Slots draw with float64, which Apple's GPUs do not have.
    device = language_model.device.type
    large = device == "cuda" or (device != "mps" and language_model.size >= SLOTS_FROM)
    if large and takes_any_mask(language_model):
        return SlotEngine(language_model, ends, memory)
    return CacheEngine(language_model, ends, memory)
