"""Encoders: BERT-like networks, and what they cost."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from .encoder_choices import BertLayerConfig, EncoderArch, EncoderChoices
from .encoder_features import FEATURE_NAMES, LayerWidths, latency_features
from .encoder_workload import EncoderWorkload
from .genes import ArchConfig
from .spec import (
    AttentionSize,
    FloatArray,
    Inventory,
    Product,
    Rows,
    StageInput,
    TimingStage,
    Workload,
    ffn_activations,
)


class EncoderSpace(EncoderChoices):
    """All encoders that one supernet holds, with what each costs."""

    feature_names: ClassVar[tuple[str, ...]] = FEATURE_NAMES
    num_core_features: ClassVar[int] = 4
    overhead_features: ClassVar[tuple[str, ...]] = ("constant", "layers")

    # -- costs

    def inventory(self, arch: ArchConfig, vocab_size: int, workload: Workload) -> Inventory:
        """What an architecture holds and computes for one batch of texts."""
        # the engine hands over what it does not know; these tell the type checker which it is
        assert isinstance(arch, EncoderArch)
        assert isinstance(workload, EncoderWorkload)
        d = arch.embed_dim
        t = self.table_dim or d
        rows = workload.batch * workload.input_len
        products: list[Product] = []
        if self.table_dim is not None:
            products.append(Product("embed_project", "encoder", rows, t, d))
        for i, layer in enumerate(arch.layers):
            read = self._num_read(i, arch, workload)
            products += self._layer_products(f"layers.{i}", d, layer, workload, read)
        products += self._head_products(d, vocab_size, workload)
        norms = (t, *(layer.dim or d for layer in arch.layers for _ in range(2)))
        small_tables = (self.max_positions * t, self.num_types * t)
        biases = 0
        if self.head == "masked-lm":
            norms = (*norms, t)
            biases = vocab_size  # of the logits, which multiply by the table
        return Inventory(
            products=tuple(products),
            norm_widths=norms,
            table_parts=(t,),
            vocab_size=vocab_size,
            num_other=sum(small_tables) + biases,
            num_activations=self._num_activations(arch, vocab_size, workload),
        )

    def _num_activations(
        self, arch: EncoderArch, vocab_size: int, workload: EncoderWorkload
    ) -> int:
        """Most numbers that are held at one time: those of one sublayer, or of the logits of masked
        tokens, which are there before and after their bias is added.
        """
        batch = workload.batch
        length = workload.input_len
        is_alone = workload.precision != "fp32"
        kept = 2 * batch * length * arch.embed_dim if is_alone and batch > 1 else 0
        num_together = 1 if is_alone else batch
        num_scored = 3 * batch if workload.padding == "kept" else 1
        held = []
        for i, layer in enumerate(arch.layers):
            dim = layer.dim or arch.embed_dim
            read = self._num_read(i, arch, workload) // batch
            attention = AttentionSize(
                num_positions=length,
                num_read=read,
                num_attended=length,
                heads=layer.heads,
                qkv_dim=self.attention_dim(dim, layer.heads),
            )
            sublayers = (
                num_together * attention.num_states(dim) + num_scored * attention.num_scores,
                num_together * ffn_activations(read, dim, layer.ffn_dim),
            )
            held.append(kept + max(sublayers))
        if self.head == "masked-lm":
            held.append(batch * length * ((self.table_dim or arch.embed_dim) + 2 * vocab_size))
        return max(held)

    def _num_read(self, i: int, arch: EncoderArch, workload: EncoderWorkload) -> int:
        """Positions that are read of a layer's output: all, or the first of each text."""
        is_last = i == len(arch.layers) - 1
        return workload.batch * (1 if self.reads_first and is_last else workload.input_len)

    def _layer_products(
        self, name: str, outer: int, layer: BertLayerConfig, workload: EncoderWorkload, read: int
    ) -> Sequence[Product]:
        s = workload.input_len
        d = layer.dim or outer
        q = self.attention_dim(d, layer.heads)
        rows = workload.batch * s
        products = (
            Product(f"{name}.self_attn.q", "encoder", read, d, q),
            Product(f"{name}.self_attn.kv", "encoder", rows, d, 2 * q),
            Product(f"{name}.self_attn.scores", "encoder", read, q, s, "activation"),
            Product(f"{name}.self_attn.values", "encoder", read, s, q, "activation"),
            Product(f"{name}.self_attn.out", "encoder", read, q, d),
            Product(f"{name}.fc1", "encoder", read, d, layer.ffn_dim),
            Product(f"{name}.fc2", "encoder", read, layer.ffn_dim, d),
        )
        if layer.dim is None:
            return products
        narrow = Product(f"{name}.narrow", "encoder", rows, outer, d)
        return (narrow, *products, Product(f"{name}.widen", "encoder", read, d, outer))

    def _head_products(
        self, d: int, vocab_size: int, workload: EncoderWorkload
    ) -> Sequence[Product]:
        rows = workload.batch * workload.input_len
        if self.head == "pooled":
            return (
                Product("head.dense", "encoder", workload.batch, d, d),
                Product("head.out", "encoder", workload.batch, d, self.num_outputs),
            )
        if self.head == "tokens":
            return (Product("head.out", "encoder", rows, d, self.num_outputs),)
        if self.head == "masked-lm":
            t = self.table_dim or d
            return (
                Product("head.dense", "encoder", rows, d, t),
                Product("logits", "encoder", rows, t, vocab_size, "shared"),
            )
        return ()

    # -- latency

    def latency_features(self, sums: FloatArray, vocab_size: int, workload: Workload) -> FloatArray:
        """What costs time in one run, from sums over layers (N, A) in the order of `mean_order`:
        each encoder as if all its layers were their mean, and counted in full.
        """
        columns = dict(zip(self.mean_names, sums.T[:, :, None], strict=True))  # each (N, 1)
        depth = columns["layers"]
        means = {name: columns[name] / depth for name in columns if name != "embed_dim"}
        means["embed_dim"] = columns["embed_dim"]
        assert isinstance(workload, EncoderWorkload)
        reads_first = np.zeros((1, 1), np.bool_)
        return latency_features(self._widths(means, depth, reads_first), workload)

    def latency_features_of_genes(
        self, genes: Rows, vocab_size: int, workload: Workload
    ) -> FloatArray:
        """The same from gene rows (N, G), layer by layer, and for a head that reads the first
        position without what the last layer spares: all others need keys and values there, and
        nothing else.
        """
        rows = self._full_widths(genes)
        columns = {name: rows[:, part] for name, part in self.gene_slices.items()}  # (N, 1 or L)
        numbers = np.arange(1, max(self.layers) + 1)  # (L,)
        exists = (numbers <= columns["layers"]).astype(np.float64)  # (N, L)
        is_last = (numbers == columns["layers"]) & self.reads_first  # (N, L)
        assert isinstance(workload, EncoderWorkload)
        return latency_features(self._widths(columns, exists, is_last), workload)

    def _widths(
        self, columns: dict[str, FloatArray], counts: FloatArray, reads_first: npt.NDArray[np.bool_]
    ) -> LayerWidths:
        """From the choices by name, each (N, 1) or (N, L)."""
        dim = columns.get("layer_dim", columns["embed_dim"])
        return LayerWidths(
            counts=counts,
            dim=dim,
            attention_dim=dim if self.head_dim is None else self.head_dim * columns["heads"],
            ffn_dim=columns["ffn_dim"],
            heads=columns["heads"],
            outer_dim=None if self.layer_dim is None else columns["embed_dim"],
            reads_first=reads_first,
        )

    def timing_stages(self, vocab_size: int, workload: Workload) -> tuple[TimingStage, ...]:
        """The whole model, once."""
        assert isinstance(workload, EncoderWorkload)
        shape = (workload.batch, workload.input_len)
        inputs = [
            StageInput(name="input_ids", shape=shape, high=vocab_size),
            StageInput(name="attention_mask", shape=shape, value=1),
        ]
        if self.num_types:
            inputs.append(StageInput(name="token_type_ids", shape=shape, value=0))
        return (TimingStage(name="total", inputs=tuple(inputs)),)
