"""An encoder's bundle, opened and ready to answer."""

from __future__ import annotations

import bisect
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import InputError, ModelError, needs
from .execution import CPU_PROVIDER, Timing, group_by_length, num_threads
from .manifest import (
    CUT,
    LONG,
    ONNX_MODEL_NAME,
    OUTSIDE,
    TOKENIZER_NAMES,
    WINDOW,
    EncoderSettings,
    open_folder,
    read_encoder,
)
from .texts import check_texts, single_spaced

if TYPE_CHECKING:
    from .wordpieces import Pieces

MAX_BATCH_ROWS = 32
MAX_BATCH_POSITIONS = 4096  # padded positions in one call
MAX_CPU_POSITIONS = 512
"""The same on a CPU, where more of them fit no cache: 16 texts of 128 tokens in one call took 1.17
times as long as in four (MiniLM, fp32, one thread of an Intel Xeon).
"""

NUM_DECIMALS = 6
"""Of vectors and probabilities in text."""
TINY = 1e-12
"""Least length that a vector is divided by, as in torch."""

Floats = npt.NDArray[np.float64]

_WORD = re.compile(r"\S+")


class Encoder:
    """Answers with a bundle.

    The answer for a line does not depend on the lines beside it. Lines of similar length share one
    call of the model: in fp32 as many as a processor computes well together, in other precisions,
    which compute one row after another, as many as the workload had texts at a time
    (`settings.texts_per_call`): that is what was timed, and all threads have rows of it.

    Parameters
    ----------
    bundle_dir
        Folder of the bundle. Its files are checked against the hashes in its manifest.
    threads
        Threads that ONNX Runtime may use; None is as many as the bundle was measured
        with, and no more than there are processors.
    providers
        ONNX Runtime execution providers, best first; None is the CPU.
    long
        What becomes of a line of more than `settings.max_input_len` tokens: it is `cut`, or read
        whole in windows that overlap (`window`; see `wordpieces`).

    Attributes
    ----------
    manifest, settings, tokenizer
        What the bundle says of itself, and its tokenizer.
    timing
        Where the time of all lines so far went.

    Raises
    ------
    BundleError
        If the bundle is not whole, is not what its manifest says, or cannot be loaded.
    InputError
        If `long` is something else, `threads` is no positive whole number, or `providers` is no
        list.

    Examples
    --------
    >>> encoder = Encoder("runs/reviews/bundles/classification", threads=1)  # doctest: +SKIP
    >>> encoder.predict(["A joy to watch.", ""])  # doctest: +SKIP
    ['positive', '']
    """

    def __init__(
        self,
        bundle_dir: str | Path,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        long: str = CUT,
    ) -> None:
        if long not in LONG:
            raise InputError(f"long is one of {', '.join(LONG)}, not {long!r}")
        folder = Path(bundle_dir)
        self.timing = Timing()
        self._long = long
        self.manifest, self.settings = open_folder(folder, read_encoder)
        if self.manifest.runtime != "onnxruntime":
            raise ModelError(f"an encoder runs in ONNX Runtime, not in {self.manifest.runtime}")
        with needs("onnxruntime tokenizers"):
            from .session import ModelSession
            from .wordpieces import WordPieces
        settings = self.settings
        self.tokenizer = WordPieces(
            folder / TOKENIZER_NAMES["encoder"],
            vocab_size=self.manifest.vocab_size,
            max_len=settings.max_input_len,
            takes_pairs=settings.takes_pairs,
        )
        self._session = ModelSession(
            folder / ONNX_MODEL_NAME,
            inputs=settings.inputs,
            outputs=(settings.output,),
            threads=num_threads(threads, self.manifest.threads),
            providers=providers,
        )
        is_on_cpu = not providers or providers[0] == CPU_PROVIDER
        self._max_positions = MAX_CPU_POSITIONS if is_on_cpu else MAX_BATCH_POSITIONS

    def predict(self, lines: Sequence[str]) -> list[str]:
        """Answer lines, each by one line, in the order given.

        The answer is the name of the class, the number, the tags of the words (what stands between
        spaces) or the vector as JSON. A tab separates two texts that are judged together where the
        model has learned pairs (`settings.takes_pairs`), else it is a space. An empty line is
        answered by an empty line. Of a line that is cut, words behind the cut have the tag `O`.

        Raises
        ------
        InputError
            If it is no list of texts, a line holds half of a character, or two texts that are too
            long together are to be read in windows.
        ModelError
            If ONNX Runtime fails.
        """
        return [self.line_of(answer) for answer in self.answer(lines)]

    def answer(self, lines: Sequence[str]) -> list[dict[str, Any]]:
        """Answer lines with all that is known of each, as objects for JSON; `{}` for an empty line.

        Classification: `label`, `scores` (probability of each class). Regression: `value`. Tagging:
        `tags` of the words, `entities` (`type`, `start`, `end`, `score`, `text`; see
        `tags_of`). Embedding: `vector`. If the line was longer than the model
        takes, `is_cut` is there, and True, or `num_windows`; if it holds one text where the model
        has learned two, `is_single`; if it holds two and is read as one, `is_joined`.

        Raises
        ------
        InputError
            If it is no list of texts, a line holds half of a character, or two texts that are too
            long together are to be read in windows.
        ModelError
            If ONNX Runtime fails.
        """
        check_texts(lines)
        with self.timing.measure("total_s"):
            self.timing.num_lines += len(lines)
            with self.timing.measure("tokenising_s"):
                windows = [self._windows(line) for line in lines]
            with self.timing.measure("running_s"):
                inputs = [pieces.ids for of_line in windows for pieces in of_line]
                numbers = iter(self.predict_ids(inputs))
                answers = [[next(numbers) for _ in of_line] for of_line in windows]
            return [
                answer_of(self.settings, line, of_line, of_windows)
                for line, of_line, of_windows in zip(lines, windows, answers)  # noqa: B905 (3.9)
            ]

    @staticmethod
    def line_of(answer: Mapping[str, Any]) -> str:
        """One of `answer` as `predict` writes it.

        >>> Encoder.line_of({"label": "yes", "scores": {"no": 0.1, "yes": 0.9}})
        'yes'
        """
        if "label" in answer:
            return str(answer["label"])
        if "value" in answer:
            return _number(answer["value"])
        if "vector" in answer:
            return json.dumps(answer["vector"])
        return " ".join(answer.get("tags", ()))

    def _windows(self, line: str) -> list[Pieces]:
        """What the model reads of a line; nothing of what is empty, or has no token."""
        if not line.strip():
            return []
        is_whole = self._long == WINDOW
        windows = self.tokenizer.split_whole(line) if is_whole else [self.tokenizer.split(line)]
        return [pieces for pieces in windows if pieces.ids]

    def predict_ids(self, inputs: Sequence[Sequence[int]]) -> list[list[float]]:
        """Answer token ids, special ones included, in the order given.

        Returns
        -------
        For each input the logits of the classes (C), the number (1), the logits of the tags of
        every token, row by row (S * C), or the vector (d).

        Raises
        ------
        ModelError
            If an input has no ids, ONNX Runtime fails, or the model answers with something else
            than such numbers.
        """
        lengths = [len(ids) for ids in inputs]
        if not all(lengths):
            raise ModelError("an input needs one token id or more")
        answers: list[list[float]] = [[] for _ in inputs]
        if self.manifest.precision == "fp32":
            groups = group_by_length(lengths, MAX_BATCH_ROWS, self._max_positions)
        else:
            rows = self.settings.texts_per_call
            groups = group_by_length(lengths, rows, rows * max(lengths, default=0))
        for group in groups:
            output = self._run_padded([inputs[i] for i in group])
            for row, i in enumerate(group):
                numbers = output[row, : lengths[i]] if output.ndim == 3 else output[row]
                answers[i] = numbers.ravel().tolist()
        return answers

    def decode(self, answer: Sequence[float]) -> str:
        """Text of an answer of `predict_ids`; see `decode_answer`."""
        return decode_answer(self.settings.kind, self.settings.labels, answer)

    def _run_padded(self, rows: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        shape = (len(rows), max(map(len, rows)))
        # what stands in the padding changes nothing, so that any id will do
        inputs = {name: np.zeros(shape, np.int64) for name in self.settings.inputs}
        for row, ids in enumerate(rows):
            inputs["input_ids"][row, : len(ids)] = ids
            inputs["attention_mask"][row, : len(ids)] = 1
            # a single text has one type, even if it holds a separator
            if self.settings.num_types == 2 and self.settings.takes_pairs:
                inputs["token_type_ids"][row, : len(ids)] = self._types(ids)
        (output,) = self._session.run(inputs)
        middle = shape[1:] if self.settings.kind == "tagging" else ()
        _check_output(output, (shape[0], *middle, self.settings.num_outputs))
        return output  # type: ignore[no-any-return]

    def _types(self, ids: Sequence[int]) -> npt.NDArray[np.int64]:
        """0 up to and including the first separator, 1 behind it."""
        is_separator = np.array([i == self.tokenizer.separator_id for i in ids], np.int64)
        return (np.cumsum(is_separator) - is_separator > 0).astype(np.int64)


def _check_output(output: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(output, np.ndarray):  # a sequence or a map is a list or a dict
        raise ModelError(f"the model answered with a {type(output).__name__}")
    if output.dtype != np.float32 or output.shape != shape:
        raise ModelError(
            f"the model answered with {output.dtype} of shape {output.shape}, "
            f"not float32 of {shape}"
        )
    if not np.isfinite(output).all():
        raise ModelError("the model answered with infinity, or with what is no number")


# -- what the numbers of an answer mean -----------------------------------------------------------


def decode_answer(kind: str, labels: Sequence[str], answer: Sequence[float]) -> str:
    """An answer as one line: the class, the number, the tags of all pieces separated by spaces, or
    the vector as JSON.

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


def answer_of(
    settings: EncoderSettings,
    line: str,
    windows: Sequence[Pieces],
    answers: Sequence[Sequence[float]],
) -> dict[str, Any]:
    """All that is known of a line, from what the model answered to each of its windows; `{}` for a
    line without any.

    Logits, numbers and vectors are averaged over the windows, each with the weight of its pieces; a
    vector then gets length 1 again.
    """
    if not answers:
        return {}
    more: dict[str, Any] = {"is_cut": True} if windows[0].is_cut else {}
    if len(windows) > 1:
        more["num_windows"] = len(windows)
    if settings.takes_pairs and "\t" not in line:
        more["is_single"] = True
    if "\t" in line and not settings.takes_pairs:
        more["is_joined"] = True
    if settings.kind == "tagging":
        return {**tags_of(settings.labels, answers, line, windows), **more}
    numbers = np.asarray(answers[0], np.float64)
    if len(windows) > 1:
        weights = [max(1, pieces.num_content) for pieces in windows]
        numbers = np.average(np.asarray(answers, np.float64), axis=0, weights=weights)
        if settings.kind == "embedding":
            numbers /= max(float(np.linalg.norm(numbers)), TINY)
    if settings.kind == "classification":
        shares = _rounded(_softmax(numbers).tolist())
        # as in `decode_answer`, where two round to one probability
        label = settings.labels[int(np.argmax(numbers))]
        scores = dict(zip(settings.labels, shares))  # noqa: B905 (Python 3.9)
        return {"label": label, "scores": scores, **more}
    if settings.kind == "regression":
        return {"value": numbers.tolist()[0], **more}
    return {"vector": _rounded(numbers.tolist()), **more}


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
