"""Writes tensors as one safetensors file, slice by slice.

The library's own writer holds a copy of every tensor in main memory until the file is written: 5 GB
for the optimizer's state of half a billion weights. Here one slice at a time is copied from the
device, summed up and written. The format is a length (8 bytes, little-endian), a JSON header of
names, types, shapes and places, and the bytes: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

SLICE_BYTES = 64 * 2**20
_TYPES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.int32: "I32",
    torch.int16: "I16", torch.uint8: "U8",
}  # fmt: skip
_ALIGNMENT = 8


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> str:
    """Write the tensors, each contiguous, from any device; return the file's SHA-256 in hex.

    Raises `OSError` when the disk refuses.
    """
    # As the library does: wide types first, so that each tensor lies at a multiple of its item.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    described = json.dumps(header, separators=(",", ":")).encode()
    described += b" " * (-len(described) % _ALIGNMENT)
    total = hashlib.sha256()
    with path.open("wb") as file:
        for part in (len(described).to_bytes(8, "little"), described):
            total.update(part)
            file.write(part)
        for _, tensor in ordered:
            for data in _slices(tensor):
                total.update(data)
                file.write(data)
    return total.hexdigest()


def _slices(tensor: Tensor) -> Iterator[memoryview]:
    flat = tensor.detach().contiguous().reshape(-1)
    for part in torch.split(flat, SLICE_BYTES // tensor.element_size()):
        yield part.cpu().view(torch.uint8).numpy().data
