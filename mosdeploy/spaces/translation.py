"""Search spaces and the architectures in them.

In: lists of choices from a TOML file. Out: canonical `ArchConfig`s and their encodings. This file knows no weights, no
costs and no latency.

An architecture has three spellings, each made from the other: `ArchConfig` (the record), a *gene row* (integers of
fixed length, 0 for what does not exist; what predictors and populations use) and the per-layer *encoding* (gene row
divided by the largest choice; what a router sees).
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, model_validator

from ..errors import ArchError
from ..record import Record

GeneArray = npt.NDArray[np.int64]

AGGREGATE_NAMES = (
    "encoder_embed_dim",
    "encoder_layers",
    "encoder_ffn_dim_mean",
    "encoder_heads_mean",
    "decoder_embed_dim",
    "decoder_layers",
    "decoder_ffn_dim_mean",
    "decoder_self_heads_mean",
    "decoder_cross_heads_mean",
    "decoder_cross_span_mean",
)
"""HAT's ten averages (Wang et al., ACL 2020), in the order of its published latency data."""


class EncoderLayerConfig(Record):
    """One encoder layer: FFN width and number of self-attention heads."""

    ffn_dim: int = Field(gt=0)
    heads: int = Field(gt=0)


class DecoderLayerConfig(Record):
    """One decoder layer.

    `cross_span` is the number of last encoder layers whose outputs, concatenated along the length, the
    cross-attention reads (HAT's arbitrary encoder-decoder attention: its -1, 1, 2 are 1, 2, 3 here).
    """

    ffn_dim: int = Field(gt=0)
    self_heads: int = Field(gt=0)
    cross_heads: int = Field(gt=0)
    cross_span: int = Field(gt=0)


