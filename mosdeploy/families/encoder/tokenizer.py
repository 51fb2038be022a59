"""The subword model of an encoder: that of its checkpoint, or one trained on the texts."""

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from ...config.encoder import EncoderRunConfig
from ...errors import ConfigError, ExportError, StaleInputError
from ...family import SmallerVocabulary
from ...runtime.wordpieces import kept_positions
from ...storage import atomic_write, read_bytes
from .examples import EncoderData, Example

TOKENIZER_NAME = "tokenizer.json"

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Of BERT, in the order of their ids in a tokenizer that is trained here."""

ROBERTA_TOKENS = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")
"""What RoBERTa calls the same."""

MAX_TRAINING_EXAMPLES = 1_000_000
"""Of more texts, evenly spaced ones train the tokenizer."""

MAX_CHARACTERS = 1000
"""So many different characters, the most frequent ones, are pieces of a tokenizer that is trained
here.
"""


@dataclass(frozen=True)
class SpecialIds:
    """Ids of the special tokens; `everything` are all that stand for no text."""

    pad: int
    cls: int
    sep: int
    mask: int
    everything: frozenset[int]


@dataclass(frozen=True)
class TaggedIds:
    """Ids of a text, and the position of the first piece of each word; -1 for a word without."""

    ids: list[int]
    first_pieces: list[int]


def train_tokenizer(data: EncoderData, config: EncoderRunConfig, path: Path) -> None:
    """Copy the tokenizer of the checkpoint, or train a WordPiece model on the training texts."""
    vocab_size = config.checkpoint.vocab_size
    if data.checkpoint_folder is None:
        stride = -(-len(data.train) // MAX_TRAINING_EXAMPLES) or 1
        examples = data.train[::stride]
        texts = [text for x in examples for text in (x.text, x.text_pair) if text]
        atomic_write(path, _train_wordpieces(texts, vocab_size))
        return
    source = data.checkpoint_folder / TOKENIZER_NAME
    try:
        content = source.read_bytes()
        EncoderTokenizer(source, vocab_size)
    except (OSError, StaleInputError) as error:
        raise ConfigError(
            f"the checkpoint has no usable {TOKENIZER_NAME} ({error}); save it there with "
            "transformers: AutoTokenizer.from_pretrained(...).save_pretrained(folder)"
        ) from error
    atomic_write(path, content)


class EncoderTokenizer:
    """A tokenizer in the format of Hugging Face, of at most `num_rows` ids if that is given."""

    def __init__(self, path: Path, num_rows: int | None = None) -> None:
        content = read_bytes(path, "`mosdeploy train`")
        with _library_errors(path):
            self._tokenizer = tokenizers.Tokenizer.from_str(content.decode("utf-8"))
            self._tokenizer.no_padding()  # a file may say that all texts have one length
            self._tokenizer.no_truncation()
        self._path = path
        self.special = self._special_ids(path)
        self.vocab_size = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())
        """Highest id plus one: rows that the embedding table needs."""
        if num_rows is not None and self.vocab_size > num_rows:
            raise StaleInputError(
                f"{path} has ids up to {self.vocab_size - 1}, but the embedding table (vocab_size) "
                f"{num_rows} rows; use the tokenizer that belongs to it"
            )

    def encode(
        self, text: str, pair: str | None = None, max_tokens: int | None = None
    ) -> list[int]:
        """Ids of a text or of two, with special tokens, cut to `max_tokens`; of two texts the
        longer is cut first.
        """
        return _ids(self._encoded(text, pair), max_tokens)

    def encode_many(
        self, texts: Sequence[tuple[str, str | None]], max_tokens: int | None = None
    ) -> list[list[int]]:
        """`encode` for many texts or pairs, in order."""
        if any(pair is not None for _, pair in texts):
            self._check_pairs()
        inputs = [text if pair is None else (text, pair) for text, pair in texts]
        with _library_errors(self._path):
            batch = self._tokenizer.encode_batch_fast(inputs)
        return [_ids(found, max_tokens) for found in batch]

    def encode_words(self, words: Sequence[str], max_tokens: int | None = None) -> TaggedIds:
        """`encode` of words joined by spaces, and where each word begins."""
        found = self._encoded(" ".join(words))
        spans = found.offsets
        owners = [i for i, word in enumerate(words) for _ in range(len(word) + 1)]
        first_pieces = [-1] * len(words)
        for position, i in enumerate(kept_positions(found, max_tokens)):
            start, end = spans[i]
            if end > start:  # not a special token
                # by the last character: a piece may begin with the space before its word
                word = owners[end - 1]
                if first_pieces[word] < 0:
                    first_pieces[word] = position
        return TaggedIds(_ids(found, max_tokens), first_pieces)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The piece of each id."""
        return [self._tokenizer.id_to_token(i) or "" for i in ids]

    def _encoded(self, text: str, pair: str | None = None) -> tokenizers.Encoding:
        with _library_errors(self._path):
            return self._tokenizer.encode(text, pair)

    def _check_pairs(self) -> None:
        empty = self._encoded("", "").ids
        cls = self.special.cls
        sep = self.special.sep
        # between the texts stands one separator or, as RoBERTa has it, two
        if empty not in ([cls, sep, sep], [cls, sep, sep, sep]):
            raise ConfigError(
                f"{self._path} encodes a pair of empty texts as {empty}, not as "
                f"[{cls}, {sep}, {sep}], the begin and the ends of both; the task has pairs: use a "
                "tokenizer whose post-processor has a template for pairs too"
            )

    def _special_ids(self, path: Path) -> SpecialIds:
        for names in (SPECIAL_TOKENS, ROBERTA_TOKENS):
            found = [self._tokenizer.token_to_id(name) for name in names]
            ids = [i for i in found if i is not None]
            if len(ids) == len(names):
                break
        else:
            raise StaleInputError(
                f"{path} lacks special tokens; needed are {', '.join(SPECIAL_TOKENS)} or "
                f"{', '.join(ROBERTA_TOKENS)}"
            )
        pad, _, cls, sep, mask = ids
        empty = self._encoded("").ids
        if empty != [cls, sep]:
            raise StaleInputError(
                f"{path} encodes an empty text as {empty}, not as [{cls}, {sep}], its begin and "
                "end; the file needs a post-processor that adds them"
            )
        return SpecialIds(pad, cls, sep, mask, frozenset(ids))


