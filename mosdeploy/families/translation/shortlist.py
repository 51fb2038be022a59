"""Lexical shortlists: the target tokens that the tokens of a sentence can give."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ...config.translation import TranslationRunConfig
from ...data.batches import Ragged
from ...export.onnx.builder import GraphOptions
from ...family import TaskData
from ...spaces.translation import TranslationWorkload, num_own
from .dataset import TranslationDataset, tokenize_pairs
from .tokenizer import EOS_ID, PAD_ID, Tokenizer

NUM_ITERATIONS = 6
"""Of expectation maximisation."""

MAX_PAIRS = 500_000
"""Of a larger corpus, evenly spaced pairs are counted."""

CANDIDATES_PER_TOKEN = 200
"""Target tokens of each source token that take part, those with the highest Dice coefficient."""

_PAIRS_AT_A_TIME = 20_000
_TOKENS_AT_A_TIME = 2_000

Matrix = Any
"""A `scipy.sparse.csr_matrix`; SciPy has no types."""


def lexical_probabilities(pairs: TranslationDataset, vocab_size: int) -> Matrix:
    """p(target token | source token) as a sparse float matrix (V, V); each row that was seen adds
    up to 1.
    """
    stride = -(-len(pairs) // MAX_PAIRS)
    sources = token_counts(pairs.sources, vocab_size)[::stride]  # (N, V)
    ends = np.full(sources.shape[0], EOS_ID)
    sources = sources + _at(np.arange(sources.shape[0]), ends, sources.shape)
    targets = token_counts(pairs.targets, vocab_size)[::stride]  # (N, V)
    table = _co_occurring(sources, targets)
    for _ in range(NUM_ITERATIONS):
        table = _normalised(sum(_expected(table, *part) for part in _parts(sources, targets)))
    return table


def token_counts(rows: Ragged, vocab_size: int) -> Matrix:
    """Count each token in each row, float (N, V)."""
    row_of = np.repeat(np.arange(len(rows)), rows.lengths)
    return _at(row_of, rows.flat, (len(rows), vocab_size))


def _at(rows: npt.ArrayLike, columns: npt.ArrayLike, shape: tuple[int, int]) -> Matrix:
    """Ones at these places; places that come twice add up."""
    places = (np.asarray(rows), np.asarray(columns))
    return sparse.csr_matrix((np.ones(len(places[0]), np.float32), places), shape=shape)


def _parts(sources: Matrix, targets: Matrix) -> Iterator[tuple[Matrix, Matrix]]:
    for start in range(0, sources.shape[0], _PAIRS_AT_A_TIME):
        stop = start + _PAIRS_AT_A_TIME
        yield sources[start:stop], targets[start:stop]


def _expected(table: Matrix, sources: Matrix, targets: Matrix) -> Matrix:
    """Count how often each source token gave each target token, by the probabilities so far."""
    # a target token is shared out among the pair's source tokens by their probabilities; one that
    # none of them has as a candidate counts for none
    given = targets.astype(bool).multiply(sources @ table).tocsr()  # (N, V)
    given.data = 1 / given.data
    weights = targets.multiply(given)
    return table.multiply(sources.T.tocsr() @ weights.tocsr()).tocsr()


def _co_occurring(sources: Matrix, targets: Matrix) -> Matrix:
    """The candidates of each source token, equally likely."""
    seen_in = sources.astype(bool).astype(np.float32).T.tocsr()  # (V, N)
    target_seen = targets.astype(bool).astype(np.float32)  # (N, V)
    num_with_source = np.asarray(seen_in.sum(axis=1)).ravel()
    num_with_target = np.asarray(target_seen.sum(axis=0)).ravel()
    parts = []
    for start in range(0, seen_in.shape[0], _TOKENS_AT_A_TIME):
        together = (seen_in[start : start + _TOKENS_AT_A_TIME] @ target_seen).tocoo()
        total = num_with_source[start + together.row] + num_with_target[together.col]
        together.data = 2 * together.data / total
        parts.append(largest_of_rows(together.tocsr(), CANDIDATES_PER_TOKEN))
    table = sparse.vstack(parts, format="csr")
    table.data[:] = 1.0
    return _normalised(table)


def largest_of_rows(matrix: Matrix, count: int) -> Matrix:
    """The largest values of each row, at most `count`; of equal ones those of the lower columns."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((matrix.indices, -matrix.data, rows))
    rank = np.arange(matrix.nnz) - matrix.indptr[rows]
    kept = order[rank < count]
    places = (rows[kept], matrix.indices[kept])
    return sparse.csr_matrix((matrix.data[kept], places), shape=matrix.shape)


def _normalised(matrix: Matrix) -> Matrix:
    """Rows that add up to 1, or to 0 where nothing was seen."""
    sums = np.asarray(matrix.sum(axis=1)).ravel()
    scale = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0)
    return sparse.diags(scale).dot(matrix).tocsr()


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
        """Return the tokens that each of padded sentences (B, S) may use, as a mask (B, V)."""
        mask = np.zeros((len(sources), len(self.table)), np.bool_)
        np.put_along_axis(mask, self.table[sources].reshape(len(sources), -1), True, axis=1)
        mask[:, self.frequent] = True
        return mask


def made_up_frequent(vocab_size: int, num_frequent: int) -> npt.NDArray[np.int64]:
    """The first ids from the end token on, in place of the most frequent ones."""
    return (EOS_ID + np.arange(min(num_frequent, vocab_size))) % vocab_size


@dataclass(frozen=True)
class TranslationGraphOptions(GraphOptions):
    """The options of all families, and the shortlist if the workload has one."""

    shortlist: Shortlist | None = None


def graph_options(
    config: TranslationRunConfig,
    workload: TranslationWorkload,
    data: TaskData,
    tokenizer: Tokenizer,
) -> TranslationGraphOptions:
    """Positions for the longest source with its end token, for the most decode steps, and for those
    of the workload, with which the bundle is timed; the length penalty; a shortlist from the
    training pairs, if the workload has one.
    """
    limits = config.export
    shortlist = None
    if workload.shortlist:
        shortlist = Shortlist.learn(
            tokenize_pairs(tokenizer, data.train, config),
            vocab_size=tokenizer.vocab_size,
            num_tokens=workload.shortlist,
            num_frequent=workload.num_frequent,
        )
    return TranslationGraphOptions(
        max_positions=max(
            limits.max_source_len + 1,
            limits.max_decode_steps,
            workload.source_len,
            workload.decode_steps,
        ),
        length_penalty=limits.length_penalty,
        shortlist=shortlist,
    )
