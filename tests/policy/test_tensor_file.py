"""Tensors written slice by slice are what the library reads, and the sum is the file's."""

from __future__ import annotations

import hashlib

import pytest
import torch
from safetensors import safe_open

from swarm.policy.model import tensor_file
from swarm.policy.model.tensor_file import write_tensors


@pytest.mark.parametrize("slice_bytes", [8, 1 << 20])
def test_the_library_reads_what_is_written(tmp_path, monkeypatch, slice_bytes):
    monkeypatch.setattr(tensor_file, "SLICE_BYTES", slice_bytes)
    tensors = {
        "wide": torch.randn(5, 7),
        "narrow": torch.randn(3, 3).to(torch.bfloat16),
        "half": torch.randn(2).half(),
        "rest": torch.randint(-5, 5, (9,), dtype=torch.int16),
        "bytes": torch.get_rng_state()[:13],
        "step": torch.tensor(3.0),
        "none": torch.zeros(0, 4),
        "turned": torch.randn(4, 6).t(),
    }
    path = tmp_path / "file.safetensors"
    total = write_tensors(path, tensors, {"of": "test"})
    assert total == hashlib.sha256(path.read_bytes()).hexdigest()
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"of": "test"}
        assert set(file.keys()) == set(tensors)
        for name, tensor in tensors.items():
            found = file.get_tensor(name)
            assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
            assert torch.equal(found, tensor)
