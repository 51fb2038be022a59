"""How the kernels are scheduled without tuning, as dlight rules."""

from typing import Any

from tvm import s_tir, tirx
from tvm.s_tir.dlight.cpu.base import CPUScheduleRule
from tvm.target.codegen import llvm_get_vector_width


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
        """Schedule any kernel of this file but a linear layer."""
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
    vector_bits = llvm_get_vector_width(target)
    num_registers = 16 if vector_bits == 256 else 32
    most = max(1, num_registers // 2 * vector_bits // 32 // panel)
    return max(n for n in range(1, min(most, rows) + 1) if rows % n == 0)


def _blocks(schedule: s_tir.Schedule) -> dict[str, Any]:
    """The computations of a kernel, in order, by name."""
    blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    return {schedule.get(block).name_hint: block for block in blocks}
