import random
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
from bundles import VOCAB_SIZE, sentences

from mosdeploy.families.translation.tokenizer import train_tokenizer
from mosdeploy.runtime import ModelError, Translator
from mosdeploy.runtime.tokenizer import Tokenizer

LONG = " ".join(sentences(12, 5))


@pytest.fixture(scope="module")
def tokenizer(fp32_bundle: Path) -> Tokenizer:
    return Tokenizer(fp32_bundle / "tokenizer.model", VOCAB_SIZE)


def test_decoding_undoes_encoding(tokenizer: Tokenizer) -> None:
    for line in sentences(20, 9):
        assert tokenizer.decode(tokenizer.encode(line)) == line


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 16])
@pytest.mark.parametrize(
    "line", [LONG, "the cat " * 20, "x" * 60, "a.b.c." * 9, "the cat。the roof！" * 4]
)
def test_parts_keep_the_limit_and_lose_nothing(tokenizer: Tokenizer, line: str, limit: int) -> None:
    parts = tokenizer.encode_parts(line, limit)
    assert all(1 <= len(part) <= limit for part in parts)
    joined = "".join(tokenizer.decode(part) for part in parts).replace(" ", "")
    assert joined == tokenizer.decode(tokenizer.encode(line)).replace(" ", "")


def test_parts_end_at_sentences_if_they_can(tokenizer: Tokenizer) -> None:
    texts = [tokenizer.decode(part) for part in tokenizer.encode_parts(LONG, 16)]
    assert len(texts) > 1 and all(text.endswith(".") for text in texts)


@pytest.fixture(scope="module")
def japanese(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("japanese") / "tokenizer.model"
    lines = [made_up_japanese(rng, 2) for _ in range(400)]
    train_tokenizer([(line, "the cat sees.") for line in lines], 60, path)
    return Tokenizer(path, 60)


def made_up_japanese(rng: random.Random, num_sentences: int) -> str:
    """Sentences without spaces."""
    return "".join(
        "".join(rng.choices("猫犬家本赤小大見行来山川", k=rng.randint(3, 7))) + "。"
        for _ in range(num_sentences)
    )


@pytest.mark.parametrize("limit", [9, 16, 30])
def test_a_part_is_split_as_a_text_of_its_own(
    tokenizer: Tokenizer, japanese: Tokenizer, limit: int
) -> None:
    rng = random.Random(1)
    for _ in range(20):
        line = made_up_japanese(rng, 8)
        parts = japanese.encode_parts(line, limit)
        texts = [japanese.decode(part) for part in parts]
        assert len(parts) > 1 and "".join(texts) == line
        assert all(text.endswith("。") for text in texts)
        assert [japanese.encode(text) for text in texts] == parts
        parts = tokenizer.encode_parts(" ".join(sentences(9, limit)), limit)
        assert [tokenizer.encode(tokenizer.decode(part)) for part in parts] == parts


def test_a_part_that_begins_inside_a_word_begins_as_texts_do(japanese: Tokenizer) -> None:
    line = "猫犬家本赤小大見行来山川" * 4
    parts = japanese.encode_parts(line, 7)
    assert "".join(japanese.decode(part) for part in parts) == line
    assert all(japanese.encode(japanese.decode(part)) == part for part in parts)


def test_a_line_that_fits_is_one_part(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("the cat. a house.")
    assert tokenizer.encode_parts("the cat. a house.", len(ids)) == [ids]
    assert len(tokenizer.encode_parts("the cat. a house.", len(ids) - 1)) == 2
    assert tokenizer.encode_parts("", 5) == []


def test_a_tokenizer_of_another_size(bundle: Path, replace: Callable) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences(400, 0)),
        model_prefix=str(bundle.parent / "other"),
        vocab_size=50,
        minloglevel=2,
    )
    replace("tokenizer.model", (bundle.parent / "other.model").read_bytes())
    with pytest.raises(ModelError, match="holds 50 tokens, the manifest says 64"):
        Translator(bundle)
