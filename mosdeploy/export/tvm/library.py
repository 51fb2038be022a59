"""From a Relax module to a shared library for one processor."""

import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tvm
from tvm import relax
from tvm.relax.backend.cpu_generic.pipeline import dataflow_lower_passes, finalize_passes
from tvm.s_tir import dlight
from tvm.support import cc
from tvm.target import Target, codegen

from ...errors import ExportError
from .schedules import PackedLinear, RowByRow


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


def compile_module(module: Any, target: Target, rules: Sequence[Any] = ()) -> Any:
    """Schedule by the first rule that fits, those of `schedules` last, and compile."""
    # without fusion, which the default pipeline has: bias, ReLU and residual are in the kernels
    # already
    passes = [
        # for the operators that are no kernels of this folder, such as concat
        relax.transform.LegalizeOps(),
        dlight.ApplyDefaultSchedule(*rules, PackedLinear(), RowByRow()),
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


def link(executable: Any, linker: str, path: Path) -> None:
    """Write the shared library."""
    try:
        executable.export_library(str(path), fcompile=cc.cross_compiler(linker))
    except RuntimeError as error:
        raise ExportError(f"{linker} could not link {path.name}: {error}") from error
