"""The subword model of an encoder: that of its checkpoint, or one trained on the texts."""

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from ...config.encoder import EncoderRunConfig
from ...errors import ConfigError, StaleInputError
from ...runtime.wordpieces import kept_positions
from ...storage import atomic_write
from .examples import EncoderData

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
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise StaleInputError(f"{path} does not exist; run `mosdeploy train` first") from error
        except OSError as error:
            raise StaleInputError(f"{path} cannot be read: {error.strerror}") from error
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
