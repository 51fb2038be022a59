"""Lexical shortlists: the target tokens that the tokens of a sentence can give."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ...spaces.translation_workload import num_own
from .dataset import TranslationDataset
from .lexicon import largest_of_rows, lexical_probabilities
from .tokenizer import EOS_ID, PAD_ID

MULTIPLIER = 48_271
"""Of the generator of Park and Miller: neighbouring ids give far ones."""


@dataclass(frozen=True)
class Shortlist:
    """Target tokens of each source token, and those that every sentence may use."""

    table: npt.NDArray[np.int64]
    frequent: npt.NDArray[np.int64]

    @classmethod
    def learn(
        cls, pairs: TranslationDataset, vocab_size: int, num_tokens: int, num_frequent: int
    ) -> "Shortlist":
        """Take the most frequent tokens, and of all others the likeliest of each source token."""
        counts = np.bincount(pairs.targets.flat, minlength=vocab_size)
        counts[EOS_ID] = counts.sum() + 1  # no sentence could end without it
        frequent = np.argsort(-counts, kind="stable")[:num_frequent]
        is_other = np.ones(vocab_size, np.float32)
        is_other[frequent] = 0.0
        # no probability is above 1: the token itself is the first of each row
        scores = lexical_probabilities(pairs, vocab_size) + 2 * sparse.identity(vocab_size)
        scores = (scores @ sparse.diags(is_other)).tocsr()
        scores.eliminate_zeros()
        best = largest_of_rows(scores, num_tokens)
        table = np.full((vocab_size, num_tokens), EOS_ID)
        table[np.arange(num_tokens) < np.diff(best.indptr)[:, None]] = best.indices
        # or the sentences beside it would change what a padded sentence may use
        table[PAD_ID] = EOS_ID
        return cls(table, frequent)

    @classmethod
    def made_up(cls, vocab_size: int, num_tokens: int, num_frequent: int) -> "Shortlist":
        """As large as a learned one, for timing; see `spaces.translation_workload.num_own`."""
        columns = np.arange(num_tokens)
        ids = np.arange(vocab_size)[:, None] * num_tokens + columns
        is_own = columns < num_own(num_tokens)
        table = np.where(is_own, ids * MULTIPLIER % vocab_size, EOS_ID)
        table[PAD_ID] = EOS_ID
        return cls(table, made_up_frequent(vocab_size, num_frequent))

    def allowed(self, sources: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which tokens each of padded sentences (B, S) may use, (B, V)."""
        mask = np.zeros((len(sources), len(self.table)), np.bool_)
        np.put_along_axis(mask, self.table[sources].reshape(len(sources), -1), True, axis=1)
        mask[:, self.frequent] = True
        return mask


def made_up_frequent(vocab_size: int, num_frequent: int) -> npt.NDArray[np.int64]:
    """The first ids from the end token on, in place of the most frequent ones."""
    return (EOS_ID + np.arange(min(num_frequent, vocab_size))) % vocab_size
