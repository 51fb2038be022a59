"""Encoders: BERT-like architectures, their search spaces and workloads, and what they cost.

In: lists of choices and sizes from a TOML file. Out: `EncoderSpace` with the table of genes, the
inventory of matrix products, the latency features and the timing stage of an encoder with its head.
This file knows no weights.

Shapes in the inventory: B texts, S positions, d hidden width, t table width, q heads * head width.
"""

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from ..errors import ArchError
from ..record import Record
from .costs import Inventory, Product
from .genes import ArchConfig
from .spec import (
    CostedSpace,
    FloatArray,
    Precision,
    Rows,
    StageInput,
    TimingStage,
    Workload,
)
from .table import Choices, Gene

Head = Literal["pooled", "tokens", "vector", "cls-vector", "masked-lm"]
"""What stands on the last layer: a dense layer with tanh and a linear layer on the first token
(BERT's classifier), a linear layer on each token, the normalised mean of all tokens, the normalised
first token, or the prediction of masked tokens by the embedding table.
"""

VECTOR_HEADS: tuple[Head, ...] = ("vector", "cls-vector")


class BertLayerConfig(Record):
    """One layer: FFN width and number of heads."""

    ffn_dim: int = Field(gt=0)
    heads: int = Field(gt=0)


class EncoderArch(ArchConfig):
    """One encoder of a search space; holds only the layers that exist.

    Examples
    --------
    >>> print(EncoderArch(embed_dim=384, layers=(BertLayerConfig(ffn_dim=768, heads=6),)))
    384 [768/6h]
    """

    family: Literal["encoder"] = "encoder"
    embed_dim: int = Field(gt=0)
    layers: tuple[BertLayerConfig, ...] = Field(min_length=1)

    @property
    def is_uniform(self) -> bool:
        """Whether all layers are alike."""
        return len(set(self.layers)) == 1

    def __str__(self) -> str:
        layers = " ".join(f"{layer.ffn_dim}/{layer.heads}h" for layer in self.layers)
        return f"{self.embed_dim} [{layers}]"


class EncoderWorkload(Workload):
    """So many texts of so many tokens at a time."""

    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "int8", "int8-fp32-embedding")

    family: Literal["encoder"] = "encoder"
    name: str = "text"
    input_len: int = Field(32, ge=1, le=4096)
    batch: int = Field(1, ge=1, le=1024)


FEATURE_NAMES = (
    "constant",
    "layers",
    "projection_macs",
    "ffn_macs",
    "score_macs",
    "ffn_width",
    "heads",
)


