from pathlib import Path

import pytest

from mosdeploy.errors import ConfigError, StaleInputError
from mosdeploy.families.translation.corpus import normalise
from mosdeploy.families.translation.tokenizer import (
    BOS_ID,
    EOS_ID,
    PAD_ID,
    UNK_ID,
    Tokenizer,
    train_tokenizer,
)

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


def test_words_that_are_written_with_joiners_keep_them(path: Path, tmp_path: Path) -> None:
    joined = [(source, target.replace(" ", "\u200c", 1)) for source, target in PAIRS]
    train_tokenizer(joined, SIZE + 1, tmp_path / "joined.model")
    text = joined[0][1]
    assert Tokenizer(tmp_path / "joined.model").decode(
        Tokenizer(tmp_path / "joined.model").encode(text)
    ) == normalise(text)
    # elsewhere one that somebody has pasted is a space
    assert Tokenizer(path).encode("save\u200cfile") == Tokenizer(path).encode("save file")


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


def test_encode_many_is_encode_of_each(path: Path) -> None:
    tokenizer = Tokenizer(path)
    texts = [source for source, _ in PAIRS[:5]]
    assert tokenizer.encode_many(texts) == [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_many([]) == []


def test_too_few_pairs_say_how_many_tokens_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"2 training pairs are too few for corpus.vocab_size = 4000.*at most \d+"
    ):
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
