"""What is asked of LLVM and of the linker; needs apache-tvm."""

import platform

import pytest

from mosdeploy.errors import ExportError

pytestmark = pytest.mark.tvm
pytest.importorskip("tvm")


@pytest.mark.parametrize(
    ("machine", "cpu", "message"),
    [("riscv64", None, "not for 'riscv64'"), ("aarch64", "skylake", "knows no aarch64 processor")],
)
def test_an_unknown_processor(machine: str, cpu: str | None, message: str) -> None:
    from mosdeploy.export.tvm.library import make_target

    with pytest.raises(ExportError, match=message):
        make_target(machine, cpu)


@pytest.mark.parametrize(("rows", "most"), [(1, 1), (7, 7), (8, 8), (3, 3)])
def test_rows_at_once_divide_the_rows_of_a_tile(rows: int, most: int) -> None:
    from mosdeploy.export.tvm.library import _rows_at_once, make_target

    found = _rows_at_once(rows, 32, make_target(platform.machine(), None))
    assert rows % found == 0 and 1 <= found <= most
