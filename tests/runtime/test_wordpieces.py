from pathlib import Path

import pytest
from encoder_bundles import CLS_ID, PIECES, SEP_ID, edit_manifest, write_tokenizer

from mosdeploy.runtime import Encoder, ModelError
from mosdeploy.runtime.wordpieces import WordPieces


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path / "tokenizer.json")
    return tmp_path / "tokenizer.json"


def test_a_line_by_hand(path: Path) -> None:
    pieces = WordPieces(path, len(PIECES), 5, takes_pairs=True).split("The  cats.")
    assert [PIECES[i] for i in pieces.ids] == ["[CLS]", "the", "cat", "##s", "[SEP]"]
    assert pieces.spans == [(0, 0), (0, 3), (5, 8), (8, 9), (0, 0)]
    assert pieces.is_cut, "the point has no place"
    assert not WordPieces(path, len(PIECES), 6, takes_pairs=True).split("the cats.").is_cut


def test_a_tab_separates_two_texts_where_there_are_pairs(path: Path) -> None:
    with_pairs, without = (
        WordPieces(path, len(PIECES), 9, takes_pairs=takes_pairs) for takes_pairs in (True, False)
    )
    assert with_pairs.separator_id == SEP_ID
    assert with_pairs.encode("the\tcat") == [CLS_ID, 5, SEP_ID, 6, SEP_ID]
    assert without.encode("the\tcat") == [CLS_ID, 5, 6, SEP_ID]


def test_of_two_texts_the_longer_is_cut(path: Path) -> None:
    tokenizer = WordPieces(path, len(PIECES), 7, takes_pairs=True)
    assert tokenizer.encode("the the the the the\tcat") == [CLS_ID, 5, 5, 5, SEP_ID, 6, SEP_ID]


def test_a_tokenizer_that_is_none(encoder_bundle: Path) -> None:
    (encoder_bundle / "tokenizer.json").write_text("{}")
    edit_manifest(encoder_bundle)
    with pytest.raises(ModelError, match=r"cannot read .*tokenizer\.json"):
        Encoder(encoder_bundle)


def test_a_tokenizer_of_another_size(encoder_bundle: Path) -> None:
    edit_manifest(encoder_bundle, lambda data: data.update(vocab_size=len(PIECES) - 1))
    with pytest.raises(ModelError, match="holds 24 tokens, the manifest says 23"):
        Encoder(encoder_bundle)
