"""Greedy and beam search over the steps of one sentence, in numpy: for runtimes whose model has no
search inside.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .manifest import TranslationSettings

Ids = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Step = Callable[[Ids, Ids], Floats]
"""(tokens (K,), parents (K,)) to logits (K, V)."""

CHUNK = 64


def search(step: Step, settings: TranslationSettings, min_steps: int = 0) -> list[int]:
    """Find the best translation; `min_steps` are made wherever it ends, for timing."""
    find = _greedy if settings.beam == 1 else _beam_search
    ids = find(step, settings, min_steps)
    return ids[: ids.index(settings.eos_id)] if settings.eos_id in ids else ids


def _greedy(step: Step, settings: TranslationSettings, min_steps: int) -> list[int]:
    ids: list[int] = []
    token = np.array([settings.bos_id], np.int32)
    parent = np.zeros(1, np.int32)
    ended = False
    while len(ids) < settings.max_decode_steps and (not ended or len(ids) < min_steps):
        token = step(token, parent).argmax(axis=1).astype(np.int32)
        ids.append(int(token[0]))
        ended = ended or ids[-1] == settings.eos_id
    return ids


def _beam_search(step: Step, settings: TranslationSettings, min_steps: int) -> list[int]:
    """Keep K live hypotheses and a pool of the K best finished ones, as the loop inside the ONNX
    graphs does.
    """
    k = settings.beam
    live: list[list[int]] = [[] for _ in range(k)]
    live_sum = np.full(k, -np.inf, np.float32)
    live_sum[0] = 0.0  # the hypotheses start equal: only one counts
    done: list[tuple[float, list[int]]] = [(-np.inf, [])] * k
    tokens = np.full(k, settings.bos_id, np.int32)
    parents = np.zeros(k, np.int32)
    closed = False
    for number in range(1, settings.max_decode_steps + 1):
        sums = _log_softmax(step(tokens, parents)) + live_sum[:, None]  # (K, V)
        # 2K continuations: however many of them end, K are left to live on
        flat = largest(sums.reshape(-1), 2 * k)  # (2K,)
        parent = flat // sums.shape[1]
        token = flat % sums.shape[1]
        best = sums.reshape(-1)[flat]
        ends = token == settings.eos_id
        length = float(number) ** settings.length_penalty
        if not closed:
            finished = ends | (number == settings.max_decode_steps)
            pool = done + [
                (float(best[i]) / length, [*live[parent[i]], int(token[i])])
                for i in np.flatnonzero(finished)
            ]
            done = sorted(pool, key=lambda item: -item[0])[:k]
        alive = np.flatnonzero(~ends)[:k]
        live = [[*live[parent[i]], int(token[i])] for i in alive]
        live_sum = best[alive]
        tokens = token[alive].astype(np.int32)
        parents = parent[alive].astype(np.int32)
        # no live hypothesis, cut here, would still enter the pool
        closed = closed or done[-1][0] >= float(live_sum[0]) / length
        if closed and number >= min_steps:
            break
    return done[0][1]


def largest(values: Floats, count: int) -> npt.NDArray[np.int64]:
    """Indices of the largest values, largest first; of equal ones, the first first."""
    # they lie in the chunks with the largest maxima: a pass for these spares sorting the rest
    num_chunks = len(values) // CHUNK
    chosen = np.arange(len(values))
    if num_chunks > count:
        maxima = values[: num_chunks * CHUNK].reshape(num_chunks, CHUNK).max(axis=1)
        limit = np.partition(maxima, num_chunks - count)[num_chunks - count]
        chunks = np.flatnonzero(maxima >= limit)
        rest = chosen[num_chunks * CHUNK :]  # fewer values than a chunk
        chosen = np.concatenate([(chunks[:, None] * CHUNK + np.arange(CHUNK)).reshape(-1), rest])
    return chosen[np.argsort(-values[chosen], kind="stable")[:count]]


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), np.float32)
