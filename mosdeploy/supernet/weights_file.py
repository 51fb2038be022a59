"""Tensors into an open file in the format of safetensors, one after the other."""

import json
from collections.abc import Mapping
from typing import IO

import torch
from torch import Tensor

# by the width of an item, as the format has them last to first
_TYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
}
_ALIGNMENT = 8


def write_tensors(file: IO[bytes], tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors of any device and layout; beside them, one at a time lies in memory."""
    order = list(_TYPES)
    unknown = sorted({str(tensor.dtype) for tensor in tensors.values()} - {*map(str, order)})
    if unknown:
        raise ValueError(f"no network here has weights of type {', '.join(unknown)}")
    names = sorted(tensors, key=lambda name: (-order.index(tensors[name].dtype), name))
    header: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for name in names:
        tensor = tensors[name]
        start = end
        end += tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _TYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    file.write(len(text).to_bytes(8, "little"))
    file.write(text)
    for name in names:
        file.write(content(tensors[name]))


def content(tensor: Tensor) -> memoryview:
    """The bytes of a tensor, row by row."""
    flat = tensor.detach().cpu().contiguous().flatten()
    # as bytes, which numpy has for every type of tensor
    found: memoryview = flat.view(torch.uint8).numpy().data
    return found
