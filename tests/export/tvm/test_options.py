import platform
from pathlib import Path

import pytest

from mosdeploy.export.tvm import Processor, Tuning, fill_tiles


@pytest.mark.parametrize(("length", "filled"), [(1, 8), (8, 8), (9, 16), (30, 32)])
def test_tiles_are_filled(length: int, filled: int) -> None:
    assert fill_tiles(length) == filled
    assert Tuning(Path(), length, threads=1).padded_len == filled


def test_only_this_machine_runs_for_certain() -> None:
    assert Processor().is_this_one
    assert not Processor(platform.machine(), "cortex-a72").is_this_one
    assert str(Processor("aarch64", "cortex-a72")) == "aarch64 cortex-a72"
    assert str(Processor("aarch64")) == "aarch64 (where it was built)"
