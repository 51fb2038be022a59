"""A smaller vocabulary: the pieces that given texts use, and what keeps every word spellable."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from ...errors import ExportError
from ...export.onnx.builder import Array
from .examples import Example

TABLE_WEIGHTS = ("embed.weight", "head.bias")
"""Weights that have a row for each piece; the second only where masked tokens are predicted."""


@dataclass(frozen=True)
class TrimmedVocabulary:
    """What is left of a vocabulary."""

    tokenizer: str
    ids: tuple[int, ...]

    def __len__(self) -> int:
        """How many pieces are left."""
        return len(self.ids)

    def weights(self, weights: Mapping[str, Array]) -> dict[str, Array]:
        """A subnet's weights with the rows of these pieces alone."""
        rows = np.array(self.ids)
        return {
            name: array[rows] if name in TABLE_WEIGHTS else array for name, array in weights.items()
        }

    def new_ids(self, ids: Sequence[int]) -> list[int]:
        """Old ids, all of which are left, under their new numbers."""
        return [self._numbers[i] for i in ids]

    @cached_property
    def _numbers(self) -> dict[int, int]:
        return {old: new for new, old in enumerate(self.ids)}


def trim_to_examples(
    tokenizer_path: Path, examples: Iterable[Example], texts: Iterable[str]
) -> TrimmedVocabulary:
    """`trim_vocabulary` to what examples and further lines of text hold; a tab separates two
    texts.
    """
    lines = itertools.chain(texts, (example.line for example in examples))
    content = tokenizer_path.read_text(encoding="utf-8")
    return trim_vocabulary(content, (text for line in lines for text in line.split("\t")))


def trim_vocabulary(content: str, texts: Iterable[str]) -> TrimmedVocabulary:
    """Keep the pieces that the texts are split into, the special ones and all single characters."""
    # an older file does not name its type; the library does
    data = json.loads(tokenizers.Tokenizer.from_str(content).to_str())
    if data["model"]["type"] != "WordPiece":
        raise ExportError(
            f"the vocabulary of a {data['model']['type']} tokenizer cannot be trimmed, only that "
            "of a WordPiece; set export.trim_vocabulary to false"
        )
    tokenizer = tokenizers.Tokenizer.from_str(content)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    vocabulary: dict[str, int] = data["model"]["vocab"]
    kept = {token["id"] for token in data["added_tokens"]}
    kept.add(vocabulary[data["model"]["unk_token"]])
    for text in texts:
        kept.update(tokenizer.encode(text).ids)
    inner = data["model"]["continuing_subword_prefix"]
    kept.update(i for piece, i in vocabulary.items() if _must_stay(piece, vocabulary, inner))
    ids = tuple(sorted(kept))
    numbers = {old: new for new, old in enumerate(ids)}
    return TrimmedVocabulary(_renumbered(data, numbers), ids)


def _must_stay(piece: str, vocabulary: Mapping[str, int], inner: str) -> bool:
    """Whether a piece is a single character, or the only place of one."""
    is_inner = piece.startswith(inner) and len(piece) > len(inner)
    characters = piece[len(inner) :] if is_inner else piece
    if len(characters) == 1:
        return True
    first = inner if is_inner else ""
    singles = [f"{first}{characters[0]}", *(f"{inner}{x}" for x in characters[1:])]
    return not all(single in vocabulary for single in singles)


def _renumbered(data: dict[str, Any], numbers: Mapping[int, int]) -> str:
    """The tokenizer with these old ids alone, under their new numbers."""
    model = data["model"]
    vocab = sorted((i, piece) for piece, i in model["vocab"].items() if i in numbers)
    model = {**model, "vocab": {piece: numbers[i] for i, piece in vocab}}
    added = [{**token, "id": numbers[token["id"]]} for token in data["added_tokens"]]
    padding = data.get("padding")
    changes = {
        "model": model,
        "added_tokens": added,
        "padding": padding and {**padding, "pad_id": numbers[padding["pad_id"]]},
        "post_processor": _processor(data.get("post_processor"), numbers),
    }
    return json.dumps(data | changes, ensure_ascii=False)


def _processor(processor: dict[str, Any] | None, numbers: Mapping[int, int]) -> Any:
    """What puts special tokens around a text, with new numbers."""
    if processor is None:
        return None
    if processor["type"] == "TemplateProcessing":
        tokens = {
            name: {**token, "ids": [numbers[i] for i in token["ids"]]}
            for name, token in processor["special_tokens"].items()
        }
        return {**processor, "special_tokens": tokens}
    if processor["type"] in ("BertProcessing", "RobertaProcessing"):
        ends = {key: [processor[key][0], numbers[processor[key][1]]] for key in ("sep", "cls")}
        return {**processor, **ends}
    raise ExportError(
        f"the vocabulary of a tokenizer with the post-processor {processor['type']} cannot be "
        "trimmed; set export.trim_vocabulary to false"
    )