class ArchConfig(Record):
    """One Transformer of a search space; holds only the layers that exist."""

    encoder_embed_dim: int = Field(gt=0)
    decoder_embed_dim: int = Field(gt=0)
    encoder_layers: tuple[EncoderLayerConfig, ...] = Field(min_length=1)
    decoder_layers: tuple[DecoderLayerConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _spans_exist(self) -> Self:
        for layer in self.decoder_layers:
            if layer.cross_span > len(self.encoder_layers):
                raise ValueError(
                    f"cross_span {layer.cross_span} reaches past the {len(self.encoder_layers)} encoder layers"
                )
        return self

    @cached_property
    def key(self) -> str:
        """Sixteen hex digits that name this architecture in files and logs."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    def __str__(self) -> str:
        encoder = " ".join(f"{x.ffn_dim}/{x.heads}h" for x in self.encoder_layers)
        decoder = " ".join(f"{x.ffn_dim}/{x.self_heads}+{x.cross_heads}h/{x.cross_span}" for x in self.decoder_layers)
        return f"enc {self.encoder_embed_dim} [{encoder}] dec {self.decoder_embed_dim} [{decoder}]"


def _sorted_choices(choices: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(choices)) != len(choices):
        raise ValueError("choices must differ from one another")
    return tuple(sorted(choices))


Choices = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1), AfterValidator(_sorted_choices)]


class SearchSpace(Record):
    """All architectures that one supernet holds.

    Every list of choices is a field; heads only re-partition the fixed q/k/v width `qkv_dim`, as in HAT.
    """

    encoder_embed_dim: Choices
    decoder_embed_dim: Choices
    encoder_layers: Choices
    decoder_layers: Choices
    encoder_ffn_dim: Choices
    decoder_ffn_dim: Choices
    encoder_heads: Choices
    decoder_self_heads: Choices
    decoder_cross_heads: Choices
    cross_span: Choices = (1,)
    qkv_dim: int = Field(gt=0)
    norm: Literal["pre", "post"] = "post"

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        for name in ("encoder_heads", "decoder_self_heads", "decoder_cross_heads"):
            for heads in getattr(self, name):
                if self.qkv_dim % heads:
                    raise ValueError(f"{name}: {heads} heads do not divide qkv_dim {self.qkv_dim}")
        if max(self.cross_span) > max(self.encoder_layers):
            raise ValueError(f"cross_span {max(self.cross_span)} exceeds the {max(self.encoder_layers)} encoder layers")
        return self

    # -- shape of a gene row ------------------------------------------------------------------------------------

    @cached_property
    def gene_slices(self) -> dict[str, slice]:
        """Column range of each field in a gene row; a per-layer field has one column a layer of the deepest net."""
        deepest_encoder, deepest_decoder = max(self.encoder_layers), max(self.decoder_layers)
        widths = {
            "encoder_embed_dim": 1,
            "decoder_embed_dim": 1,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_ffn_dim": deepest_encoder,
            "encoder_heads": deepest_encoder,
            "decoder_ffn_dim": deepest_decoder,
            "decoder_self_heads": deepest_decoder,
            "decoder_cross_heads": deepest_decoder,
            "cross_span": deepest_decoder,
        }
        slices, start = {}, 0
        for name, width in widths.items():
            slices[name] = slice(start, start + width)
            start += width
        return slices

    @cached_property
    def num_genes(self) -> int:
        """Length of a gene row."""
        return len(self.gene_choices)

    @cached_property
    def gene_choices(self) -> tuple[tuple[int, ...], ...]:
        """The choices of each gene-row column."""
        return tuple(
            getattr(self, name)
            for name, columns in self.gene_slices.items()
            for _ in range(columns.stop - columns.start)
        )

    @cached_property
    def num_architectures(self) -> int:
        """How many different architectures the space holds (exact)."""
        total = 0
        for encoder_depth in self.encoder_layers:
            spans = len({min(span, encoder_depth) for span in self.cross_span})
            encoder_layer = len(self.encoder_ffn_dim) * len(self.encoder_heads)
            decoder_layer = (
                len(self.decoder_ffn_dim) * len(self.decoder_self_heads) * len(self.decoder_cross_heads) * spans
            )
            total += encoder_layer**encoder_depth * sum(decoder_layer**depth for depth in self.decoder_layers)
        return total * len(self.encoder_embed_dim) * len(self.decoder_embed_dim)

    # -- architectures ------------------------------------------------------------------------------------------

    @cached_property
    def largest(self) -> ArchConfig:
        """The architecture with every choice at its maximum (most heads included)."""
        return self.from_genes(np.array([max(choices) for choices in self.gene_choices]))

    @cached_property
    def smallest(self) -> ArchConfig:
        """The architecture with every choice at its minimum."""
        return self.from_genes(np.array([min(choices) for choices in self.gene_choices]))

    def sample(self, rng: np.random.Generator) -> ArchConfig:
        """Draw an architecture, every choice uniform and independent."""
        return self.from_genes(self._sample_row(rng))

    def mutate(self, arch: ArchConfig, probability: float, rng: np.random.Generator) -> ArchConfig:
        """Redraw each gene with the given probability; layers that come into being are drawn afresh."""
        row, fresh = self.to_genes(arch), self._sample_row(rng)
        redraw = rng.random(self.num_genes) < probability
        return self.from_genes(self._repair(np.where(redraw | (row == 0), fresh, row)))

    def crossover(self, first: ArchConfig, second: ArchConfig, rng: np.random.Generator) -> ArchConfig:
        """Take each gene from one parent or the other, with equal chance."""
        a, b = self.to_genes(first), self.to_genes(second)
        row = np.where(rng.random(self.num_genes) < 0.5, a, b)
        row = np.where(row == 0, np.maximum(a, b), row)  # what one parent lacks comes from the other
        return self.from_genes(self._repair(np.where(row == 0, self._sample_row(rng), row)))

    def check(self, arch: ArchConfig) -> None:
        """Make sure that an architecture belongs to this space.

        Raises
        ------
        ArchError
            Naming the field, the value and the choices.
        """
        depth = len(arch.encoder_layers)
        wanted: list[tuple[str, int, Sequence[int]]] = [
            ("encoder_embed_dim", arch.encoder_embed_dim, self.encoder_embed_dim),
            ("decoder_embed_dim", arch.decoder_embed_dim, self.decoder_embed_dim),
            ("encoder_layers", depth, self.encoder_layers),
            ("decoder_layers", len(arch.decoder_layers), self.decoder_layers),
        ]
        for i, encoder_layer in enumerate(arch.encoder_layers):
            wanted.append((f"encoder_layers.{i}.ffn_dim", encoder_layer.ffn_dim, self.encoder_ffn_dim))
            wanted.append((f"encoder_layers.{i}.heads", encoder_layer.heads, self.encoder_heads))
        for i, layer in enumerate(arch.decoder_layers):
            wanted.append((f"decoder_layers.{i}.ffn_dim", layer.ffn_dim, self.decoder_ffn_dim))
            wanted.append((f"decoder_layers.{i}.self_heads", layer.self_heads, self.decoder_self_heads))
            wanted.append((f"decoder_layers.{i}.cross_heads", layer.cross_heads, self.decoder_cross_heads))
            spans = sorted({min(span, depth) for span in self.cross_span})
            wanted.append((f"decoder_layers.{i}.cross_span", layer.cross_span, spans))
        for name, value, choices in wanted:
            if value not in choices:
                raise ArchError(f"architecture outside the search space: {name} is {value}, allowed: {list(choices)}")

    # -- spellings ----------------------------------------------------------------------------------------------

    def to_genes(self, arch: ArchConfig) -> GeneArray:
        """Spell an architecture as a gene row of shape (num_genes,), zero where a layer does not exist.

        Raises
        ------
        ArchError
            If the architecture is not in this space.
        """
        self.check(arch)
        row = np.zeros(self.num_genes, dtype=np.int64)
        values: dict[str, list[int]] = {
            "encoder_embed_dim": [arch.encoder_embed_dim],
            "decoder_embed_dim": [arch.decoder_embed_dim],
            "encoder_layers": [len(arch.encoder_layers)],
            "decoder_layers": [len(arch.decoder_layers)],
            "encoder_ffn_dim": [x.ffn_dim for x in arch.encoder_layers],
            "encoder_heads": [x.heads for x in arch.encoder_layers],
            "decoder_ffn_dim": [x.ffn_dim for x in arch.decoder_layers],
            "decoder_self_heads": [x.self_heads for x in arch.decoder_layers],
            "decoder_cross_heads": [x.cross_heads for x in arch.decoder_layers],
            "cross_span": [x.cross_span for x in arch.decoder_layers],
        }
        for name, columns in self.gene_slices.items():
            row[columns.start : columns.start + len(values[name])] = values[name]
        return row

    def genes(self, archs: Sequence[ArchConfig]) -> GeneArray:
        """Spell a population as an array of shape (len(archs), num_genes)."""
        return np.array([self.to_genes(arch) for arch in archs], dtype=np.int64).reshape(-1, self.num_genes)

    def from_genes(self, row: npt.ArrayLike) -> ArchConfig:
        """Read a gene row of shape (num_genes,); columns of layers that do not exist are ignored.

        Raises
        ------
        ArchError
            If the row has another length, or a value that counts is not among its choices.
        """
        genes = np.asarray(row, dtype=np.int64)
        if genes.shape != (self.num_genes,):
            raise ArchError(f"a gene row of this space has shape ({self.num_genes},), got {genes.shape}")
        part = {name: [int(x) for x in genes[columns]] for name, columns in self.gene_slices.items()}
        encoder_depth, decoder_depth = part["encoder_layers"][0], part["decoder_layers"][0]
        try:
            arch = ArchConfig(
                encoder_embed_dim=part["encoder_embed_dim"][0],
                decoder_embed_dim=part["decoder_embed_dim"][0],
                encoder_layers=tuple(
                    EncoderLayerConfig(ffn_dim=part["encoder_ffn_dim"][i], heads=part["encoder_heads"][i])
                    for i in range(encoder_depth)
                ),
                decoder_layers=tuple(
                    DecoderLayerConfig(
                        ffn_dim=part["decoder_ffn_dim"][i],
                        self_heads=part["decoder_self_heads"][i],
                        cross_heads=part["decoder_cross_heads"][i],
                        cross_span=min(part["cross_span"][i], encoder_depth),
                    )
                    for i in range(decoder_depth)
                ),
            )
        except (ValueError, IndexError) as error:
            raise ArchError(f"gene row {genes.tolist()} is not an architecture of this space: {error}") from error
        self.check(arch)
        return arch

    def encode(self, arch: ArchConfig) -> npt.NDArray[np.float32]:
        """Per-layer encoding of shape (num_genes,), in [0, 1]: gene row over the largest choice of each gene."""
        return (self.to_genes(arch) / self._gene_maxima).astype(np.float32)

    def decode(self, encoding: npt.ArrayLike) -> ArchConfig:
        """Invert `encode`."""
        return self.from_genes(np.rint(np.asarray(encoding, dtype=np.float64) * self._gene_maxima))

    def aggregate(self, arch: ArchConfig) -> npt.NDArray[np.float64]:
        """HAT's ten averages of an architecture, shape (10,), in the order of `AGGREGATE_NAMES`, not scaled."""
        return self.aggregate_genes(self.to_genes(arch)[None]).reshape(-1)

    def aggregate_genes(self, genes: GeneArray) -> npt.NDArray[np.float64]:
        """HAT's ten averages of a population: (N, num_genes) to (N, 10)."""
        part = {name: genes[:, columns] for name, columns in self.gene_slices.items()}
        encoder_depth, decoder_depth = part["encoder_layers"][:, 0], part["decoder_layers"][:, 0]
        columns = [
            part["encoder_embed_dim"][:, 0],
            encoder_depth,
            part["encoder_ffn_dim"].sum(1) / encoder_depth,
            part["encoder_heads"].sum(1) / encoder_depth,
            part["decoder_embed_dim"][:, 0],
            decoder_depth,
            part["decoder_ffn_dim"].sum(1) / decoder_depth,
            part["decoder_self_heads"].sum(1) / decoder_depth,
            part["decoder_cross_heads"].sum(1) / decoder_depth,
            part["cross_span"].sum(1) / decoder_depth,
        ]
        return np.stack(columns, axis=1).astype(np.float64)

    # -- inner --------------------------------------------------------------------------------------------------

    @property  # not cached: pydantic compares what is cached too, and arrays have no truth value
    def _gene_maxima(self) -> GeneArray:
        return np.array([max(choices) for choices in self.gene_choices], dtype=np.int64)

    def _sample_row(self, rng: np.random.Generator) -> GeneArray:
        return np.array([choices[rng.integers(len(choices))] for choices in self.gene_choices], dtype=np.int64)

    def _repair(self, row: GeneArray) -> GeneArray:
        """Lift a cross span that a shallower encoder had cut short to the next choice."""
        spans = row[self.gene_slices["cross_span"]]
        choices = np.array(self.cross_span)
        row[self.gene_slices["cross_span"]] = choices[np.minimum(np.searchsorted(choices, spans), len(choices) - 1)]
        return row
