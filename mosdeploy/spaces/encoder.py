"""Encoders: BERT-like networks, what is chosen of them, and what they cost."""

import itertools
import math
import operator
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationInfo, field_validator, model_validator

from ..errors import ArchError
from ..record import Name, Record
from .genes import ArchConfig, Choices, Depths, Gene, GeneArray, Width
from .spec import (
    CostedSpace,
    FloatArray,
    Inventory,
    Precision,
    Product,
    Rows,
    StageInput,
    TimingStage,
    Workload,
    attention_activations,
    ffn_activations,
)

Head = Literal["pooled", "tokens", "vector", "cls-vector", "masked-lm"]
"""The head on the last layer: a dense layer with tanh and a linear layer on the first token (BERT's
classifier), a linear layer on each token, the normalised mean of all tokens, the normalised first
token, or the prediction of masked tokens by the embedding table.
"""

VECTOR_HEADS: tuple[Head, ...] = ("vector", "cls-vector")

Ratios = Annotated[tuple[Annotated[float, Field(gt=0, le=16)], ...], Field(min_length=1)]


class EncoderWorkload(Workload):
    """A number of texts of a number of tokens at a time.

    Attributes
    ----------
    padding
        Whether the graph leaves out what texts of a batch are filled up with. Where it is kept, the
        graph has no branches and loops, as execution providers other than the CPU's need it.
    """

    precisions: ClassVar[tuple[Precision, ...]] = ("fp32", "int8", "int8-fp32-embedding")

    family: Literal["encoder"] = "encoder"
    name: Name = "text"
    input_len: int = Field(32, ge=1, le=4096)
    batch: int = Field(1, ge=1, le=1024)
    padding: Literal["removed", "kept"] = Field("removed", exclude_if=lambda x: x == "removed")

    @property
    def one_example(self) -> Self:
        return self.model_copy(update={"batch": 1})

    @property
    def possible_precisions(self) -> tuple[Precision, ...]:
        return ("fp32",) if self.padding == "kept" else self.precisions

    @model_validator(mode="after")
    def _padding_is_exact(self) -> Self:
        if self.precision not in self.possible_precisions:
            raise ValueError(
                f'padding = "kept" is for fp32 alone, not {self.precision}: the scale of int8 '
                'activations would depend on the padding; write precision = "fp32", or '
                'padding = "removed"'
            )
        return self


class BertLayerConfig(Record):
    """One layer: FFN width, number of heads, and the width inside, where it has one of its own."""

    ffn_dim: int = Field(gt=0)
    heads: int = Field(gt=0)
    dim: int | None = Field(None, gt=0, exclude_if=operator.not_)

    def __str__(self) -> str:
        inside = "" if self.dim is None else f"{self.dim}:"
        return f"{inside}{self.ffn_dim}/{self.heads}h"


class EncoderArch(ArchConfig):
    """One encoder of a search space; holds only the layers that exist."""

    family: Literal["encoder"] = "encoder"
    embed_dim: int = Field(gt=0)
    layers: tuple[BertLayerConfig, ...] = Field(min_length=1)

    @property
    def is_uniform(self) -> bool:
        """Whether all layers are alike."""
        return len(set(self.layers)) == 1

    def __str__(self) -> str:
        return f"{self.embed_dim} [{' '.join(map(str, self.layers))}]"


