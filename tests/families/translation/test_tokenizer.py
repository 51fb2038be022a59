import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from mosdeploy.errors import ConfigError, StaleInputError
from mosdeploy.families.translation.corpus import normalise
from mosdeploy.families.translation.tokenizer import (
    BOS_ID,
    EOS_ID,
    PAD_ID,
    UNK_ID,
    Tokenizer,
    interruptible,
    train_tokenizer,
)
from mosdeploy.runtime.tokenizer import Tokenizer as BundleTokenizer

WORDS = [
    "save",
    "file",
    "open",
    "window",
    "close",
    "folder",
    "page",
    "Datei",
    "öffnen",
    "Fenster",
    "schließen",
    "Seite",
]
PAIRS = [
    (f"{a} {b}", f"{b} {a} {c}") for i, a in enumerate(WORDS) for b in WORDS[i:] for c in WORDS[::3]
]
SIZE = 38


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "made" / "tokenizer.model"
    train_tokenizer(PAIRS, SIZE, path)
    return path


def test_decode_undoes_encode(path: Path) -> None:
    tokenizer = Tokenizer(path)
    for source, target in PAIRS[::50]:
        assert tokenizer.decode(tokenizer.encode(source)) == source
        assert tokenizer.decode(tokenizer.encode(target)) == target


def test_the_model_normalises_as_the_corpus_does(path: Path) -> None:
    tokenizer = Tokenizer(path)
    for text in ("ﬁle\u00a0 open", "  O\u0308ffnen ", "Ｆenster", "Datei\topen"):
        assert tokenizer.encode(text) == tokenizer.encode(normalise(text))


@pytest.fixture(scope="module")
def joined_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a language that writes words with joiners, for which few characters change."""
    joined = [(source, target.replace(" ", "\u200c", 1)) for source, target in PAIRS]
    path = tmp_path_factory.mktemp("tokenizer") / "joined.model"
    train_tokenizer(joined, SIZE + 1, path)
    return path


def tokenizers_of(path: Path) -> list[Tokenizer | BundleTokenizer]:
    tokenizer = Tokenizer(path)
    return [tokenizer, BundleTokenizer(path, tokenizer.vocab_size)]


WHITE_SPACE = [x for x in map(chr, range(sys.maxunicode + 1)) if x.isspace()]


def test_all_white_space_is_read_as_training_reads_it(path: Path, joined_path: Path) -> None:
    for tokenizer in [*tokenizers_of(path), *tokenizers_of(joined_path)]:
        expected = tokenizer.encode("save file")
        for space in [*WHITE_SPACE, "\u200b", "\ufeff"]:
            assert tokenizer.encode(f"save{space}file") == expected, repr(space)
            assert tokenizer.encode(f"{space}save {space} file{space}") == expected, repr(space)
            assert tokenizer.encode(space) == [], repr(space)


@pytest.mark.parametrize("unseen", ["\x00", "\x01", "\x9c", "\u00ad", "\u2060", "\ufe0f"])
def test_what_nobody_sees_is_passed_over(path: Path, joined_path: Path, unseen: str) -> None:
    for tokenizer in [*tokenizers_of(path), *tokenizers_of(joined_path)]:
        assert tokenizer.encode(f"sa{unseen}ve file{unseen}") == tokenizer.encode("save file")
        assert tokenizer.encode(unseen) == []
        assert UNK_ID in tokenizer.encode("\u2603")  # what one sees stays


def test_what_the_model_has_learned_of_it_stays(tmp_path: Path) -> None:
    hyphened = [(source.replace(" ", "\u00ad"), target) for source, target in PAIRS]
    train_tokenizer(hyphened, SIZE + 1, tmp_path / "hyphened.model")
    for tokenizer in tokenizers_of(tmp_path / "hyphened.model"):
        ids = tokenizer.encode("save\u00adfile")
        assert UNK_ID not in ids and tokenizer.decode(ids) == "save\u00adfile"


def test_words_that_are_written_with_joiners_keep_them(path: Path, joined_path: Path) -> None:
    text = "Datei\u200cöffnen save"
    for tokenizer in tokenizers_of(joined_path):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    # elsewhere one that somebody has pasted is a space
    for tokenizer in tokenizers_of(path):
        assert tokenizer.encode("save\u200cfile") == tokenizer.encode("save file")


def test_the_same_pairs_give_the_same_bytes(path: Path, tmp_path: Path) -> None:
    train_tokenizer(PAIRS, SIZE, tmp_path / "again.model")
    assert (tmp_path / "again.model").read_bytes() == path.read_bytes()


def test_size_and_special_ids(path: Path) -> None:
    tokenizer = Tokenizer(path)
    assert tokenizer.vocab_size == SIZE
    assert (PAD_ID, UNK_ID, BOS_ID, EOS_ID) == (0, 1, 2, 3)
    assert min(tokenizer.encode("save file")) > EOS_ID
    assert UNK_ID in tokenizer.encode("日")
    assert tokenizer.decode([BOS_ID, *tokenizer.encode("save"), EOS_ID, PAD_ID]) == "save"
    assert tokenizer.encode("") == []


def test_answers_with_unknown_tokens_have_single_spaces(path: Path) -> None:
    for tokenizer in tokenizers_of(path):
        assert tokenizer.decode([UNK_ID]) == "\u2047"
        ids = [UNK_ID, *tokenizer.encode("save"), UNK_ID, UNK_ID, *tokenizer.encode("file"), UNK_ID]
        assert tokenizer.decode(ids) == "\u2047 save \u2047 \u2047 file \u2047"


def test_encode_many_is_encode_of_each(path: Path) -> None:
    tokenizer = Tokenizer(path)
    texts = [source for source, _ in PAIRS[:5]]
    assert tokenizer.encode_many(texts) == [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_many([]) == []


def test_too_few_pairs_say_how_many_tokens_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"2 training pairs are too few .*at most \d+"):
        train_tokenizer([("save", "file")] * 2, 4000, tmp_path / "x.model")
    assert list(tmp_path.iterdir()) == []


def test_too_small_vocabulary_says_what_the_characters_need(tmp_path: Path) -> None:
    alphabet = "".join(chr(code) for code in range(0x61, 0x7B)) + "äöüéèàçñßø"
    with pytest.raises(ConfigError, match=r"vocab_size = 32 is too small: .* need \d+ tokens"):
        train_tokenizer([(alphabet, alphabet[::-1])] * 50, 32, tmp_path / "x.model")


def test_missing_corrupt_or_foreign_model(tmp_path: Path) -> None:
    with pytest.raises(StaleInputError, match="run `mosdeploy train` first"):
        Tokenizer(tmp_path / "no.model")
    (tmp_path / "bad.model").write_bytes(b"junk")
    with pytest.raises(StaleInputError, match=r"bad\.model is no SentencePiece model"):
        Tokenizer(tmp_path / "bad.model")


class EndedError(Exception):
    pass


@pytest.fixture
def ended_by_a_signal() -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise EndedError

    before = signal.signal(signal.SIGUSR1, end)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("ended_by_a_signal")
def test_a_signal_ends_the_wait() -> None:
    is_over = threading.Event()

    def wait() -> None:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        is_over.wait()  # as a library that returns late

    try:
        with pytest.raises(EndedError):
            interruptible(wait)
    finally:
        is_over.set()
