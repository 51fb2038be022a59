"""From a Relax module to a shared library for one processor."""

import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax, s_tir, tirx
from tvm.relax.backend.cpu_generic.pipeline import dataflow_lower_passes, finalize_passes
from tvm.s_tir import dlight
from tvm.s_tir.dlight.cpu.base import CPUScheduleRule
from tvm.support import cc
from tvm.target import Target, codegen

from ...errors import ExportError
from ...runtime.manifest import LIBRARY_NAME, WEIGHTS_NAME
from . import Packed, Processor


def write_library(module: Any, packed: Packed, processor: Processor, folder: Path) -> None:
    """Write `model.so` and `weights.bin` into a folder."""
    # both before anything is compiled, since either may raise
    target = make_target(processor.machine, processor.cpu)
    linker = find_linker(processor.machine)
    path = folder / LIBRARY_NAME
    try:
        compile_module(module, target).export_library(str(path), fcompile=cc.cross_compiler(linker))
    except RuntimeError as error:
        raise ExportError(f"{linker} could not link {path.name}: {error}") from error
    with (folder / WEIGHTS_NAME).open("wb") as file:
        for array in packed.values():
            # one after the other: the runtime reads arrays until the file ends
            np.save(file, array, allow_pickle=False)


def make_target(machine: str, cpu: str | None) -> Target:
    """Describe a processor to LLVM."""
    if machine not in ("x86_64", "aarch64"):
        raise ExportError(
            f"TVM bundles are built for x86_64 and aarch64, not for '{machine}'; "
            "use --runtime onnxruntime"
        )
    triple = f"{machine}-linux-gnu"
    if cpu is None:
        cpu = codegen.llvm_get_system_cpu()
    # LLVM itself only warns, and compiles for a generic processor
    if not codegen.llvm_is_valid_cpu(cpu, triple):
        raise ExportError(
            f"LLVM {codegen.llvm_version_major()} knows no {machine} processor '{cpu}'; "
            "set llvm_cpu in the profile"
        )
    # sums may be reordered, so that LLVM computes them in vectors; infinities and NaN keep their
    # meaning
    return Target(
        {
            "kind": "llvm",
            "mtriple": triple,
            "mcpu": cpu,
            "fast-math-reassoc": True,
            "fast-math-contract": True,
        }
    )


def compile_module(module: Any, target: Target) -> Any:
    """Schedule each kernel by the first rule that fits, and compile."""
    # without fusion, which the default pipeline has: bias, ReLU and residual are in the kernels
    # already
    passes = [
        # for the operators that are no kernels of this folder, such as concat
        relax.transform.LegalizeOps(),
        dlight.ApplyDefaultSchedule(PackedLinear(), RowByRow()),
        *dataflow_lower_passes(target),
        *finalize_passes(target),
    ]
    with target:
        return relax.build(module, target, relax_pipeline=tvm.transform.Sequential(passes))


def find_linker(machine: str) -> str:
    """Path of the C++ compiler that links for a machine."""
    native = machine == platform.machine()
    found = shutil.which("g++" if native else f"{machine}-linux-gnu-g++")
    if found is None:
        # Debian's names of packages have no underscores
        package = "g++" if native else f"g++-{machine.replace('_', '-')}-linux-gnu"
        raise ExportError(
            f"no C++ compiler to link a library for {machine}; run: sudo apt-get install {package}"
        )
    return found


# -- schedules, as dlight rules --------------------------------------------------------------------


class PackedLinear(CPUScheduleRule):  # type: ignore[misc]
    """A linear layer: panels in parallel; within one, a tile's sums stay in registers while its
    weights pass once.
    """

    def apply(self, func: tirx.PrimFunc, target: Any, _: bool) -> s_tir.Schedule | None:
        """Schedule a function that holds a `product`, or leave it alone."""
        schedule = s_tir.Schedule(func)
        blocks = _blocks(schedule)
        if not self.is_target_available(target) or "product" not in blocks:
            return None
        product = blocks["product"]
        result = blocks["result"]
        panel = int(func.attrs["panel"])
        tile, row, column = schedule.get_loops(result)
        outer, inner = schedule.split(column, [None, panel])
        rows_at_once = _rows_at_once(int(func.attrs["rows"]), panel, target)
        group, row = schedule.split(row, [None, rows_at_once])
        # a panel stays in the cache for all tiles; within it, a group of rows in registers
        schedule.reorder(outer, tile, group, row, inner)
        schedule.compute_at(product, group, preserve_unit_loops=True)
        *_, product_row, product_column, k = schedule.get_loops(product)
        schedule.reorder(k, product_row, product_column)
        schedule.set_scope(product, 0, "local")
        schedule.parallel(outer)
        for loop_row, loop_column in ((row, inner), (product_row, product_column)):
            schedule.unroll(loop_row)
            schedule.vectorize(loop_column)
        # zeros are written before the loop over k; otherwise each k tests whether it is the first
        start = schedule.decompose_reduction(product, k)
        *_, start_row, start_column = schedule.get_loops(start)
        schedule.unroll(start_row)
        schedule.vectorize(start_column)
        return schedule


class RowByRow(CPUScheduleRule):  # type: ignore[misc]
    """Everything else: rows (and heads) in parallel, all that leads to one computed beside it, sums
    left to LLVM.
    """

    def apply(self, func: tirx.PrimFunc, target: Any, _: bool) -> s_tir.Schedule | None:
        """Schedule any kernel but a linear layer."""
        if not self.is_target_available(target):
            return None
        schedule = s_tir.Schedule(func)
        blocks = _blocks(schedule)
        *before, last = blocks.values()
        outer = list(schedule.get_loops(last)[:2])
        heads = func.attrs.get("heads")
        if heads is not None:
            head, _ = schedule.split(schedule.get_loops(last)[2], [int(heads), None])
            outer.append(head)
        spatial = schedule.fuse(*outer)
        schedule.parallel(spatial)
        for block in reversed(before):
            schedule.compute_at(block, spatial, preserve_unit_loops=True)
        # along the columns, so that LLVM reads and writes vectors
        if "mixed" in blocks:
            *_, column, t = schedule.get_loops(blocks["mixed"])
            schedule.reorder(t, column)
        return schedule


def _rows_at_once(rows: int, panel: int, target: Any) -> int:
    """How many rows of a panel's sums fit into half of the vector registers, and divide the rows of
    a tile.
    """
    vector_bits = codegen.llvm_get_vector_width(target)
    num_registers = 16 if vector_bits == 256 else 32
    most = max(1, num_registers // 2 * vector_bits // 32 // panel)
    return max(n for n in range(1, min(most, rows) + 1) if rows % n == 0)


def _blocks(schedule: s_tir.Schedule) -> dict[str, Any]:
    """The computations of a kernel, in order, by name."""
    blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    return {schedule.get(block).name_hint: block for block in blocks}
