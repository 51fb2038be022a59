"""An encoder's bundle, opened and ready to answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .batches import group_by_length
from .encoder_answers import answer_of, decode_answer, line_of_answer
from .encoder_settings import CUT, LONG, WINDOW, read_settings
from .errors import InputError, ModelError
from .manifest import ONNX_MODEL_NAME, TOKENIZER_NAMES, open_folder
from .texts import check_texts
from .threads import num_threads
from .timing import Timing

if TYPE_CHECKING:
    from .wordpieces import Pieces

MAX_BATCH_ROWS = 32
MAX_BATCH_POSITIONS = 4096  # padded positions in one call
MAX_CPU_POSITIONS = 512
"""The same on a CPU, where more of them fit no cache: 16 texts of 128 tokens in one call took 1.17
times as long as in four (MiniLM, fp32, one thread of an Intel Xeon).
"""

Ids = npt.NDArray[np.int64]


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
        Threads that ONNX Runtime may use; None is as many as the bundle was measured with.
    providers
        ONNX Runtime execution providers, best first; None is the CPU.
    long
        What becomes of a line of more than `settings.max_input_len` tokens: it is `cut`, or read
        whole in windows that overlap (`window`; see `wordpieces` and `encoder_answers`).

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
        self.manifest, self.settings = open_folder(folder, read_settings)
        if self.manifest.runtime != "onnxruntime":
            raise ModelError(f"an encoder runs in ONNX Runtime, not in {self.manifest.runtime}")
        try:
            from .session import CPU_PROVIDER, ModelSession
            from .wordpieces import WordPieces
        except ImportError as error:
            raise ModelError(
                f"a package is missing ({error}); run: pip install onnxruntime tokenizers"
            ) from error
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
        `encoder_answers.tags_of`). Embedding: `vector`. If the line was longer than the model
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
            return self._answer(lines)

    def line_of(self, answer: Mapping[str, Any]) -> str:
        """One of `answer` as `predict` writes it."""
        return line_of_answer(answer)

    def _answer(self, lines: Sequence[str]) -> list[dict[str, Any]]:
        self.timing.num_lines += len(lines)
        with self.timing.measure("tokenising_s"):
            windows = [self._windows(line) for line in lines]
        with self.timing.measure("running_s"):
            inputs = [pieces.ids for of_line in windows for pieces in of_line]
            numbers = iter(self.predict_ids(inputs))
            answers = [[next(numbers) for _ in of_line] for of_line in windows]
        return [
            answer_of(self.settings, line, of_line, of_windows)
            for line, of_line, of_windows in zip(lines, windows, answers)  # noqa: B905 (Python 3.9)
        ]

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
        for group in self._calls(lengths):
            output = self._run_padded([inputs[i] for i in group])
            for row, i in enumerate(group):
                numbers = output[row, : lengths[i]] if output.ndim == 3 else output[row]
                answers[i] = numbers.ravel().tolist()
        return answers

    def _calls(self, lengths: Sequence[int]) -> list[list[int]]:
        """Places of the inputs that share each call."""
        if self.manifest.precision == "fp32":
            return group_by_length(lengths, MAX_BATCH_ROWS, self._max_positions)
        rows = self.settings.texts_per_call
        return group_by_length(lengths, rows, rows * max(lengths, default=0))

    def decode(self, answer: Sequence[float]) -> str:
        """Text of an answer of `predict_ids`; see `encoder_answers.decode_answer`."""
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

    def _types(self, ids: Sequence[int]) -> Ids:
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
