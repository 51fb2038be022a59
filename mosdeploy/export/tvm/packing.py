"""TrainedRun weights as the kernels read them.

In: a subnet's state dict. Out: arrays by name, in the order in which the library takes them. This
file knows no TVM.
"""

from math import gcd

import numpy as np
import numpy.typing as npt

from ...spaces.genes import ArchConfig, SearchSpace
from ..onnx.initializers import Array, Lookup
from ..quantize import LARGEST_CODE, quantize_columns

PANEL = 32
"""Columns of a weight matrix that are stored side by side."""

Packed = dict[str, npt.NDArray[np.generic]]


def panel_width(num_outputs: int) -> int:
    """Columns a panel: `PANEL`, or the largest power of two below it that divides the columns."""
    return gcd(num_outputs, PANEL)


def pack_panels(matrix: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Turn (K, N) into (N / P, K, P): panels of P columns, each contiguous."""
    num_inputs, num_outputs = matrix.shape
    width = panel_width(num_outputs)
    panels = matrix.reshape(num_inputs, num_outputs // width, width).transpose(1, 0, 2)
    return np.ascontiguousarray(panels)


def pack_weights(
    lookup: Lookup,
    arch: ArchConfig,
    space: SearchSpace,
    vocab_size: int,
    num_positions: int,
    quantized: bool,
) -> Packed:
    """Pack all weights of a subnet.

    The table is filled up with zeros to whole panels: its logits, past the vocabulary, are zero.

    Parameters
    ----------
    lookup
        Gives a weight by name and shape, or raises ExportError.
    quantized
        Matrices as int8 codes and a float32 scale for each output, else float32.
    """
    return _Packer(lookup, space, quantized).pack(arch, vocab_size, num_positions)


def position_table(num_positions: int, num_columns: int, dim: int) -> Array:
    """Interleaved sinusoids, sin at even columns, cos at odd (Vaswani et al., 2017).

    Parameters
    ----------
    num_positions, num_columns
        Shape of the result, float32.
    dim
        Width that sets the frequencies, exp(-2i * ln(10000) / dim); at least `num_columns`.
    """
    frequency = np.exp(np.arange(0, dim, 2) * (-np.log(10_000.0) / dim))
    angle = np.arange(num_positions)[:, None] * frequency
    table = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(num_positions, -1)
    return table[:, :num_columns].astype(np.float32)


class _Packer:
    def __init__(self, lookup: Lookup, space: SearchSpace, quantized: bool) -> None:
        self._get, self._space, self._quantized = lookup, space, quantized
        self._packed: Packed = {}

    def pack(self, arch: ArchConfig, vocab_size: int, num_positions: int) -> Packed:
        widths = arch.encoder_embed_dim, arch.decoder_embed_dim
        dim = max(*self._space.encoder_embed_dim, *self._space.decoder_embed_dim)
        self._packed["sinusoids"] = position_table(
            num_positions, max(widths), dim
        )  # first and second: the runtime
        table = self._get("embed.weight", (vocab_size, max(widths)))  # looks how long they are
        self._matrix("table", np.pad(table, ((0, -vocab_size % PANEL), (0, 0))).T)
        width, q = widths[0], self._space.qkv_dim
        for i, layer in enumerate(arch.encoder_layers):
            self._attention(f"encoder.layers.{i}.self_attn", "qkv", width, width)
            self._feed_forward(f"encoder.layers.{i}", width, layer.ffn_dim)
        for i, step in enumerate(arch.decoder_layers):
            self._attention(f"decoder.layers.{i}.self_attn", "qkv", widths[1], widths[1])
            self._attention(f"decoder.layers.{i}.cross_attn", "q", widths[1], widths[1])
            self._linear(f"decoder.layers.{i}.cross_attn", "kv", width, q)
            self._feed_forward(f"decoder.layers.{i}", widths[1], step.ffn_dim)
        if self._space.norm == "pre":
            self._norm("encoder.norm", widths[0])
            self._norm("decoder.norm", widths[1])
        return self._packed

    def _attention(self, owner: str, parts: str, width: int, norm_width: int) -> None:
        self._linear(owner, parts, width, self._space.qkv_dim)
        self._linear(owner, ("out",), self._space.qkv_dim, width)
        self._norm(f"{owner}_norm", norm_width)

    def _feed_forward(self, owner: str, width: int, ffn_dim: int) -> None:
        self._linear(owner, ("fc1",), width, ffn_dim)
        self._linear(owner, ("fc2",), ffn_dim, width)
        self._norm(f"{owner}.ffn_norm", width)

    def _linear(
        self, owner: str, names: tuple[str, ...] | str, num_inputs: int, num_outputs: int
    ) -> None:
        """Several linear layers of the same input, side by side."""
        key = f"{owner}.{''.join(names)}"
        shape = (num_outputs, num_inputs)
        self._matrix(
            key, np.concatenate([self._get(f"{owner}.{name}.weight", shape) for name in names]).T
        )
        biases = [self._get(f"{owner}.{name}.bias", (num_outputs,)) for name in names]
        self._packed[f"{key}.bias"] = np.concatenate(biases)

    def _matrix(self, key: str, matrix: Array) -> None:
        if self._quantized:
            codes, scales = quantize_columns(matrix, LARGEST_CODE)
            self._packed[key] = pack_panels(codes)
            self._packed[f"{key}.scales"] = scales
        else:
            self._packed[key] = pack_panels(matrix)

    def _norm(self, key: str, width: int) -> None:
        for part in ("weight", "bias"):
            self._packed[f"{key}.{part}"] = self._get(f"{key}.{part}", (width,))
