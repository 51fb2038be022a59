"""Dynamic masking of pieces, as BERT and RoBERTa are trained."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .batch import NO_TARGET

Ids = npt.NDArray[np.int64]

MASKED_SHARE = 0.15
MASK_SHARE, RANDOM_SHARE = (0.8, 0.1)
"""Of the hidden pieces."""


@dataclass(frozen=True)
class Masking:
    """The mask's id, the ids that are never hidden, and how many ids there are."""

    mask_id: int
    special_ids: tuple[int, ...]
    vocab_size: int

    def may_hide(self, ids: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.bool_]:
        """Which ids stand for a piece of text."""
        flags: npt.NDArray[np.bool_] = ~np.isin(ids, self.special_ids)
        return flags

    def num_hidden(self, num_pieces: npt.ArrayLike) -> Ids:
        """How many pieces of texts with so many are hidden; at least one of a text that has any."""
        counts = np.asarray(num_pieces, dtype=np.int64)
        shares = np.rint(MASKED_SHARE * counts).astype(np.int64)
        found: Ids = np.maximum(shares, np.minimum(counts, 1))
        return found

    def hide(self, texts: Sequence[npt.NDArray[np.int32]], rows: Ids) -> list[tuple[Ids, Ids]]:
        """Ids with some hidden, and labels: `NO_TARGET` but for the hidden pieces."""
        seed = hashlib.sha256(np.ascontiguousarray(rows, dtype=np.int64).tobytes()).digest()
        rng = np.random.default_rng(int.from_bytes(seed[:8]))
        return [self._hide(ids.astype(np.int64), rng) for ids in texts]

    def _hide(self, ids: Ids, rng: np.random.Generator) -> tuple[Ids, Ids]:
        places = np.flatnonzero(self.may_hide(ids))
        hidden = rng.permutation(places)[: int(self.num_hidden(len(places)))]
        labels = np.full_like(ids, NO_TARGET)
        labels[hidden] = ids[hidden]
        draws = rng.random(len(hidden))
        shown = ids.copy()
        shown[hidden[draws < MASK_SHARE]] = self.mask_id
        swapped = hidden[(draws >= MASK_SHARE) & (draws < MASK_SHARE + RANDOM_SHARE)]
        shown[swapped] = rng.integers(0, self.vocab_size, len(swapped))
        return shown, labels
