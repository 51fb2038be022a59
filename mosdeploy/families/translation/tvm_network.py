"""The network of a translation as a Relax module: `encode`, a source to the keys and values of the
cross-attentions, and `step`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax, tirx

from ...export.tvm import TILE_ROWS, Packed, kernels
from ...export.tvm.kernels import LinearShape
from ...spaces.translation import DecoderLayerConfig, TranslationArch, TranslationSpace

POSITIONS_NAME = "sinusoids"
TABLE_NAME = "table"
"""As `tvm.pack_weights` calls them."""

Var = Any


@dataclass(frozen=True)
class NetworkSpec:
    """The network of a module: an architecture of a space, on packed weights, so many hypotheses a
    step.
    """

    arch: TranslationArch
    space: TranslationSpace
    packed: Packed
    beam: int


def build_module(spec: NetworkSpec) -> Any:
    """Build the module."""
    builder = relax.BlockBuilder()
    network = _Network(builder, spec)
    network.encode()
    network.step()
    return builder.finalize()


@dataclass
class _Rows:
    """A residual sum of shape (M, R, D) and what the next sublayer reads of it."""

    total: Var
    reads: Var


@dataclass(frozen=True)
class _StepInputs:
    """Inputs of a decode step beside tokens and weights."""

    parent: Var
    length: Var
    caches: Var
    memories: Var
    num_steps: Any


class _Network:
    """Emits the functions; kernels that are the same are stored once."""

    def __init__(self, builder: Any, spec: NetworkSpec) -> None:
        self._builder = builder
        self._arch = spec.arch
        self._space = spec.space
        self._packed = spec.packed
        self._beam = spec.beam
        self._kernels: dict[tuple[object, ...], Any] = {}
        self._weights: dict[str, Var] = {}
        self._tiles: int | None = None
        self._shape_tiles: Any = None
        self._rows = 0

    # -- the two functions -------------------------------------------------------------------------

    def encode(self) -> None:
        """Emit `encode`, for a number of tiles that only a run tells."""
        self._tiles = None
        self._shape_tiles = tirx.Var("tiles", "int64")
        self._rows = TILE_ROWS
        ids = relax.Var("ids", relax.TensorType((self._shape_tiles, TILE_ROWS), "int32"))
        length = _integer("length")
        start = _integer("start")
        weights = self._weights_var()
        with self._builder.function("encode", [ids, length, start, weights]):
            self._read_weights(weights)
            outputs = self._encoder_layers(ids, length, start)
            # each decoder layer reads the outputs of the last `cross_span` encoder layers
            memories = [
                self._cross_memory(i, outputs[-layer.cross_span :])
                for i, layer in enumerate(self._arch.decoder_layers)
            ]
            self._builder.emit_func_output(relax.Tuple(memories))

    def step(self) -> None:
        """Emit `step`: one tile with a row for each hypothesis."""
        self._tiles = 1
        self._shape_tiles = 1
        self._rows = self._beam
        tokens = relax.Var("tokens", relax.TensorType((1, self._beam), "int32"))
        position = _integer("position")
        inputs = self._step_inputs()
        weights = self._weights_var()
        arguments = [tokens, position, inputs.parent, inputs.length]
        arguments += [inputs.caches, inputs.memories, weights]
        with self._builder.function("step", arguments):
            self._read_weights(weights)
            stream = self._start("decoder", tokens, position, dim=self._arch.decoder_embed_dim)
            caches: list[Var] = []
            for i, layer in enumerate(self._arch.decoder_layers):
                caches += self._decoder_layer(i, layer, stream=stream, inputs=inputs)
            logits = self._linear(TABLE_NAME, stream.reads, bias=False)  # (1, R, V')
            self._builder.emit_func_output(relax.Tuple([logits, relax.Tuple(caches)]))

    # -- layers ------------------------------------------------------------------------------------

    def _encoder_layers(self, ids: Var, length: Var, start: Var) -> list[Var]:
        """Outputs of all encoder layers, normed as the decoder reads them, (M, 8, D)."""
        q = self._space.qkv_dim
        layers = self._arch.encoder_layers
        stream = self._start("encoder", ids, start, dim=self._arch.encoder_embed_dim)
        outputs = []
        for i, layer in enumerate(layers):
            key = f"encoder.layers.{i}"
            qkv = self._linear(f"{key}.self_attn.qkv", stream.reads)  # (M, 8, 3Q)
            attend = self._kernel(kernels.encoder_attention, self._tiles, q, layer.heads)
            mixed = self._call(attend, [qkv, length], (self._shape_tiles, TILE_ROWS, q))
            norms = (f"{key}.self_attn_norm", f"{key}.ffn_norm")
            self._add(stream, f"{key}.self_attn.out", mixed, norms=norms)
            is_last = i == len(layers) - 1
            following = "encoder.norm" if is_last else f"encoder.layers.{i + 1}.self_attn_norm"
            self._feed_forward(stream, key, following)
            # pre-norm: an inner layer's output is normed with the final norm, as the last one's is
            normed = is_last or not self._space.pre_norm
            outputs.append(stream.reads if normed else self._norm("encoder.norm", stream.total))
        return outputs

    def _decoder_layer(
        self, index: int, layer: DecoderLayerConfig, *, stream: _Rows, inputs: _StepInputs
    ) -> list[Var]:
        """Take the rows through one layer; give its caches, one step longer, (R, T + 1, Q)."""
        q = self._space.qkv_dim
        rows = self._rows
        key = f"decoder.layers.{index}"
        norms = (f"{key}.self_attn_norm", f"{key}.cross_attn_norm", f"{key}.ffn_norm")
        qkv = self._linear(f"{key}.self_attn.qkv", stream.reads)  # (1, R, 3Q)
        caches = []
        for part in (0, 1):  # keys, values; they stand behind the queries
            append = self._kernel(kernels.append, rows, q, (part + 1) * q)
            arguments = [relax.TupleGetItem(inputs.caches, 2 * index + part), inputs.parent, qkv]
            caches.append(self._call(append, arguments, (rows, inputs.num_steps + 1, q)))
        attend = self._kernel(kernels.step_attention, rows, q, layer.self_heads)
        mixed = self._call(attend, [qkv, *caches], (1, rows, q))
        self._add(stream, f"{key}.self_attn.out", mixed, norms=norms[:2])
        query = self._linear(f"{key}.cross_attn.q", stream.reads)  # (1, R, Q)
        heads = (layer.cross_heads, layer.cross_span)
        attend = self._kernel(kernels.cross_attention, rows, q, *heads)
        memory = relax.TupleGetItem(inputs.memories, index)
        mixed = self._call(attend, [query, memory, inputs.length], (1, rows, q))
        self._add(stream, f"{key}.cross_attn.out", mixed, norms=norms[1:])
        is_last = index == len(self._arch.decoder_layers) - 1
        following = "decoder.norm" if is_last else f"decoder.layers.{index + 1}.self_attn_norm"
        self._feed_forward(stream, key, following)
        return caches

    def _step_inputs(self) -> _StepInputs:
        q = self._space.qkv_dim
        layers = self._arch.decoder_layers
        num_steps = tirx.Var("steps", "int64")
        cache = relax.TensorType((self._beam, num_steps, q), "float32")
        # layers of the same span read memories of the same length
        tiles = {layer.cross_span: tirx.Var("tiles", "int64") for layer in layers}
        memories = [
            relax.TensorType((tiles[layer.cross_span], TILE_ROWS, 2 * q), "float32")
            for layer in layers
        ]
        return _StepInputs(
            parent=relax.Var("parent", relax.TensorType((self._beam,), "int32")),
            length=_integer("length"),
            caches=relax.Var("caches", relax.TupleType([cache] * 2 * len(layers))),
            memories=relax.Var("memories", relax.TupleType(memories)),
            num_steps=num_steps,
        )

    def _start(self, side: str, ids: Var, position: Var, *, dim: int) -> _Rows:
        """Embed ids, from `position` on; give the stream before the first layer."""
        table = self._shape(TABLE_NAME, dim)
        num_positions = self._packed[POSITIONS_NAME].shape[0]
        kernel = self._kernel(
            kernels.embed,
            *(self._tiles, self._rows, dim, table, num_positions),
            same_position=side == "decoder",
        )
        arguments = [ids, position, *self._matrix(TABLE_NAME), self._weights[POSITIONS_NAME]]
        x = self._call(kernel, arguments, (self._shape_tiles, self._rows, dim))
        first_norm = f"{side}.layers.0.self_attn_norm"
        return _Rows(x, self._norm(first_norm, x) if self._space.pre_norm else x)

    def _add(self, stream: _Rows, linear: str, x: Var, *, norms: Sequence[str]) -> None:
        """Add a sublayer's last linear layer to the residual sum, and norm the sum for the next
        sublayer.
        """
        own, following = norms
        total = self._linear(linear, x, residual=stream.total)
        stream.reads = self._norm(following if self._space.pre_norm else own, total)
        stream.total = total if self._space.pre_norm else stream.reads

    def _feed_forward(self, stream: _Rows, key: str, following: str) -> None:
        inner = self._linear(f"{key}.fc1", stream.reads, relu=True)
        self._add(stream, f"{key}.fc2", inner, norms=(f"{key}.ffn_norm", following))

    def _cross_memory(self, index: int, outputs: Sequence[Var]) -> Var:
        """Keys and values of one cross-attention, (span * M, 8, 2Q)."""
        key = f"decoder.layers.{index}.cross_attn.kv"
        # one by one: tiles of the outputs, all padded alike, then follow one another
        parts = [self._linear(key, output) for output in outputs]
        return parts[0] if len(parts) == 1 else self._builder.emit(relax.op.concat(parts, axis=0))

    def _norm(self, key: str, x: Var) -> Var:
        dim = self._packed[f"{key}.weight"].shape[0]
        epsilon = self._space.norm_epsilon
        kernel = self._kernel(kernels.layer_norm, self._tiles, self._rows, dim, epsilon)
        arguments = [x, self._weights[f"{key}.weight"], self._weights[f"{key}.bias"]]
        return self._call(kernel, arguments, (self._shape_tiles, self._rows, dim))

    def _linear(
        self,
        key: str,
        x: Var,
        *,
        bias: bool = True,
        relu: bool = False,
        residual: Var | None = None,
    ) -> Var:
        shape = self._shape(key, int(x.ty.shape[2]))
        kernel = self._kernel(
            kernels.linear, shape, bias=bias, relu=relu, residual=residual is not None
        )
        arguments = [x, *self._matrix(key)]
        arguments += [self._weights[f"{key}.bias"]] if bias else []
        arguments += [residual] if residual is not None else []
        return self._call(kernel, arguments, (self._shape_tiles, self._rows, shape.num_outputs))

    # -- weights and kernels -----------------------------------------------------------------------

    def _shape(self, key: str, num_inputs: int) -> LinearShape:
        num_panels, stored_inputs, panel = self._packed[key].shape
        return LinearShape(
            tiles=self._tiles,
            rows=self._rows,
            num_inputs=num_inputs,
            num_outputs=num_panels * panel,
            panel=panel,
            stored_inputs=stored_inputs,
            quantized=self._packed[key].dtype == np.int8,
        )

    def _matrix(self, key: str) -> list[Var]:
        """A packed matrix, and its scales if it is quantised."""
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
            # TE calls every function `main`; the builder gives each a name of its own
            self._kernels[key] = self._builder.add_func(
                make(*sizes, **options).without_attr("global_symbol"), make.__name__
            )
        return self._kernels[key]

    def _call(self, kernel: Any, arguments: Sequence[Var], shape: tuple[Any, ...]) -> Var:
        return self._builder.emit(
            relax.call_tir(kernel, relax.Tuple(arguments), relax.TensorType(shape, "float32"))
        )


def _integer(name: str) -> Var:
    """One int32, as a tensor (1,)."""
    return relax.Var(name, relax.TensorType((1,), "int32"))
