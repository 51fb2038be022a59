"""The network as a Relax module: `encode`, a source to the keys and values of the cross-attentions,
and `step`.

In: an architecture and the packed weights' shapes. Out: an `IRModule` of unscheduled kernels and
the two functions. The search over what `step` answers is not here.

    encode(ids (M, 8), length (1,), start (1,), weights) -> keys and values of each decoder layer
    (span * M, 8, 2Q) step(tokens (1, R), position (1,), parent (R,), length (1,), caches, memories,
    weights) -> logits (1, R, V'), caches

Integers are int32. M tiles of 8 positions hold the source and its end token, padded with zeros;
`length` counts what is real, `start` is zero. R is the number of hypotheses. Each layer has two
caches (R, T, Q), at first T = 0; `parent` says which hypothesis each continues. V' is the
vocabulary, filled up to a whole panel.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax, tirx

from ...export.onnx.blocks import LAYER_NORM_EPSILON
from ...export.tvm import kernels
from ...export.tvm.kernels import TILE_ROWS, LinearShape
from ...export.tvm.packing import Packed
from ...spaces.translation import TranslationArch, TranslationSpace

Var = Any


def build_module(
    arch: TranslationArch,
    space: TranslationSpace,
    packed: Packed,
    rows: int,
    lengths: Sequence[int],
) -> Any:
    """Build the module.

    Parameters
    ----------
    rows
        Hypotheses of a step, R.
    lengths
        Multiples of 8: padded source lengths that get an `encode_LENGTH` of their own, whose
        kernels know M.
    """
    builder = relax.BlockBuilder()
    network = _Network(builder, arch, space, packed, rows)
    network.encode(None)
    for length in lengths:
        network.encode(length // TILE_ROWS)
    network.step()
    return builder.finalize()


@dataclass
class _Rows:
    """A residual sum of shape (M, R, D) and what the next sublayer reads of it."""

    total: Var
    reads: Var


class _Network:
    """Emits the functions; kernels that are the same are stored once."""

    def __init__(
        self,
        builder: Any,
        arch: TranslationArch,
        space: TranslationSpace,
        packed: Packed,
        rows: int,
    ) -> None:
        self._builder, self._arch, self._space, self._packed, self._rows = (
            builder,
            arch,
            space,
            packed,
            rows,
        )
        self._kernels: dict[tuple[object, ...], Any] = {}
        self._weights: dict[str, Var] = {}
        self._tiles: int | None = None
        self._shape_tiles: Any = None

    @property
    def _pre(self) -> bool:
        return self._space.norm == "pre"

    # -- the two functions
    # ---------------------------------------------------------------------------------------------

    def encode(self, tiles: int | None) -> None:
        """Emit `encode`, or, for a known number of tiles, `encode_LENGTH`."""
        self._tiles, rows = tiles, TILE_ROWS
        self._shape_tiles = tirx.Var("tiles", "int64") if tiles is None else tiles
        ids = relax.Var("ids", relax.TensorType((self._shape_tiles, rows), "int32"))
        length, start = (
            relax.Var(name, relax.TensorType((1,), "int32")) for name in ("length", "start")
        )
        weights = self._weights_var()
        name = "encode" if tiles is None else f"encode_{tiles * rows}"
        with self._builder.function(name, [ids, length, start, weights]):
            self._read_weights(weights)
            dim, q = self._arch.encoder_embed_dim, self._space.qkv_dim
            stream = self._start("encoder", ids, start, rows, dim)
            outputs = []
            for i, layer in enumerate(self._arch.encoder_layers):
                key = f"encoder.layers.{i}"
                qkv = self._linear(f"{key}.self_attn.qkv", stream.reads, rows)
                attend = self._kernel(kernels.encoder_attention, self._tiles, q, layer.heads)
                mixed = self._call(attend, [qkv, length], (self._shape_tiles, rows, q))
                self._add(
                    stream,
                    f"{key}.self_attn.out",
                    mixed,
                    rows,
                    f"{key}.self_attn_norm",
                    f"{key}.ffn_norm",
                )
                last = i == len(self._arch.encoder_layers) - 1
                following = "encoder.norm" if last else f"encoder.layers.{i + 1}.self_attn_norm"
                self._feed_forward(stream, key, rows, f"{key}.ffn_norm", following)
                outputs.append(
                    stream.reads
                    if last or not self._pre
                    else self._norm("encoder.norm", stream.total, rows)
                )
            memories = [
                self._cross_memory(i, outputs[-layer.cross_span :])
                for i, layer in enumerate(self._arch.decoder_layers)
            ]
            self._builder.emit_func_output(relax.Tuple(memories))

    def step(self) -> None:
        """Emit `step`."""
        self._tiles = self._shape_tiles = 1
        rows, q, layers = self._rows, self._space.qkv_dim, self._arch.decoder_layers
        tokens = relax.Var("tokens", relax.TensorType((1, rows), "int32"))
        position, length = (
            relax.Var(name, relax.TensorType((1,), "int32")) for name in ("position", "length")
        )
        parent = relax.Var("parent", relax.TensorType((rows,), "int32"))
        steps = tirx.Var("steps", "int64")
        caches = relax.Var(
            "caches",
            relax.TupleType([relax.TensorType((rows, steps, q), "float32")] * 2 * len(layers)),
        )
        tiles = {layer.cross_span: tirx.Var("tiles", "int64") for layer in layers}
        shapes = [(tiles[layer.cross_span], TILE_ROWS, 2 * q) for layer in layers]
        memories = relax.Var(
            "memories", relax.TupleType([relax.TensorType(shape, "float32") for shape in shapes])
        )
        weights = self._weights_var()
        with self._builder.function(
            "step", [tokens, position, parent, length, caches, memories, weights]
        ):
            self._read_weights(weights)
            stream = self._start("decoder", tokens, position, rows, self._arch.decoder_embed_dim)
            grown: list[Var] = []
            for i, layer in enumerate(layers):
                key = f"decoder.layers.{i}"
                qkv = self._linear(f"{key}.self_attn.qkv", stream.reads, rows)
                for part in (0, 1):
                    put = self._kernel(kernels.append, rows, q, (part + 1) * q)
                    arguments = [relax.TupleGetItem(caches, 2 * i + part), parent, qkv]
                    grown.append(self._call(put, arguments, (rows, steps + 1, q)))
                attend = self._kernel(kernels.step_attention, rows, q, layer.self_heads)
                mixed = self._call(attend, [qkv, *grown[-2:]], (1, rows, q))
                norms = (f"{key}.self_attn_norm", f"{key}.cross_attn_norm", f"{key}.ffn_norm")
                self._add(stream, f"{key}.self_attn.out", mixed, rows, *norms[:2])
                query = self._linear(f"{key}.cross_attn.q", stream.reads, rows)
                attend = self._kernel(
                    kernels.cross_attention, rows, q, layer.cross_heads, layer.cross_span
                )
                mixed = self._call(
                    attend, [query, relax.TupleGetItem(memories, i), length], (1, rows, q)
                )
                self._add(stream, f"{key}.cross_attn.out", mixed, rows, *norms[1:])
                last = i == len(layers) - 1
                following = "decoder.norm" if last else f"decoder.layers.{i + 1}.self_attn_norm"
                self._feed_forward(stream, key, rows, norms[2], following)
            logits = self._linear("table", stream.reads, rows, bias=False)
            self._builder.emit_func_output(relax.Tuple([logits, relax.Tuple(grown)]))

    # -- layers ------------------------------------------------------------------------------------
    # --------------------

    def _start(self, side: str, ids: Var, position: Var, rows: int, dim: int) -> _Rows:
        table = self._shape("table", dim, rows)
        num_positions = self._packed["sinusoids"].shape[0]
        kernel = self._kernel(kernels.embed, self._tiles, rows, dim, table, num_positions)
        arguments = [ids, position, *self._matrix("table"), self._weights["sinusoids"]]
        x = self._call(kernel, arguments, (self._shape_tiles, rows, dim))
        return _Rows(x, self._norm(f"{side}.layers.0.self_attn_norm", x, rows) if self._pre else x)

    def _add(
        self, stream: _Rows, linear: str, x: Var, rows: int, own_norm: str, next_norm: str
    ) -> None:
        """Add a sublayer's last linear layer to the residual sum, and norm the sum for the next
        sublayer.
        """
        total = self._linear(linear, x, rows, residual=stream.total)
        stream.reads = self._norm(next_norm if self._pre else own_norm, total, rows)
        stream.total = total if self._pre else stream.reads

    def _feed_forward(
        self, stream: _Rows, key: str, rows: int, own_norm: str, next_norm: str
    ) -> None:
        inner = self._linear(f"{key}.fc1", stream.reads, rows, relu=True)
        self._add(stream, f"{key}.fc2", inner, rows, own_norm, next_norm)

    def _cross_memory(self, index: int, outputs: Sequence[Var]) -> Var:
        key = f"decoder.layers.{index}.cross_attn.kv"
        parts = [self._linear(key, output, TILE_ROWS) for output in outputs]
        return parts[0] if len(parts) == 1 else self._builder.emit(relax.op.concat(parts, axis=0))

    def _norm(self, key: str, x: Var, rows: int) -> Var:
        dim = self._packed[f"{key}.weight"].shape[0]
        kernel = self._kernel(kernels.layer_norm, self._tiles, rows, dim, LAYER_NORM_EPSILON)
        arguments = [x, self._weights[f"{key}.weight"], self._weights[f"{key}.bias"]]
        return self._call(kernel, arguments, (self._shape_tiles, rows, dim))

    def _linear(
        self,
        key: str,
        x: Var,
        rows: int,
        bias: bool = True,
        relu: bool = False,
        residual: Var | None = None,
    ) -> Var:
        shape = self._shape(key, int(x.ty.shape[2]), rows)
        kernel = self._kernel(
            kernels.linear, shape, bias=bias, relu=relu, residual=residual is not None
        )
        arguments = [x, *self._matrix(key), *([self._weights[f"{key}.bias"]] if bias else [])]
        arguments += [residual] if residual is not None else []
        return self._call(kernel, arguments, (self._shape_tiles, rows, shape.num_outputs))

    # -- weights and kernels
    # -------------------------------------------------------------------------------------------

    def _shape(self, key: str, num_inputs: int, rows: int) -> LinearShape:
        panels, stored, panel = self._packed[key].shape
        quantized = self._packed[key].dtype == np.int8
        return LinearShape(self._tiles, rows, num_inputs, panels * panel, panel, stored, quantized)

    def _matrix(self, key: str) -> list[Var]:
        return [self._weights[name] for name in (key, f"{key}.scales") if name in self._weights]

    def _weights_var(self) -> Var:
        types = [relax.TensorType(array.shape, str(array.dtype)) for array in self._packed.values()]
        return relax.Var("weights", relax.TupleType(types))

    def _read_weights(self, weights: Var) -> None:
        self._weights = {
            name: self._builder.emit(relax.TupleGetItem(weights, i))
            for i, name in enumerate(self._packed)
        }

    def _kernel(self, make: Callable[..., Any], *sizes: object, **options: object) -> Any:
        key = (make.__name__, *sizes, *options.items())
        if key not in self._kernels:
            self._kernels[key] = self._builder.add_func(
                make(*sizes, **options).without_attr("global_symbol"), make.__name__
            )
        return self._kernels[key]

    def _call(self, kernel: Any, arguments: Sequence[Var], shape: tuple[Any, ...]) -> Var:
        return self._builder.emit(
            relax.call_tir(kernel, relax.Tuple(arguments), relax.TensorType(shape, "float32"))
        )
