"""What an encoder is and what is chosen of it: records, lists of choices, gene rows."""

import itertools
import math
import operator
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator

from ..errors import ArchError
from ..record import Record
from .genes import ArchConfig, Choices, Depths, Gene, GeneArray, Width
from .spec import CostedSpace, FloatArray, Rows

Head = Literal["pooled", "tokens", "vector", "cls-vector", "masked-lm"]
"""What stands on the last layer: a dense layer with tanh and a linear layer on the first token
(BERT's classifier), a linear layer on each token, the normalised mean of all tokens, the
normalised first token, or the prediction of masked tokens by the embedding table.
"""

VECTOR_HEADS: tuple[Head, ...] = ("vector", "cls-vector")


Ratios = Annotated[tuple[Annotated[float, Field(gt=0, le=16)], ...], Field(min_length=1)]


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


class EncoderChoices(CostedSpace):
    """What is chosen of each encoder that one supernet holds.

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
    mean_order: ClassVar[tuple[str, ...]] = (
        "embed_dim",
        "layers",
        "ffn_dim",
        "heads",
        "layer_dim",
    )

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
        """The FFN widths that ratios stand for."""
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
        return self

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

    def attention_dim(self, dim: int, heads: int) -> int:
        """Width of the queries of all heads, in a layer that is `dim` wide inside."""
        return dim if self.head_dim is None else heads * self.head_dim

    # -- genes; of a uniform space, those of the first layer stand for all

    def check(self, arch: ArchConfig) -> None:
        """Make sure that an architecture belongs to this space."""
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