@contextlib.contextmanager
def _library_errors(path: Path) -> Iterator[None]:
    """Say what is wrong with a file for whatever the library raises: it has no class of its own,
    and what it raises where its own code fails is no Exception.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise StaleInputError(
            f"{path} is no {TOKENIZER_NAME} ({error}); save a checkpoint's again, with a fast "
            "tokenizer; if it lies in a run folder, delete it and run `mosdeploy train` again"
        ) from error


def _ids(found: tokenizers.Encoding, max_tokens: int | None) -> list[int]:
    ids = found.ids
    return [ids[i] for i in kept_positions(found, max_tokens)]


def _train_wordpieces(texts: list[str], vocab_size: int) -> str:
    """A `tokenizer.json` of exactly `vocab_size` pieces, uncased as BERT's."""
    tokenizer = _bare(models.WordPiece(unk_token="[UNK]"))
    # the trainer numbers pieces inside words in the order of a hash table, which differs from
    # process to process; as special tokens they get their ids, which also break its ties, here
    inner = [f"##{character}" for character in _characters(tokenizer, texts)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL_TOKENS, *inner],
        limit_alphabet=MAX_CHARACTERS,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    vocabulary = tokenizer.get_vocab()
    if len(vocabulary) != vocab_size:
        too_many = len(vocabulary) > vocab_size
        raise ConfigError(
            f"{len(texts)} training texts yield {'at least' if too_many else 'at most'} "
            f"{len(vocabulary)} pieces, but checkpoint.vocab_size is {vocab_size}; "
            f"{'raise' if too_many else 'lower'} it to {len(vocabulary)}"
        )
    # anew, so that the pieces inside words are no special tokens any more
    trained = _bare(models.WordPiece(vocabulary, unk_token="[UNK]"))
    trained.add_special_tokens(list(SPECIAL_TOKENS))
    ids = {name: vocabulary[name] for name in ("[CLS]", "[SEP]")}
    trained.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=list(ids.items()),
    )
    return json.dumps(json.loads(trained.to_str()), ensure_ascii=False, sort_keys=True)


def _bare(model: models.WordPiece) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _characters(tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> list[str]:
    """Characters that a piece inside a word may begin with, the most frequent ones, in order."""
    counts: Counter[str] = Counter()
    for text in texts:
        normalised = tokenizer.normalizer.normalize_str(text)
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalised):
            counts.update(word[1:])
    frequent = sorted(counts, key=lambda character: (-counts[character], character))
    return sorted(frequent[:MAX_CHARACTERS])


# -- a smaller vocabulary


TABLE_WEIGHTS = ("embed.weight", "head.bias")
"""Weights that have a row for each piece; the second only where masked tokens are predicted."""


def trim_to_examples(
    tokenizer_path: Path, examples: Iterable[Example], texts: Iterable[str]
) -> SmallerVocabulary:
    """`trim_vocabulary` to what examples and further lines of text hold; a tab separates two
    texts.
    """
    lines = itertools.chain(texts, (example.line for example in examples))
    content = tokenizer_path.read_text(encoding="utf-8")
    return trim_vocabulary(content, (text for line in lines for text in line.split("\t")))


def trim_vocabulary(content: str, texts: Iterable[str]) -> SmallerVocabulary:
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
    return SmallerVocabulary(_renumbered(data, numbers), ids, TABLE_WEIGHTS)


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
