"""Every architecture works, or is refused in one sentence before anything is fetched."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForImageTextToText, DynamicCache
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from benchmarks.zoo.architectures import life
from benchmarks.zoo.families import FAMILIES, REFUSED, write_family
from swarm.cli.main import main
from swarm.config.schema import GenerationSection, PolicySection
from swarm.errors import PolicyError
from swarm.policy.fit import devices
from swarm.policy.fit.estimate import estimate, shape_of
from swarm.policy.fit.unusable import STATEFUL, refusal, refusal_by_name
from swarm.policy.model.model import load_base

# Both ways of training of those with something of their own; all of them, both ways:
# python -m benchmarks.zoo.architectures.
HERE = ("gemma3", "mpt", "xglm", "qwen3_moe", "gpt_oss", "falcon", "cohere2", "gpt_neox")
INSTEAD = {"Qwen/Qwen3.5-0.8B": "Qwen/Qwen3-0.6B", "Qwen/Qwen2.5-VL-3B-Instruct": "Qwen/Qwen3-0.6B"}
INSTEAD |= dict.fromkeys(
    ["state-spaces/mamba-130m-hf", "LiquidAI/LFM2-350M", "google/flan-t5-small"], "Qwen/Qwen2.5-0.5B-Instruct"
)


@pytest.mark.parametrize("adapter", ["none", "lora"])
@pytest.mark.parametrize("family", HERE)
def test_a_family_lives(family: str, adapter: str, tmp_path: Path) -> None:
    life(write_family(tmp_path / "model", family), adapter, tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shape_of_a_family_is_told_by_its_config(family: str, tmp_path: Path) -> None:
    folder = write_family(tmp_path, family)
    shape = shape_of(json.loads((folder / "config.json").read_text()))
    weights = sum(tensor.numel() for name, tensor in load_file(folder / "model.safetensors").items() if "vision" not in name)
    # Tiny models are mostly what is left out: norms, biases, positions, routers.
    assert 0.6 * weights < shape.weights < 1.4 * weights
    assert estimate(shape, "lora", item=2, rank=8).total > 0


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_by_its_config(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text(json.dumps(REFUSED[name]))
    monkeypatch.setenv("SWARMD_HOME", str(tmp_path / "home"))
    for command in (["init", "--model", str(tmp_path)], ["models", str(tmp_path)]):
        said = CliRunner().invoke(main, command)
        assert "no policy can be made of it; take Qwen/Qwen2.5-0.5B-Instruct" in said.output, said.output
    assert not (tmp_path / "home").exists()
    facts = devices.model_facts(PolicySection(model=str(tmp_path)), GenerationSection())
    assert "no policy can be made of it" in facts["error"]
    with pytest.raises(PolicyError, match="no policy can be made of it"):
        load_base(PolicySection(model=str(tmp_path), device="cpu"))


@pytest.mark.parametrize("name", INSTEAD)
def test_what_cannot_work_is_refused_by_its_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: object, **__: object) -> None:
        pytest.fail("the hub was asked")

    monkeypatch.setattr(devices, "HfApi", fetch)
    monkeypatch.setattr(devices, "try_to_load_from_cache", fetch)
    monkeypatch.setenv("SWARMD_HOME", str(tmp_path / "home"))
    made = CliRunner().invoke(main, ["init", "--model", name])
    assert made.exit_code != 0
    assert f"{name} " in made.output
    assert f"take {INSTEAD[name]}," in made.output
    assert INSTEAD[name] in devices.model_facts(PolicySection(model=name), GenerationSection())["error"]
    listed = CliRunner().invoke(main, ["models", "--set", f"policy.model={name}", "--set", "policy.device=cpu"])
    assert f"\n{name} " in listed.output


@pytest.mark.parametrize("name", ["Qwen/Qwen3-0.6B", "google/gemma-3-1b-it", "meta-llama/Llama-3.2-1B", "smollm2", "embedded"])
def test_what_works_is_not_refused(name: str) -> None:
    assert refusal_by_name(name) == ""
    assert refusal(name, {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}) == ""


def test_every_model_without_an_attention_cache_is_known() -> None:
    """By the very classes that transformers would load."""
    unknown = []
    for kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys() - STATEFUL - {"gemma4_assistant", "gemma4_unified_assistant"}:
        config = CONFIG_MAPPING[kind]()
        layers = DynamicCache(config=config).layers
        found = AutoModelForCausalLM._model_mapping[type(config)]
        forward = (found[0] if isinstance(found, list | tuple) else found).forward
        if "past_key_values" not in inspect.signature(forward).parameters or not all(
            hasattr(layer, "batch_select_indices") for layer in layers
        ):
            unknown.append(kind)
    assert not unknown


@pytest.mark.parametrize("older", [False, True])
def test_of_a_model_that_sees_only_the_text_is_loaded(older: bool, tmp_path: Path) -> None:
    folder = write_family(tmp_path, "gemma3")
    ids = torch.tensor([[5, 9, 20, 33]])
    with torch.no_grad():
        whole = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
        wanted = whole(input_ids=ids, token_type_ids=torch.zeros_like(ids)).logits
    if older:
        tensors = load_file(folder / "model.safetensors")
        renamed = {name.replace("model.language_model.", "language_model.model."): tensor for name, tensor in tensors.items()}
        save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    lm = load_base(PolicySection(model=str(folder), device="cpu", dtype="float32"))
    assert not any("vision" in name for name, _ in lm.model.named_parameters())
    torch.testing.assert_close(lm.model(input_ids=ids).logits, wanted)


def test_a_config_that_contradicts_itself_is_one_error(tmp_path: Path) -> None:
    described = {"model_type": "qwen3", "num_hidden_layers": 3, "layer_types": ["full_attention"]}
    (tmp_path / "config.json").write_text(json.dumps(described))
    with pytest.raises(PolicyError, match="cannot load the model"):
        load_base(PolicySection(model=str(tmp_path), device="cpu"))
    assert "cannot load the model" in devices.model_facts(PolicySection(model=str(tmp_path)), GenerationSection())["error"]
