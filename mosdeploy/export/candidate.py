"""Subnets to be measured before they are trained: graphs without weights, and the sizes of what
would be exported.
"""

from functools import lru_cache
from itertools import product

from ..spaces.genes import ArchConfig, largest_of_depths
from ..spaces.spec import ModelSpec, Product
from ..storage import sha256_bytes
from .onnx.builder import BuildGraph, ExternalInitializers, NoInitializers
from .quantize import SCHEMES, matrix_bytes, table_bytes


def build_candidate(spec: ModelSpec, arch: ArchConfig, build_graph: BuildGraph) -> bytes:
    """Build the model of a subnet whose weights are external data in `weights.bin` beside it."""
    return bytes(build_graph(spec, arch, ExternalInitializers(), None).SerializeToString())


@lru_cache(maxsize=16)
def graph_sha256(spec: ModelSpec, build_graph: BuildGraph) -> str:
    """Fingerprint of what is timed: the graphs of the smallest subnet, the largest and one
    between.
    """
    space = spec.space
    archs = (space.smallest, spec.reference_arch(), space.largest)
    return sha256_bytes(b"".join(build_candidate(spec, arch, build_graph) for arch in archs))


def candidate_weights_bytes(spec: ModelSpec, build_graph: BuildGraph) -> int:
    """Length of a `weights.bin` that serves every subnet of the space."""
    space = spec.space
    row = space.to_genes(space.largest)
    once = [gene.choices for gene in space.entries if gene.stack is None]
    sizes = []
    # widths are chosen once, and with blocks to fill up a narrower network can take more bytes
    for values in product(*(getattr(space, name) for name in once)):
        for name, value in zip(once, values, strict=True):
            row[space.gene_slices[name]] = value
        weights = ExternalInitializers()
        build_graph(spec, space.from_genes(row), weights, None)
        sizes.append(weights.size_bytes)
    # four-bit matrices of a narrower FFN may have smaller blocks, at worst half as many bytes more
    return max(sizes) * 3 // 2 if spec.workload.precision == "int4" else max(sizes)


def bundle_bytes(spec: ModelSpec, arch: ArchConfig, build_graph: BuildGraph) -> int:
    """Size of the `model.onnx` that an export of this subnet would write, within one percent;
    tokenizer not included.
    """
    scheme = SCHEMES[spec.workload.precision]
    # rows of a step; a model that does not decode has no beam, and no part in which it counts
    num_rows: int = getattr(spec.workload, "beam", 1)

    def bytes_of(matrix: Product) -> int:
        number_format = scheme.format_of(matrix.part, num_rows)
        return matrix_bytes(matrix.inputs, matrix.outputs, number_format)

    # counted, not built: a search asks for the size of every architecture that it meets
    weights = spec.inventory(arch).num_bytes(
        bytes_of, lambda rows, columns: table_bytes(rows, columns, scheme.table)
    )
    return weights + _bytes_without_weights(spec, spec.space.depths(arch), build_graph)


@lru_cache(maxsize=256)
def _bytes_without_weights(
    spec: ModelSpec, depths: tuple[int, ...], build_graph: BuildGraph
) -> int:
    """Bytes of the nodes of the largest subnet with so many layers in each stack."""
    # names grow with the depth alone, and what a width adds to an attribute is a byte or two
    arch = largest_of_depths(spec.space, depths)
    model = build_graph(spec, arch, NoInitializers(), None)
    return len(model.SerializeToString())
