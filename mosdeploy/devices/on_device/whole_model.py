"""Writes an ONNX model with its weights inside, from one whose weights are external data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Union

BLOCK_BYTES = 1 << 20
SPARE_DISK_BYTES = 8 << 20  # left free for results and logs
# wire types
VARINT = 0
FIXED64 = 1
LENGTH = 2
FIXED32 = 5
# field numbers of onnx.proto
MODEL_GRAPH = 7
GRAPH_INITIALIZER = 5
TENSOR_RAW_DATA = 9
TENSOR_EXTERNAL_DATA = 13
TENSOR_DATA_LOCATION = 14
ENTRY_KEY = 1
ENTRY_VALUE = 2

Part = Union[bytes, "tuple[int, int]"]  # Python 3.9
"""Bytes to be written, or offset and length of weights."""


def write_with_weights(source: Path, weights: Path, target: Path) -> None:
    """Write a candidate with its weights inside, and wait until the disk has it."""
    parts = list(model_parts(source.read_bytes()))
    check_space(target, sum(map(length_of, parts)))
    with weights.open("rb") as numbers, target.open("wb") as file:
        for part in parts:
            if isinstance(part, bytes):
                file.write(part)
                continue
            end = sum(part)
            numbers.seek(part[0])
            while left := end - numbers.tell():
                block = numbers.read(min(left, BLOCK_BYTES))
                if not block:
                    raise RuntimeError(f"{weights} ends before byte {end}")
                file.write(block)
        # what the system writes later would disturb the timing
        file.flush()
        os.fsync(file.fileno())


def check_space(path: Path, num_bytes: int) -> None:
    """Make sure that a file of so many bytes can be written."""
    free_bytes = shutil.disk_usage(path.parent).free
    if free_bytes < num_bytes + SPARE_DISK_BYTES:
        need_mib = (num_bytes + SPARE_DISK_BYTES) / 2**20
        raise RuntimeError(
            f"disk full: {path} needs {need_mib:,.1f} MiB, {free_bytes / 2**20:,.1f} MiB free"
        )


def model_parts(model: bytes) -> Iterator[Part]:
    """A model whose external initialisers are inside, as parts in their order."""
    for number, field, value in fields(model):
        if number != MODEL_GRAPH:
            yield field
            continue
        parts: list[Part] = []
        for inner, inner_field, inner_value in fields(value):
            if inner == GRAPH_INITIALIZER:
                parts += message(GRAPH_INITIALIZER, tensor_parts(inner_value))
            else:
                parts.append(inner_field)
        yield from message(MODEL_GRAPH, parts)


def tensor_parts(tensor: bytes) -> list[Part]:
    """The fields of a tensor, with external data inside."""
    kept: list[Part] = []
    external: dict[str, str] = {}
    for number, field, value in fields(tensor):
        if number == TENSOR_EXTERNAL_DATA:
            entry = {inner: text.decode() for inner, _, text in fields(value)}
            external[entry[ENTRY_KEY]] = entry[ENTRY_VALUE]
        elif number != TENSOR_DATA_LOCATION:
            kept.append(field)
    if not external:
        return [tensor]
    weights = (int(external["offset"]), int(external["length"]))
    return [*kept, *message(TENSOR_RAW_DATA, [weights])]


def message(number: int, parts: list[Part]) -> list[Part]:
    """A field of a known length."""
    tag = varint(number << 3 | LENGTH)
    return [tag + varint(sum(map(length_of, parts))), *parts]


def length_of(part: Part) -> int:
    """Bytes of a part."""
    return len(part) if isinstance(part, bytes) else part[1]


def fields(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, all bytes and value of each field of a message."""
    begin = 0
    while begin < len(data):
        tag, start = read_varint(data, begin)
        kind = tag & 7
        if kind == LENGTH:
            length, start = read_varint(data, start)
            end = start + length
        elif kind == VARINT:
            _, end = read_varint(data, start)
        else:
            end = start + {FIXED64: 8, FIXED32: 4}[kind]
        yield tag >> 3, data[begin:end], data[start:end]
        begin = end


def read_varint(data: bytes, begin: int) -> tuple[int, int]:
    """A whole number of seven bits a byte, the lowest first, and where it ends."""
    value = 0
    shift = 0
    while True:
        byte = data[begin]
        begin += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, begin
        shift += 7


def varint(value: int) -> bytes:
    """The same, written."""
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes([*written, value])
