"""Tables of vectors: sinusoids of the positions, and how a table of token embeddings starts."""

import functools
import math

import torch
from torch import Tensor, nn

MIN_POSITIONS = 256


def positions(start: int, length: int, width: int, table_dim: int, device: torch.device) -> Tensor:
    """Interleaved sinusoids of positions start..start + length - 1, first `width` columns of a
    `table_dim` wide table.
    """
    # tables of 256, 512, 1024, ... rows: a decoder that grows by one position reads the same one
    rows = max(MIN_POSITIONS, 1 << (start + length - 1).bit_length())
    return _position_table(rows, table_dim, device)[start : start + length, :width]


@functools.lru_cache(maxsize=16)
def _position_table(rows: int, dim: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # a table made in inference mode must serve training too
        frequency = torch.exp(
            torch.arange(0, dim, 2, dtype=torch.float64) * (-math.log(10_000.0) / dim)
        )  # (D / 2,)
        angle = torch.arange(rows, dtype=torch.float64)[:, None] * frequency  # (rows, D / 2)
        table = torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :dim]  # (rows, D)
        return table.to(device, torch.float32)


class Embedding(nn.Embedding):
    """PyTorch's, which draws nothing on the meta device: that imports `torch._dynamo`, which takes
    longer than `torch`.
    """

    def reset_parameters(self) -> None:
        """Draw the rows, unless they take no memory."""
        if not self.weight.is_meta:
            super().reset_parameters()


@torch.no_grad()
def initialise_table(table: Tensor, max_dim: int, pad_id: int | None) -> None:
    """Fill an embedding table (V, D) from N(0, 1 / max_dim), the row of the padding, if there is
    one, with zeros.
    """
    table.normal_(0.0, max_dim**-0.5)
    if pad_id is not None:
        table[pad_id] = 0.0