class EncoderSpace(CostedSpace):
    """All encoders that one supernet holds.

    A head is `head_dim` wide, so that a layer with fewer heads has a narrower attention. What is
    not listed as choices is the same in all of them, and follows from the checkpoint that the
    weights come from.

    Attributes
    ----------
    uniform
        All layers of an architecture are alike, so that a stock class of Hugging Face can hold it,
        if its attention is as wide as the hidden states too.
    table_dim
        Columns of the embedding tables; None for the hidden width. Otherwise a linear layer joins
        them (ELECTRA).
    max_positions
        Rows of the position table: the longest text.
    num_types
        Rows of the table of token types; 0 for none (DistilBERT).
    num_outputs
        Of the head; 0 for vectors and `masked-lm`.
    """

    table: ClassVar[tuple[Gene, ...]] = (
        Gene("embed_dim"),
        Gene("layers", stack="layers"),
        Gene("ffn_dim", stack="layers", field="ffn_dim"),
        Gene("heads", stack="layers", field="heads"),
    )
    arch_type: ClassVar[type[ArchConfig]] = EncoderArch
    layer_types: ClassVar[dict[str, type[Record]]] = {"layers": BertLayerConfig}
    mean_order: ClassVar[tuple[str, ...]] = ("embed_dim", "layers", "ffn_dim", "heads")
    feature_names: ClassVar[tuple[str, ...]] = FEATURE_NAMES
    num_core_features: ClassVar[int] = 4
    overhead_features: ClassVar[tuple[str, ...]] = ("constant", "layers")

    family: Literal["encoder"] = "encoder"
    embed_dim: Choices
    layers: Choices
    ffn_dim: Choices
    heads: Choices
    head_dim: int = Field(gt=0)
    uniform: bool = False
    activation: Literal["gelu", "gelu_tanh", "relu"] = "gelu"
    norm_epsilon: float = Field(1e-12, gt=0, lt=1)
    table_dim: int | None = Field(None, gt=0)
    max_positions: int = Field(512, ge=4, le=4096)
    num_types: int = Field(2, ge=0, le=2)
    head: Head = "pooled"
    num_outputs: int = Field(2, ge=0)

    @model_validator(mode="after")
    def _head_fits(self) -> Self:
        has_outputs = self.head in ("pooled", "tokens")
        if has_outputs != (self.num_outputs > 0):
            raise ValueError(
                f"head '{self.head}' has {'one output or more' if has_outputs else 'no outputs'}, "
                f"not num_outputs = {self.num_outputs}"
            )
        return self

    @property
    def embedding_dim(self) -> int:
        """Columns of the largest embedding tables."""
        return self.table_dim or max(self.embed_dim)

    @property
    def reads_first(self) -> bool:
        """Whether the head reads the first position of the last layer and no other."""
        return self.head in ("pooled", "cls-vector")

    # -- uniform spaces: the first layer's genes stand for all

    def check(self, arch: ArchConfig) -> None:
        """Make sure that an architecture belongs to this space.

        Raises
        ------
        ArchError
            Naming the field, the value and the choices; or that the layers differ where they must
            not.
        """
        super().check(arch)
        assert isinstance(arch, EncoderArch)
        if self.uniform and not arch.is_uniform:
            raise ArchError(f"architecture outside the search space: {arch} is not uniform")

    @cached_property
    def num_architectures(self) -> int:
        """How many different architectures the space holds (exact)."""
        if self.uniform:
            per_layer = len(self.ffn_dim) * len(self.heads)
            return len(self.embed_dim) * len(self.layers) * per_layer
        return super().num_architectures

    def starters(self) -> Sequence[ArchConfig]:
        """All uniform members: what a person would try, and good parents."""
        choices = itertools.product(self.embed_dim, self.layers, self.ffn_dim, self.heads)
        return [
            EncoderArch(
                embed_dim=embed_dim,
                layers=(BertLayerConfig(ffn_dim=ffn_dim, heads=heads),) * depth,
            )
            for embed_dim, depth, ffn_dim, heads in choices
        ]

    def _build(self, part: dict[str, list[int]]) -> ArchConfig:
        if self.uniform:
            for name in ("ffn_dim", "heads"):
                part[name] = part[name][:1] * len(part[name])
        return super()._build(part)

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
            # what is read of a layer's output: all positions, or the first alone
            is_last = i == len(arch.layers) - 1
            read = workload.batch if self.reads_first and is_last else rows
            products += self._layer_products(f"layers.{i}", d, layer, workload, read)
        products += self._head_products(d, vocab_size, workload)
        norms = (t, *(d,) * (2 * len(arch.layers)))
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
        )

    def _layer_products(
        self, name: str, d: int, layer: BertLayerConfig, workload: EncoderWorkload, read: int
    ) -> Sequence[Product]:
        s = workload.input_len
        q = layer.heads * self.head_dim
        rows = workload.batch * s
        return (
            Product(f"{name}.self_attn.q", "encoder", read, d, q),
            Product(f"{name}.self_attn.kv", "encoder", rows, d, 2 * q),
            Product(f"{name}.self_attn.scores", "encoder", read, q, s, "activation"),
            Product(f"{name}.self_attn.values", "encoder", read, s, q, "activation"),
            Product(f"{name}.self_attn.out", "encoder", read, q, d),
            Product(f"{name}.fc1", "encoder", read, d, layer.ffn_dim),
            Product(f"{name}.fc2", "encoder", read, layer.ffn_dim, d),
        )

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
        """What costs time in one run, in units of 10^6 multiply-accumulates, 10^3 elements, layers
        or heads.

        Parameters
        ----------
        sums
            Sums over layers (N, 4), in the order of `mean_order`.

        Returns
        -------
        Array of shape (N, 7), in the order of `FEATURE_NAMES`; not negative. All layers count in
        full, as sums do not tell the last one.
        """
        return self._features(sums, np.zeros((len(sums), 2)), workload)

    def latency_features_of_genes(
        self, genes: Rows, vocab_size: int, workload: Workload
    ) -> FloatArray:
        """The same from gene rows (N, G), for a head that reads the first position without what the
        last layer spares: all others need keys and values there, and nothing else.
        """
        sums = self.sum_genes(genes)
        if not self.reads_first:
            return self.latency_features(sums, vocab_size, workload)
        depth = np.asarray(genes)[:, self.gene_slices["layers"].start].astype(np.int64)
        columns = [self.gene_slices[name].start + depth - 1 for name in ("ffn_dim", "heads")]
        last = np.take_along_axis(np.asarray(genes, np.float64), np.stack(columns, axis=1), axis=1)
        return self._features(sums, last, workload)

    def _features(self, sums: FloatArray, last: FloatArray, workload: Workload) -> FloatArray:
        """From sums over layers (N, 4), and FFN width and heads (N, 2) of a last layer that is read
        at the first position alone.
        """
        assert isinstance(workload, EncoderWorkload)
        d, layers, ffn_dim, heads = sums.T
        last_ffn_dim, last_heads = last.T
        rows = workload.batch * workload.input_len
        spared = rows - workload.batch
        ffn_rows = rows * ffn_dim - spared * last_ffn_dim
        # of the four projections, keys and values are computed everywhere
        projection_rows = 4 * rows * heads - 2 * spared * last_heads
        score_rows = rows * heads - spared * last_heads
        features: npt.NDArray[np.float64] = np.stack(
            [
                np.ones(len(sums)),
                layers,
                (1e-6 * self.head_dim) * d * projection_rows,
                2e-6 * d * ffn_rows,
                (2e-6 * workload.input_len * self.head_dim) * score_rows,
                1e-3 * ffn_rows,
                heads,
            ],
            axis=1,
        )
        return features

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
