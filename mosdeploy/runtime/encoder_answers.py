"""What the numbers of an encoder's answer mean, for people."""

from __future__ import annotations

import bisect
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .encoder_settings import OUTSIDE
from .texts import single_spaced

if TYPE_CHECKING:
    from .encoder_settings import EncoderSettings
    from .wordpieces import Pieces

Floats = npt.NDArray[np.float64]

NUM_DECIMALS = 6
"""Of vectors and probabilities in text."""

TINY = 1e-12
"""Least length that a vector is divided by, as in torch."""

_WORD = re.compile(r"\S+")


def decode_answer(kind: str, labels: Sequence[str], answer: Sequence[float]) -> str:
    """An answer as one line: the class, the number, the tags of all pieces separated by spaces, or
    the vector as JSON.

    Examples
    --------
    >>> decode_answer("classification", ("no", "yes"), [-1.5, 0.5])
    'yes'
    >>> decode_answer("tagging", ("O", "B-PER"), [3.0, 1.0, 0.0, 2.0])
    'O B-PER'
    """
    if kind == "classification":
        return labels[int(np.argmax(answer))]
    if kind == "regression":
        return _number(answer[0])
    if kind == "tagging":
        return " ".join(labels[i] for i in _rows(labels, answer).argmax(1))
    return json.dumps(_rounded(answer))


def line_of_answer(answer: Mapping[str, Any]) -> str:
    """An object for JSON as one line: as `decode_answer`, but with a tag for each word.

    Examples
    --------
    >>> line_of_answer({"label": "yes", "scores": {"no": 0.1, "yes": 0.9}})
    'yes'
    """
    if "label" in answer:
        return str(answer["label"])
    if "value" in answer:
        return _number(answer["value"])
    if "vector" in answer:
        return json.dumps(answer["vector"])
    return " ".join(answer.get("tags", ()))


def answer_of(
    settings: EncoderSettings,
    line: str,
    windows: Sequence[Pieces],
    answers: Sequence[Sequence[float]],
) -> dict[str, Any]:
    """All that is known of a line, from what the model answered to each of its windows; `{}` for a
    line without any.

    Logits, numbers and vectors are averaged over the windows, each with the weight of its pieces; a
    vector then gets length 1 again. `is_cut` and `num_windows` are there if the line was too long
    for the model, `is_single` if it holds one text and the model has learned two, `is_joined` if it
    holds two and the model reads them as one.
    """
    if not answers:
        return {}
    more: dict[str, Any] = {"is_cut": True} if windows[0].is_cut else {}
    if len(windows) > 1:
        more["num_windows"] = len(windows)
    if settings.learned_pairs and "\t" not in line:
        more["is_single"] = True
    if "\t" in line and not settings.takes_pairs:
        more["is_joined"] = True
    if settings.kind == "tagging":
        return {**tags_of(settings.labels, answers, line, windows), **more}
    numbers = answers[0]
    if len(windows) > 1:
        weights = [max(1, pieces.num_content) for pieces in windows]
        mean = np.average(np.asarray(answers, np.float64), axis=0, weights=weights)
        if settings.kind == "embedding":
            mean /= max(float(np.linalg.norm(mean)), TINY)
        numbers = mean.tolist()
    if settings.kind == "classification":
        return {**scores_of(settings.labels, numbers), **more}
    if settings.kind == "regression":
        return {"value": numbers[0], **more}
    return {**vector_of(numbers), **more}


def scores_of(labels: Sequence[str], answer: Sequence[float]) -> dict[str, Any]:
    """The likeliest class and the probability of each."""
    probabilities = _softmax(np.asarray(answer, np.float64))
    best = int(np.argmax(answer))  # as in `decode_answer`, where two round to one probability
    shares = _rounded(probabilities.tolist())
    return {"label": labels[best], "scores": dict(zip(labels, shares))}  # noqa: B905 (Python 3.9)


def vector_of(answer: Sequence[float]) -> dict[str, Any]:
    """The vector, rounded."""
    return {"vector": _rounded(answer)}


def tags_of(
    labels: Sequence[str],
    answers: Sequence[Sequence[float]],
    line: str,
    windows: Sequence[Pieces],
) -> dict[str, Any]:
    """The tag of each word of a line, and the entities that they make.

    Words are what stands between white space; a word has the tag of its first piece, in the window
    where that has most pieces around it, and `O` if it has none, or lies where the line was cut. An
    entity begins at a `B-` tag, or an `I-` tag of another type than the word before; `start` and
    `end` are its characters in the line, `score` the lowest probability of its tags.
    """
    words = _words(line)
    shares = [_softmax(_rows(labels, answer)) for answer in answers]
    best = best_places(_words(single_spaced(line)), windows)  # of which the pieces are
    found = [None if place is None else shares[place[0]][place[1]] for place in best]
    tags = [OUTSIDE if share is None else labels[int(share.argmax())] for share in found]
    entities: list[dict[str, Any]] = []
    before = OUTSIDE
    for (start, end), share, tag in zip(words, found, tags):  # noqa: B905 (Python 3.9)
        kind = tag[2:]
        if share is not None and tag != OUTSIDE:
            score = float(share.max())
            if tag.startswith("I-") and before[2:] == kind and before != OUTSIDE:
                entities[-1].update(end=end, score=min(score, entities[-1]["score"]))
            else:
                entities.append({"type": kind, "start": start, "end": end, "score": score})
        before = tag
    for entity in entities:
        entity["text"] = line[entity["start"] : entity["end"]]
        entity["score"] = round(entity["score"], NUM_DECIMALS)
    return {"tags": tags, "entities": entities}


def _words(line: str) -> list[tuple[int, int]]:
    """Characters of each word, from and to."""
    return [match.span() for match in _WORD.finditer(line)]


def best_places(
    words: Sequence[tuple[int, int]], windows: Sequence[Pieces]
) -> list[tuple[int, int] | None]:
    """Window and position of the first piece of each word, given by its characters; None for a word
    without.

    Of several windows it is the one in which fewest pieces are cut off near the word: where the
    line itself begins or ends, nothing is.
    """
    starts = [start for start, _ in words]
    ends = [end for _, end in words]
    best: list[tuple[int, int] | None] = [None] * len(words)
    most_around = [-1] * len(words)
    for number, pieces in enumerate(windows):
        is_first = number == 0
        is_last = number == len(windows) - 1
        for word, position in _first_pieces(starts, ends, pieces).items():
            before = sys.maxsize if is_first else position
            behind = sys.maxsize if is_last else len(pieces.ids) - 1 - position
            if min(before, behind) > most_around[word]:
                most_around[word] = min(before, behind)
                best[word] = (number, position)
    return best


def _first_pieces(starts: Sequence[int], ends: Sequence[int], pieces: Pieces) -> dict[int, int]:
    """Position of the first piece of each word in a window, by the number of the word."""
    first: dict[int, int] = {}
    for position, (start, end) in enumerate(pieces.spans):
        # by the last character: a piece may begin with the space before its word
        word = bisect.bisect_right(starts, end - 1) - 1
        if end > start and word >= 0 and end <= ends[word]:
            first.setdefault(word, position)
    return first


def _number(value: float) -> str:
    """The shortest decimal number that is the same in fp32: the answers of a regression may be in
    the thousands and differ by thousandths.
    """
    return np.format_float_positional(np.float32(value), trim="-")


def _rows(labels: Sequence[str], answer: Sequence[float]) -> Floats:
    return np.asarray(answer, np.float64).reshape(-1, len(labels))


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    shares: Floats = powers / powers.sum(-1, keepdims=True)
    return shares


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, NUM_DECIMALS) for value in values]