class EncoderSpace(CostedSpace):
    """All encoders that one supernet holds, with what each costs.

    Attributes
    ----------
    ffn_ratio
        FFN widths as multiples of the hidden width, which take the place of `ffn_dim`. That is then
        the list of the FFN widths beside the largest hidden width, and so are its genes: the choice
        of a ratio is the same gene at every hidden width.
    head_dim
        Width of a head, so that a layer with fewer heads has a narrower attention. None: heads
        share the hidden width, whatever their number.
    layer_dim
        Widths of the states inside a layer, one a layer; a linear layer on either side joins them
        with the hidden width (bottlenecks as in SuperShaper, Ganesan et al., 2021). None: layers
        are as wide as the hidden states.
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
        Gene("layer_dim", stack="layers", field="dim"),
    )
    arch_type: ClassVar[type[ArchConfig]] = EncoderArch
    layer_types: ClassVar[dict[str, type[Record]]] = {"layers": BertLayerConfig}
    mean_order: ClassVar[tuple[str, ...]] = tuple(gene.choices for gene in table)
    feature_names: ClassVar[tuple[str, ...]] = (
        "constant",
        "layers",
        "projection_macs",
        "ffn_macs",
        "score_macs",
        "ffn_width",
        "heads",
    )
    num_core_features: ClassVar[int] = 4
    overhead_features: ClassVar[tuple[str, ...]] = ("constant", "layers")

    family: Literal["encoder"] = "encoder"
    embed_dim: Choices
    layers: Depths
    ffn_ratio: Ratios | None = Field(None, exclude_if=operator.not_)
    ffn_dim: Annotated[Choices, Field(validate_default=True)] = ()
    heads: Choices
    head_dim: Width | None = Field(None, exclude_if=operator.not_)
    layer_dim: Choices | None = Field(None, exclude_if=operator.not_)
    uniform: bool = False
    activation: Literal["gelu", "gelu_tanh", "relu"] = "gelu"
    norm_epsilon: float = Field(1e-12, gt=0, lt=1)
    table_dim: Width | None = None
    max_positions: int = Field(512, ge=4, le=4096)
    num_types: int = Field(2, ge=0, le=2)
    head: Head = "pooled"
    num_outputs: int = Field(2, ge=0)

    @field_validator("ffn_dim", mode="before")
    @classmethod
    def _ffn_fits(cls, given: object, info: ValidationInfo) -> object:
        """Return the FFN widths, or those that ratios stand for."""
        ratios = info.data.get("ffn_ratio")
        dims = info.data.get("embed_dim")
        # a list of JSON is none of Python's: strict mode takes tuples
        widths = tuple(given) if isinstance(given, list) else given
        if ratios is None or dims is None:
            # a wrong ratio or width is an error of its own
            if widths == () and "ffn_ratio" in info.data and dims is not None:
                raise ValueError("give the FFN widths, or ffn_ratio in their place")
            return widths
        for ratio, dim in itertools.product(ratios, dims):
            if not math.isclose(ratio * dim, round(ratio * dim)):
                raise ValueError(f"ffn_ratio {ratio:g} times embed_dim {dim} is no whole number")
        largest = tuple(sorted(round(ratio * max(dims)) for ratio in ratios))
        # a space that was written holds both
        if widths not in ((), largest):
            raise ValueError("give either the FFN widths or ffn_ratio, not both")
        return largest

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.head_dim is None:
            for dim, heads in itertools.product(self.layer_dim or self.embed_dim, self.heads):
                if dim % heads:
                    raise ValueError(
                        f"{heads} heads do not divide the width {dim}; give head_dim, or other "
                        "choices"
                    )
        if self.layer_dim is not None and len(self.embed_dim) > 1:
            raise ValueError(f"with layer_dim, embed_dim is one width, not {list(self.embed_dim)}")
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

    def attention_dim(self, dim: int, heads: int) -> int:
        """Width of the queries of all heads, in a layer that is `dim` wide inside."""
        return dim if self.head_dim is None else heads * self.head_dim

    # -- genes; of a uniform space, those of the first layer stand for all

    def check(self, arch: ArchConfig) -> None:
        """Check that an architecture belongs to this space."""
        super().check(arch)
        assert isinstance(arch, EncoderArch)
        if self.uniform and not arch.is_uniform:
            raise ArchError(f"architecture outside the search space: {arch} is not uniform")
        if self.layer_dim is None and any(layer.dim is not None for layer in arch.layers):
            raise ArchError(f"architecture outside the search space: {arch} has bottlenecks")

    @cached_property
    def num_architectures(self) -> int:
        """How many different architectures the space holds (exact)."""
        if self.uniform:
            return math.prod(len(self._choices(gene)) for gene in self.entries)
        return super().num_architectures

    def starters(self) -> Sequence[ArchConfig]:
        """All uniform members: what a person would try, and good parents."""
        names = [gene.choices for gene in self.entries]
        return [
            self.repeated(dict(zip(names, values, strict=True)))
            for values in itertools.product(*(self._choices(gene) for gene in self.entries))
        ]

    def to_genes(self, arch: ArchConfig) -> GeneArray:
        """Spell an architecture as a gene row of shape (G,), zero where a layer does not exist."""
        row = super().to_genes(arch)
        if self.ffn_ratio is not None:
            assert isinstance(arch, EncoderArch)
            columns = self.gene_slices["ffn_dim"]
            # exact: what is multiplied and divided by are widths of one ratio
            row[columns] = row[columns] * max(self.embed_dim) // arch.embed_dim
        return row

    def sum_genes(self, genes: Rows) -> FloatArray:
        """Sums over the layers of a population: (N, G) to (N, A), in the order of `mean_order`."""
        return super().sum_genes(self._full_widths(genes))

    def _full_widths(self, genes: Rows) -> FloatArray:
        """Gene rows (N, G) whose FFN widths are those of the architectures."""
        rows = np.array(genes, dtype=np.float64)
        if self.ffn_ratio is not None:
            shares = rows[:, self.gene_slices["embed_dim"]] / max(self.embed_dim)  # (N, 1)
            rows[:, self.gene_slices["ffn_dim"]] *= shares
        return rows

    def _allowed_in(
        self, arch: ArchConfig, gene: Gene, depth_of: dict[str | None, int]
    ) -> Sequence[int]:
        if gene.choices == "ffn_dim" and self.ffn_ratio is not None:
            assert isinstance(arch, EncoderArch)
            return [round(ratio * arch.embed_dim) for ratio in self.ffn_ratio]
        return super()._allowed_in(arch, gene, depth_of)

    def _build(self, part: dict[str, list[int]]) -> ArchConfig:
        if self.uniform:
            for gene in self.entries:
                if gene.is_per_layer:
                    part[gene.choices] = part[gene.choices][:1] * len(part[gene.choices])
        if self.ffn_ratio is not None:
            largest = max(self.embed_dim)
            products = [width * part["embed_dim"][0] for width in part["ffn_dim"]]
            if any(product % largest for product in products[: part["layers"][0]]):
                raise ValueError(f"FFN widths beside {largest} are {list(self.ffn_dim)}")
            part["ffn_dim"] = [product // largest for product in products]
        return super()._build(part)

    # -- parameters, multiply-accumulates, memory

    def inventory(self, arch: ArchConfig, vocab_size: int, workload: Workload) -> Inventory:
        """What an architecture holds and computes for one batch of texts."""
        assert isinstance(arch, EncoderArch)
        assert isinstance(workload, EncoderWorkload)
        d = arch.embed_dim
        t = self.table_dim or d
        products: list[Product] = []
        if self.table_dim is not None:
            rows = workload.batch * workload.input_len
            products.append(Product("embed_project", "encoder", rows, t, d))
        for i, layer in enumerate(arch.layers):
            read = self._num_read(i, arch, workload)
            products += self._layer_products(f"layers.{i}", d, layer, workload, read)
        products += self._head_products(d, vocab_size, workload)
        norms = (t, *(layer.dim or d for layer in arch.layers for _ in range(2)))
        num_other = self.max_positions * t + self.num_types * t
        if self.head == "masked-lm":
            norms = (*norms, t)
            num_other += vocab_size  # biases of the logits, which multiply by the table
        return Inventory(
            products=tuple(products),
            norm_widths=norms,
            table_parts=(t,),
            vocab_size=vocab_size,
            num_other=num_other,
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
        is_alone = workload.precision != "fp32"  # one text after another
        kept = 2 * batch * length * arch.embed_dim if is_alone and batch > 1 else 0
        num_together = 1 if is_alone else batch
        num_scored = 3 * batch if workload.padding == "kept" else 1
        held = []
        for i, layer in enumerate(arch.layers):
            dim = layer.dim or arch.embed_dim
            read = self._num_read(i, arch, workload) // batch
            qkv_dim = self.attention_dim(dim, layer.heads)
            attention = num_together * attention_activations(length, read, dim, qkv_dim)
            scores = num_scored * read * layer.heads * length
            ffn = num_together * ffn_activations(read, dim, layer.ffn_dim)
            held.append(kept + max(attention + scores, ffn))
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
        t = self.table_dim or d
        if self.head == "pooled":
            return (
                Product("head.dense", "encoder", workload.batch, d, d),
                Product("head.out", "encoder", workload.batch, d, self.num_outputs),
            )
        if self.head == "tokens":
            return (Product("head.out", "encoder", rows, d, self.num_outputs),)
        if self.head == "masked-lm":
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
        means = {name: column / depth for name, column in columns.items()}
        means["embed_dim"] = columns["embed_dim"]
        return self._features(means, depth, np.zeros((1, 1), np.bool_), workload)

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
        return self._features(columns, exists, is_last, workload)

    def _features(
        self,
        columns: dict[str, FloatArray],
        counts: FloatArray,
        reads_first: npt.NDArray[np.bool_],
        workload: Workload,
    ) -> FloatArray:
        """What costs time, in units of 10^6 multiply-accumulates, 10^3 elements, layers or heads,
        from the choices by name, each (N, 1) or (N, L). `counts` (N, L): how many layers there are
        of each kind. `reads_first` (N, L): whether only the first position of each text is read.
        """
        assert isinstance(workload, EncoderWorkload)
        dim = columns.get("layer_dim", columns["embed_dim"])
        attention_dim = dim if self.head_dim is None else self.head_dim * columns["heads"]
        rows = workload.batch * workload.input_len
        # of a layer of which the first position is read, all others need keys and values alone
        read = np.where(reads_first, workload.batch, rows)
        projections = 2 * dim * attention_dim * (rows + read)
        if self.layer_dim is not None:
            projections = projections + columns["embed_dim"] * dim * (rows + read)
        ffn_elements = columns["ffn_dim"] * read

        def total(values: FloatArray) -> FloatArray:
            totals: FloatArray = (counts * values).sum(axis=1)  # over the layers: (N,)
            return totals

        return np.stack(
            [
                np.ones(len(counts)),
                counts.sum(axis=1),
                1e-6 * total(projections),
                2e-6 * total(dim * ffn_elements),
                2e-6 * workload.input_len * total(attention_dim * read),
                1e-3 * total(ffn_elements),
                total(columns["heads"]),
            ],
            axis=1,
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
