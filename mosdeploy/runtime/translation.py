"""A translation bundle, opened and ready to translate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import LineError, ModelError, needs
from .execution import Timing, group_by_length, num_threads
from .manifest import (
    ONNX_MODEL_NAME,
    TOKENIZER_NAMES,
    Manifest,
    TranslationSettings,
    open_folder,
    read_translation,
)
from .texts import check_texts, joined

if TYPE_CHECKING:
    from .session import ModelSession
    from .tvm_engine import TvmEngine

INPUTS = ("source_ids", "max_steps", "min_steps")
OUTPUTS = ("output_ids",)

MAX_BATCH_ROWS = 32
MAX_BATCH_POSITIONS = 2048  # padded source positions in one call

# a beam of 4 with 32,768 tokens keeps the two above; what is larger has fewer rows, not more memory
MAX_BATCH_LOGITS = 2**22
MAX_BATCH_HYPOTHESIS_POSITIONS = 2**13

LETTERS_A_TOKEN = 1024
"""A line may have so many characters for each token of `max_source_len`: a book is no line."""

TVM_PACKAGES = "'apache-tvm>=0.27,<0.28' 'apache-tvm-ffi<0.1.15'"

Inputs = Mapping[str, npt.NDArray[np.int64]]


class Translator:
    """Translates with a bundle.

    In fp32 the answer for a line does not depend on the lines beside it. Where linear layers are
    int8, as in int4 those of the encoder, it may, in rare words: activations are quantised on the
    fly with one scale for all that is computed together.

    Parameters
    ----------
    bundle_dir
        Folder of the bundle. Its files are checked against the hashes in its manifest.
    threads
        Threads that the bundle's runtime may use; None is as many as it was measured with, and
        no more than there are processors.
    providers
        ONNX Runtime execution providers, best first; None is the CPU. A TVM bundle knows none.

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
        If `threads` is no positive whole number, or `providers` is no list.

    Examples
    --------
    >>> translator = Translator("runs/tiny/bundles/en-de", threads=1)  # doctest: +SKIP
    >>> translator.predict(["A house.", ""])  # doctest: +SKIP
    ['Ein Haus.', '']
    """

    def __init__(
        self,
        bundle_dir: str | Path,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
    ) -> None:
        folder = Path(bundle_dir)
        self.timing = Timing()
        self.manifest, self.settings = open_folder(folder, read_translation)
        threads = num_threads(threads, self.manifest.threads)
        with needs("sentencepiece"):
            from .tokenizer import Tokenizer
        path = folder / TOKENIZER_NAMES["translation"]
        self.tokenizer = Tokenizer(path, self.manifest.vocab_size)
        self._engine = self._open_engine(folder, threads, providers)

    def predict(self, lines: Sequence[str]) -> list[str]:
        """Translate lines, in the order given.

        An empty line is answered by an empty line. A line of more than `settings.max_source_len`
        tokens is translated in parts (see `tokenizer`). Characters that the tokenizer does not know
        are read as unknown.

        Raises
        ------
        InputError
            If it is no list of texts, a line holds half of a character, or is far too long.
        ModelError
            If the bundle's runtime fails.
        """
        return [self.line_of(answer) for answer in self.answer(lines)]

    def answer(self, lines: Sequence[str]) -> list[dict[str, Any]]:
        """Translate lines, each to an object for JSON: `output`; `is_unfinished` is there, and
        True, if a translation was cut at `settings.max_decode_steps`, `is_joined` if the line holds
        two texts, which are translated as one.

        Raises
        ------
        InputError, ModelError
            As `predict`.
        """
        check_texts(lines)
        most = LETTERS_A_TOKEN * self.settings.max_source_len
        for line in lines:
            if len(line) > most:
                raise LineError(
                    f"{line[:60]!r}... has {len(line):,} characters, and this bundle reads "
                    f"{most:,} of a line at most: split it into several lines",
                    line,
                )
        with self.timing.measure("total_s"):
            found = self.predict_parts(lines)
            with self.timing.measure("tokenising_s"):
                answers: list[dict[str, Any]] = []
                for line, parts in zip(lines, found):  # noqa: B905 (Python 3.9)
                    answer: dict[str, Any] = {"output": self.text_of(parts)}
                    if parts and "\t" in line:
                        answer["is_joined"] = True
                    if any(len(ids) >= self.settings.max_decode_steps for ids in parts):
                        answer["is_unfinished"] = True
                    answers.append(answer)
        return answers

    def predict_parts(self, lines: Sequence[str]) -> list[list[list[int]]]:
        """Translate lines, each into the token ids of its parts; an empty line has none."""
        self.timing.num_lines += len(lines)
        limit = self.settings.max_source_len
        with self.timing.measure("tokenising_s"):
            parts = [self.tokenizer.encode_parts(line, limit) for line in lines]
        with self.timing.measure("running_s"):
            answers = iter(self.predict_ids([ids for line_parts in parts for ids in line_parts]))
        return [[next(answers) for _ in line_parts] for line_parts in parts]

    def text_of(self, parts: Sequence[Sequence[int]]) -> str:
        """Text of the parts of a line, as `predict_parts` has them."""
        return joined(map(self.decode, parts))

    @staticmethod
    def line_of(answer: Mapping[str, Any]) -> str:
        """One of `answer` as `predict` writes it."""
        return str(answer["output"])

    def decode(self, ids: Sequence[int]) -> str:
        """Text of an answer of `predict_ids`."""
        return self.tokenizer.decode(list(ids))

    def predict_ids(self, sources: Sequence[Sequence[int]]) -> list[list[int]]:
        """Translate token ids into token ids, both without begin and end, in the order given; no
        source may be longer than the limit.
        """
        answers: list[list[int]] = [[] for _ in sources]
        lengths = [len(ids) + 1 for ids in sources]  # with the end token
        limits = batch_limits(self.settings.beam, self.manifest.vocab_size)
        for group in group_by_length(lengths, *limits):
            translated = self._engine.translate([sources[i] for i in group])
            for index, ids in zip(group, translated):  # noqa: B905 (Python 3.9)
                answers[index] = ids
        return answers

    def run(self, inputs: Inputs) -> object:
        """Run the model once on raw inputs: for timing.

        Parameters
        ----------
        inputs
            `source_ids`, int64 (1, S); `max_steps` and `min_steps`, int64 scalars: decode steps to
            make at most, and before which no translation ends. A TVM library adds the end token
            itself, and so takes it for the last id of the source.
        """
        if inputs.keys() != set(INPUTS):
            raise ModelError(f"a translation takes {', '.join(INPUTS)}, not {sorted(inputs)}")
        return self._engine.run(inputs)

    def _open_engine(
        self, folder: Path, threads: int, providers: Sequence[str] | None
    ) -> OnnxEngine | TvmEngine:
        """Open the model with the runtime that the bundle was exported for, and import no other."""
        if self.manifest.runtime == "onnxruntime":
            with needs("onnxruntime"):
                from .session import ModelSession
            session = ModelSession(
                folder / ONNX_MODEL_NAME,
                inputs=INPUTS,
                outputs=OUTPUTS,
                threads=threads,
                providers=providers,
            )
            return OnnxEngine(session, self.manifest, self.settings)
        if providers is not None:
            raise ModelError(
                f"'{self.manifest.name}' is a TVM bundle and knows no ONNX Runtime providers"
            )
        with needs(TVM_PACKAGES):
            from .tvm_engine import TvmEngine
        return TvmEngine(folder, manifest=self.manifest, settings=self.settings, threads=threads)


def batch_limits(beam: int, vocab_size: int) -> tuple[int, int]:
    """Most rows, and most padded source positions, that share one call: each hypothesis of a row
    has logits of all tokens, and keys and values of all positions.

    >>> batch_limits(4, 32_000), batch_limits(64, 32_000)
    ((32, 2048), (2, 128))
    """
    rows = max(1, MAX_BATCH_LOGITS // (beam * vocab_size))
    positions = MAX_BATCH_HYPOTHESIS_POSITIONS // beam
    return min(MAX_BATCH_ROWS, rows), min(MAX_BATCH_POSITIONS, positions)


class OnnxEngine:
    """Translates batches with a model that holds the whole translation, search included."""

    def __init__(
        self, session: ModelSession, manifest: Manifest, settings: TranslationSettings
    ) -> None:
        self._session = session
        self._vocab_size = manifest.vocab_size
        self._settings = settings

    def translate(self, sources: Sequence[Sequence[int]]) -> list[list[int]]:
        """Translate ids, padded together, into ids, both without begin and end."""
        eos_id = self._settings.eos_id
        longest = max(map(len, sources))
        batch = np.full((len(sources), longest + 1), self._settings.pad_id, np.int64)  # (B, S)
        for row, ids in enumerate(sources):
            batch[row, : len(ids) + 1] = [*ids, eos_id]
        inputs = {
            "source_ids": batch,
            "max_steps": np.array(self._settings.max_decode_steps, np.int64),
            "min_steps": np.array(0, np.int64),
        }
        (output,) = self._session.run(inputs)
        self._check(output, len(sources))
        return [ids[: ids.index(eos_id)] if eos_id in ids else ids for ids in output.tolist()]

    def run(self, inputs: Inputs) -> object:
        """Run the model on raw inputs, as they are."""
        return self._session.run(inputs)

    def _check(self, output: Any, num_rows: int) -> None:
        if not isinstance(output, np.ndarray):  # a sequence or a map is a list or a dict
            raise ModelError(f"the model answered {num_rows} lines with a {type(output).__name__}")
        if output.dtype != np.int64 or output.ndim != 2 or len(output) != num_rows:
            raise ModelError(
                f"the model answered {num_rows} lines with {output.dtype} of shape {output.shape}"
            )
        if output.size and not 0 <= output.min() <= output.max() < self._vocab_size:
            raise ModelError(
                f"the model answered with ids from {output.min()} to {output.max()}, "
                f"of {self._vocab_size} tokens"
            )
