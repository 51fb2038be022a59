"""Architectures of translation: encoder-decoders, layer by layer."""

from typing import Self

from pydantic import Field, model_validator

from ..record import Record
from .genes import ArchConfig


class EncoderLayerConfig(Record):
    """One encoder layer: FFN width and number of self-attention heads."""

    ffn_dim: int = Field(gt=0)
    heads: int = Field(gt=0)


class DecoderLayerConfig(Record):
    """One decoder layer."""

    ffn_dim: int = Field(gt=0)
    self_heads: int = Field(gt=0)
    cross_heads: int = Field(gt=0)
    cross_span: int = Field(gt=0)


class TranslationArch(ArchConfig):
    """One encoder-decoder Transformer of a search space; holds only the layers that exist."""

    encoder_embed_dim: int = Field(gt=0)
    decoder_embed_dim: int = Field(gt=0)
    encoder_layers: tuple[EncoderLayerConfig, ...] = Field(min_length=1)
    decoder_layers: tuple[DecoderLayerConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _spans_exist(self) -> Self:
        for layer in self.decoder_layers:
            if layer.cross_span > len(self.encoder_layers):
                raise ValueError(
                    f"cross_span {layer.cross_span} reaches past the "
                    f"{len(self.encoder_layers)} encoder layers"
                )
        return self

    def __str__(self) -> str:
        encoder = " ".join(f"{x.ffn_dim}/{x.heads}h" for x in self.encoder_layers)
        decoder = " ".join(
            f"{x.ffn_dim}/{x.self_heads}+{x.cross_heads}h/{x.cross_span}"
            for x in self.decoder_layers
        )
        return f"enc {self.encoder_embed_dim} [{encoder}] dec {self.decoder_embed_dim} [{decoder}]"
