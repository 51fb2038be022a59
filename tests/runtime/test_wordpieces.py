import random
from pathlib import Path

import pytest
import tokenizers
from encoder_bundles import CLS_ID, PIECES, SEP_ID, edit_manifest, write_tokenizer
from tokenizers import models, pre_tokenizers, processors

from mosdeploy.runtime import Encoder, ModelError
from mosdeploy.runtime.errors import LineError
from mosdeploy.runtime.wordpieces import WordPieces


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path / "tokenizer.json")
    return tmp_path / "tokenizer.json"


def write_byte_tokenizer(path: Path) -> None:
    """A tokenizer with a piece for each byte, as RoBERTa's."""
    pieces = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    model = models.BPE({piece: i for i, piece in enumerate(pieces)}, [])
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    path.write_text(tokenizer.to_str(), encoding="utf-8")


def test_a_line_by_hand(path: Path) -> None:
    found = WordPieces(path, len(PIECES), 5, takes_pairs=True)
    pieces = found.split("The  cats.")
    assert [PIECES[i] for i in pieces.ids] == ["[CLS]", "the", "cat", "##s", "[SEP]"]
    assert pieces.spans == [(0, 0), (0, 3), (4, 7), (7, 8), (0, 0)]
    assert pieces.is_cut, "the point has no place"
    assert not WordPieces(path, len(PIECES), 6, takes_pairs=True).split("the cats.").is_cut


def test_a_tab_separates_two_texts_where_there_are_pairs(path: Path) -> None:
    with_pairs, without = (
        WordPieces(path, len(PIECES), 9, takes_pairs=takes_pairs) for takes_pairs in (True, False)
    )
    assert with_pairs.separator_id == SEP_ID
    assert with_pairs.encode("the\tcat") == [CLS_ID, 5, SEP_ID, 6, SEP_ID]
    assert without.encode("the\tcat") == [CLS_ID, 5, 6, SEP_ID]


def test_without_pairs_a_tab_is_a_space(tmp_path: Path) -> None:
    """Of a tokenizer of bytes, which tells them apart, and in windows too."""
    write_byte_tokenizer(tmp_path / "bytes.json")
    singles = WordPieces(tmp_path / "bytes.json", 300, 6, takes_pairs=False)
    assert singles.split("a\tb") == singles.split("a b")
    assert singles.split_whole("a\tcat\tsees") == singles.split_whole("a cat sees")
    # white space is single spaces, as in training
    assert singles.split(" a \t b\u00a0") == singles.split("a b")
    assert singles.split_whole("a  cat\t sees ") == singles.split_whole("a cat sees")
    pairs = WordPieces(tmp_path / "bytes.json", 300, 9, takes_pairs=True)
    assert pairs.encode("a\tb\tc") == pairs.encode("a\tb c")


@pytest.mark.parametrize("is_of_bytes", [False, True])
@pytest.mark.parametrize("max_len", [4, 5, 6, 7, 13, 32])
def test_pairs_are_cut_as_the_library_cuts(path: Path, max_len: int, is_of_bytes: bool) -> None:
    if is_of_bytes:
        write_byte_tokenizer(path)
    library = tokenizers.Tokenizer.from_file(str(path))
    library.enable_truncation(max_len, strategy="longest_first")
    tokenizer = WordPieces(path, 300, max_len, takes_pairs=True)
    rng = random.Random(max_len)
    words = ["the", "cats", "houses", "a", "paris,", "xyz", "\u00e9\U0001f600"]
    num_cut = 0
    for _ in range(100):
        texts = [" ".join(rng.choices(words, k=rng.choice([0, 1, 2, 3, 9, 30]))) for _ in "ab"]
        expected = library.encode(*texts)
        found = tokenizer.split("\t".join(texts))
        assert (found.ids, found.spans) == (expected.ids, expected.offsets)
        assert found.is_cut == bool(expected.overflowing)
        num_cut += found.is_cut
    assert 20 < num_cut < 100


def test_long_pairs_make_no_windows(path: Path) -> None:
    """The library would make 333 of the first text, each with all 500 of the second."""
    tokenizer = WordPieces(path, len(PIECES), 10, takes_pairs=True)
    found = tokenizer.split("the " * 1000 + "\t" + "cat " * 2000)
    assert found.is_cut
    assert found.ids == [CLS_ID, 5, 5, 5, SEP_ID, 6, 6, 6, 6, SEP_ID]
    assert tokenizer._tokenizer.truncation is None


@pytest.mark.parametrize("max_len", [4, 5, 6, 10])
@pytest.mark.parametrize("num_words", [1, 2, 3, 8, 9, 50])
def test_windows_hold_all_pieces_in_order(path: Path, max_len: int, num_words: int) -> None:
    text = " ".join(["the", "cats", "sees", "a", "red", "house"][i % 6] for i in range(num_words))
    whole = WordPieces(path, len(PIECES), 1000, takes_pairs=True).split(text)
    tokenizer = WordPieces(path, len(PIECES), max_len, takes_pairs=True)
    windows = tokenizer.split_whole(text)
    assert not any(window.is_cut for window in windows)
    assert windows[0].ids == tokenizer.encode(text)
    seen: list[tuple[int, int]] = []
    for window in windows:
        assert window.ids[0] == CLS_ID and window.ids[-1] == SEP_ID
        assert len(window.ids) <= max_len and window.num_content == len(window.ids) - 2
        spans = window.spans[1:-1]
        overlap = (max_len - 2) // 4 if seen else 0
        assert spans[:overlap] == seen[len(seen) - overlap :]
        seen += spans[overlap:]
    assert seen == whole.spans[1:-1]
    assert (len(windows) == 1) == (len(whole.ids) <= max_len)


def test_two_texts_have_no_windows(path: Path) -> None:
    pairs, singles = (
        WordPieces(path, len(PIECES), 8, takes_pairs=takes_pairs) for takes_pairs in (True, False)
    )
    text = "the cat see\tthe small cat"
    with pytest.raises(LineError, match="two texts that have more than 8 tokens together") as error:
        pairs.split_whole(text)
    assert error.value.line == text
    assert [x.ids for x in pairs.split_whole("the\tcat")] == [[CLS_ID, 5, SEP_ID, 6, SEP_ID]]
    assert len(singles.split_whole(f"{text} the cat")) == 2


def test_padding_and_cutting_of_the_file_count_for_nothing(path: Path) -> None:
    plain = WordPieces(path, len(PIECES), 9, takes_pairs=True)
    saved = tokenizers.Tokenizer.from_file(str(path))
    saved.enable_padding(length=12)
    saved.enable_truncation(5)
    saved.save(str(path))
    found = WordPieces(path, len(PIECES), 9, takes_pairs=True)
    assert found.separator_id == plain.separator_id == SEP_ID
    for text in ("", "the cat", "the cat\tsee", "the cat see small red house"):
        assert found.split(text) == plain.split(text)
    assert len(found.encode("the cat see small red house")) == 8
    assert found.split_whole("the cat " * 9) == plain.split_whole("the cat " * 9)


def test_a_tokenizer_that_is_none(encoder_bundle: Path) -> None:
    (encoder_bundle / "tokenizer.json").write_text("{}")
    edit_manifest(encoder_bundle)
    with pytest.raises(ModelError, match=r"cannot read .*tokenizer\.json"):
        Encoder(encoder_bundle)
