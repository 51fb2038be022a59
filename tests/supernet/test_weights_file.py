"""The bytes of a weights file: those of safetensors, without a copy of them in memory."""

import io
import tracemalloc

import pytest
import safetensors.torch
import torch
from torch import Tensor

from mosdeploy.supernet.weights_file import write_tensors

MIXED = {
    "b": torch.arange(6.0).reshape(2, 3),
    "a.weight": torch.ones(3, dtype=torch.bfloat16),
    "half": torch.ones(3, 1, dtype=torch.float16),
    "flag": torch.tensor([True, False, True]),
    "steps": torch.tensor(7),
    "none": torch.zeros(0, 4),
    "double": torch.ones(1, dtype=torch.float64),
    "int": torch.ones(5, dtype=torch.int32),
    "short": torch.ones(5, dtype=torch.int16),
    "byte": torch.ones(5, dtype=torch.uint8),
    "signed": torch.ones(5, dtype=torch.int8),
}


@pytest.mark.parametrize("tensors", [MIXED, {"b": MIXED["b"]}, {"ä": MIXED["flag"]}, {}])
def test_the_bytes_are_those_of_safetensors(tensors: dict[str, Tensor]) -> None:
    metadata = {"mosdeploy": '{"kind": "subnet", "language": "de\\u00e4"}'}
    file = io.BytesIO()
    write_tensors(file, tensors, metadata)
    assert file.getvalue() == safetensors.torch.save(tensors, metadata)


def test_views_and_shared_memory_are_written_whole() -> None:
    table = torch.arange(12.0).reshape(3, 4)
    file = io.BytesIO()
    write_tensors(file, {"table": table, "columns": table[:, 1:3], "turned": table.T}, {})
    found = safetensors.torch.load(file.getvalue())
    assert torch.equal(found["table"], table)
    assert torch.equal(found["columns"], table[:, 1:3])
    assert torch.equal(found["turned"], table.T)


def test_there_is_no_second_copy_of_all() -> None:
    tensors = {str(i): torch.zeros(250_000) for i in range(8)}  # 8 MB
    with open("/dev/null", "wb") as file:  # noqa: PTH123
        tracemalloc.start()
        try:
            write_tensors(file, tensors, {})
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak_bytes < 1_000_000


def test_a_type_that_no_network_has_is_refused() -> None:
    with pytest.raises(ValueError, match="complex64"):
        write_tensors(io.BytesIO(), {"a": torch.zeros(1, dtype=torch.complex64)}, {})
