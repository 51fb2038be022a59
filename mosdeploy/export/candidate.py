"""Subnets to be measured before they are trained: graphs without weights, and the sizes of what
would be exported.

In: an architecture and a workload. Out: a model of a few kilobytes whose weights the device makes
up, and byte counts.
"""

from functools import lru_cache
from itertools import product

from ..families.translation.onnx_graph import build_graph
from ..spaces.genes import ArchConfig, SearchSpace
from ..spaces.spec import Precision, Workload
from .onnx.initializers import ExternalInitializers, InitializerSource, NoInitializers
from .quantize import SCHEMES, PrecisionScheme, matrix_bytes, table_bytes

_LENGTH_PENALTY = 0.6  # a number like any other to the clock


def build_candidate(
    arch: ArchConfig, space: SearchSpace, vocab_size: int, workload: Workload
) -> bytes:
    """Build the model of a subnet whose weights are external data in `weights.bin` beside it.

    It computes what an exported subnet of this architecture computes, node for node, and so takes
    the same time.

    Raises
    ------
    ArchError
        If the architecture is not in the space.
    """
    return _build(arch, space, vocab_size, workload, ExternalInitializers())


def candidate_weights_bytes(space: SearchSpace, vocab_size: int, workload: Workload) -> int:
    """Length of a `weights.bin` that serves every subnet of the space."""
    sizes = []
    for encoder_dim, decoder_dim in product(space.encoder_embed_dim, space.decoder_embed_dim):
        widths = {"encoder_embed_dim": encoder_dim, "decoder_embed_dim": decoder_dim}
        skeleton = ExternalInitializers()
        _build(space.largest.model_copy(update=widths), space, vocab_size, workload, skeleton)
        sizes.append(skeleton.size_bytes)
    return max(sizes)


def bundle_bytes(
    arch: ArchConfig, space: SearchSpace, vocab_size: int, precision: Precision, beam: int = 1
) -> int:
    """Size of the `model.onnx` that an export of this subnet would write, within one percent;
    tokenizer not included.

    The weights are counted; what the nodes take is that of the largest subnet as deep as this one,
    built once.
    """
    depths = len(arch.encoder_layers), len(arch.decoder_layers)
    nodes = _bytes_without_weights(space, *depths, vocab_size, precision, beam)
    return nodes + _weight_bytes(arch, space, vocab_size, SCHEMES[precision], beam)


def _weight_bytes(
    arch: ArchConfig, space: SearchSpace, vocab_size: int, scheme: PrecisionScheme, beam: int
) -> int:
    e, d, q = arch.encoder_embed_dim, arch.decoder_embed_dim, space.qkv_dim
    once: list[tuple[int, int]] = []  # inputs and outputs of each linear layer
    for encoder in arch.encoder_layers:
        once += [(e, 3 * q), (q, e), (e, encoder.ffn_dim), (encoder.ffn_dim, e)]
    step: list[tuple[int, int]] = []
    for decoder in arch.decoder_layers:
        once += [(e, 2 * q)]
        step += [(d, 3 * q), (q, d), (d, q), (q, d), (d, decoder.ffn_dim), (decoder.ffn_dim, d)]
    norms = 4 * e * len(arch.encoder_layers) + 6 * d * len(arch.decoder_layers)
    norms += 2 * (e + d) if space.norm == "pre" else 0
    biases = sum(outputs for _, outputs in once + step)
    matrices = sum(matrix_bytes(*shape, scheme.encoder) for shape in once)
    matrices += sum(matrix_bytes(*shape, scheme.step_format(beam)) for shape in step)
    parts = [d, e - d] if e > d else [d]
    return (
        4 * (norms + biases)
        + matrices
        + sum(table_bytes(vocab_size, part, scheme.table) for part in parts)
    )


@lru_cache(maxsize=256)
def _bytes_without_weights(
    space: SearchSpace,
    encoder_depth: int,
    decoder_depth: int,
    vocab_size: int,
    precision: Precision,
    beam: int,
) -> int:
    row = space.to_genes(space.largest)
    row[space.gene_slices["encoder_layers"]] = encoder_depth
    row[space.gene_slices["decoder_layers"]] = decoder_depth
    workload = Workload(precision=precision, beam=beam)
    return len(_build(space.from_genes(row), space, vocab_size, workload, NoInitializers()))


def _build(
    arch: ArchConfig,
    space: SearchSpace,
    vocab_size: int,
    workload: Workload,
    weights: InitializerSource,
) -> bytes:
    model = build_graph(
        arch,
        space,
        vocab_size,
        weights,
        beam=workload.beam,
        length_penalty=_LENGTH_PENALTY,
        precision=workload.precision,
        max_positions=max(workload.source_len, workload.decode_steps),
    )
    return bytes(model.SerializeToString())
