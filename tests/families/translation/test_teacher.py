"""Teachers of a translation: a bundle, a CTranslate2 model."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from walking import make_run_folder

from mosdeploy.config import load_run_config
from mosdeploy.config.translation import TranslationRunConfig
from mosdeploy.errors import BundleError, ConfigError
from mosdeploy.families.translation.corpus import load_data
from mosdeploy.families.translation.elastic import fresh_subnet
from mosdeploy.families.translation.scoring import translate
from mosdeploy.families.translation.teacher import (
    TranslationTeacher,
    _bundle_teacher,
    _language_token,
    answered_pairs,
    open_teacher,
)
from mosdeploy.families.translation.tokenizer import EOS_ID, Tokenizer, train_corpus_tokenizer
from mosdeploy.spaces.translation import DecoderLayerConfig, EncoderLayerConfig, TranslationArch
from mosdeploy.supernet.elastic import Subnet

ROOT = Path(__file__).parents[3]
UNIFORM = TranslationArch(
    encoder_embed_dim=32,
    decoder_embed_dim=32,
    encoder_layers=(EncoderLayerConfig(ffn_dim=64, heads=2),),
    decoder_layers=(DecoderLayerConfig(ffn_dim=64, self_heads=2, cross_heads=2, cross_span=1),),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run_folder(tmp_path_factory.mktemp("teacher"))


@pytest.fixture(scope="module")
def config(root: Path) -> TranslationRunConfig:
    found = load_run_config(root / "mosdeploy.toml")
    assert isinstance(found, TranslationRunConfig)
    return found


@pytest.fixture(scope="module")
def pairs(root: Path, config: TranslationRunConfig) -> list[tuple[str, str]]:
    return list(load_data(config, root).train[:24])


@pytest.fixture(scope="module")
def tokenizer_path(root: Path, config: TranslationRunConfig) -> Path:
    path = root / "tokenizer.model"
    train_corpus_tokenizer(load_data(config, root), config, path)
    return path


@pytest.fixture(scope="module")
def tokenizer(tokenizer_path: Path) -> Tokenizer:
    return Tokenizer(tokenizer_path)


@pytest.fixture(scope="module")
def subnet(config: TranslationRunConfig, tokenizer: Tokenizer) -> Subnet:
    """Random weights, large enough for sentences to differ, and for some answers to end."""
    subnet = fresh_subnet(UNIFORM, config.space, tokenizer.vocab_size, config.supernet, seed=3)
    with torch.no_grad():
        for name, weight in subnet.named_parameters():
            weight.mul_(3 if "fc" in name or "attn." in name else 1)
        dict(subnet.named_parameters())["embed.weight"][EOS_ID] *= 3
    return subnet.eval()


def opened(folder: Path, config: TranslationRunConfig, **settings: Any) -> TranslationTeacher:
    """The teacher in a folder."""
    asked = config.teacher.model_copy(update={"path": str(folder), **settings})
    return open_teacher(config.model_copy(update={"teacher": asked}), folder, threads=1)


def test_answers_are_cleaned_as_training_pairs_are(config: TranslationRunConfig) -> None:
    sources = ["zero", "one two", "three", "two", "1 2", "b"]
    outputs = ["", "one  two", "x" * 400, "zwei", "eins\u00a0zwei", "a \u2047 "]
    assert answered_pairs(sources, outputs, config) == [("two", "zwei"), ("1 2", "eins zwei")]


def test_a_folder_that_holds_no_model_is_refused(
    tmp_path: Path, config: TranslationRunConfig
) -> None:
    with pytest.raises(ConfigError, match=r"manifest\.json"):
        opened(tmp_path, config)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(BundleError, match=r"manifest\.json"):
        opened(tmp_path, config)


def test_a_bundle_has_no_answer_where_a_part_was_cut() -> None:
    """Each number of a source is a part, whose translation has so many tokens."""
    translator: Any = SimpleNamespace(
        settings=SimpleNamespace(beam=1, max_decode_steps=3),
        predict_parts=lambda lines: [[[7] * int(x) for x in line.split()] for line in lines],
        text_of=lambda parts: " ".join("x" * len(ids) for ids in parts if ids),
    )
    sources = ["2", "3", "2 1", "1 3 2", "1 0 2", ""]
    for num_threads in (1, 2, 7):
        teacher = _bundle_teacher([translator] * num_threads, beam=None)
        assert teacher.setup == "beam 1"
        assert teacher.translate(sources) == ["xx", "", "xx x", "", "x xx", ""]
    with pytest.raises(ConfigError, match="--beam 5"):
        _bundle_teacher([translator], beam=5)


# -- CTranslate2


@pytest.fixture
def ct2_folder(
    request: pytest.FixtureRequest,
    subnet: Subnet,
    tokenizer_path: Path,
    tokenizer: Tokenizer,
    tmp_path: Path,
) -> Path:
    """The subnet's weights as a CTranslate2 model whose vocabulary is that of the tokenizer; it has
    64 positions, or as many as a test says.
    """
    pytest.importorskip("ctranslate2")
    path = ROOT / "benchmarks" / "ctranslate2_model.py"
    spec = importlib.util.spec_from_file_location("ctranslate2_model", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path / "opus"
    module.convert(subnet, getattr(request, "param", 64), "float32", folder)
    pieces = [tokenizer._processor.id_to_piece(i) for i in range(tokenizer.vocab_size)]
    (folder / "shared_vocabulary.json").write_text(json.dumps(pieces))
    shutil.copy(tokenizer_path, folder / "sentencepiece.model")
    return folder


@pytest.mark.parametrize("adds_end", [True, False])
def test_ctranslate2_answers_as_the_same_weights_in_torch(
    ct2_folder: Path,
    subnet: Subnet,
    tokenizer: Tokenizer,
    config: TranslationRunConfig,
    pairs: Any,
    adds_end: bool,
) -> None:
    """Greedy; whether the model adds the end of the source, or leaves that to the caller."""
    settings = json.loads((ct2_folder / "config.json").read_text())
    (ct2_folder / "config.json").write_text(json.dumps({**settings, "add_source_eos": adds_end}))
    sources = [source for source, _ in pairs]
    theirs = opened(ct2_folder, config, beam=1)
    assert theirs.setup == "beam 1, at most 16 tokens"
    ids = translate(subnet, tokenizer.encode_many(sources), 1, 16, 0.0)
    assert {len(row) < 16 for row in ids} == {True, False}
    texts = [tokenizer.decode(row) if len(row) < 16 else "" for row in ids]
    assert theirs.translate(sources) == texts


def test_ctranslate2_leaves_out_what_is_too_long_for_it(
    ct2_folder: Path,
    tokenizer: Tokenizer,
    config: TranslationRunConfig,
    pairs: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    teacher = opened(ct2_folder, config, beam=1)
    sources = [source for source, _ in pairs]
    alone = teacher.translate(sources)
    too_long = "one " * 80  # the model has 64 positions
    assert teacher.translate([too_long, *sources, too_long]) == ["", *alone, ""]
    assert f"left out 2 of {len(sources) + 2} sources, which" in caplog.text
    # nothing but what is too long: a last chunk may be so
    assert teacher.translate([too_long]) == [""]


def with_tokens(folder: Path, tokens: list[str]) -> None:
    """Put tokens in the place of the vocabulary's last ones."""
    path = folder / "shared_vocabulary.json"
    path.write_text(json.dumps(json.loads(path.read_text())[: -len(tokens)] + tokens))


def test_a_multilingual_model_is_told_the_language(
    ct2_folder: Path,
    subnet: Subnet,
    tokenizer: Tokenizer,
    config: TranslationRunConfig,
    pairs: Any,
) -> None:
    with_tokens(ct2_folder, [">>fra<<", ">>deu<<"])
    teacher = opened(ct2_folder, config, beam=1)
    assert teacher.setup == "beam 1, at most 16 tokens, >>deu<<"
    sources = [source for source, _ in pairs]
    # the token has the last id
    inputs = [[tokenizer.vocab_size - 1, *row] for row in tokenizer.encode_many(sources)]
    ids = translate(subnet, inputs, 1, 16, 0.0)
    texts = [tokenizer.decode(row) if len(row) < 16 else "" for row in ids]
    assert any(texts)
    assert teacher.translate(sources) == texts


@pytest.mark.parametrize(
    ("name", "tokens", "target_lang", "found"),
    [
        ("shared_vocabulary.json", ["de", ">>", "<<", "__init__", ">>\u2581<"], "de", []),
        ("shared_vocabulary.json", [">>fra<<", ">>deu<<"], "deu", [">>deu<<"]),
        ("source_vocabulary.json", [">>fra<<", ">>deu<<"], "fr", [">>fra<<"]),
        ("source_vocabulary.txt", [">>frm<<", ">>fr<<", ">>fra<<"], "fr", [">>fr<<"]),
        ("shared_vocabulary.txt", [">>cmn_Hans<<", ">>yue_Hans<<"], "cmn", [">>cmn_Hans<<"]),
        ("target_vocabulary.json", [">>fra<<"], "fr", []),
    ],
)
def test_a_models_languages_are_in_its_vocabulary(
    tmp_path: Path, name: str, tokens: list[str], target_lang: str, found: list[str]
) -> None:
    text = json.dumps(tokens) if name.endswith("json") else "\n".join(tokens) + "\n"
    (tmp_path / name).write_text(text)
    assert _language_token(tmp_path, target_lang) == found


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([">>spa<<", ">>fra<<"], "one of: fra, spa$"),
        ([">>deu<<", ">>den<<"], "one of: den, deu$"),
        (["__en__", "__de__"], "NLLB, M2M-100 or mBART"),
        (["eng_Latn", "deu_Latn"], "not supported as a teacher"),
    ],
)
def test_a_multilingual_model_without_the_language_is_refused(
    tmp_path: Path, tokens: list[str], message: str
) -> None:
    (tmp_path / "shared_vocabulary.json").write_text(json.dumps(tokens))
    with pytest.raises(ConfigError, match=message):
        _language_token(tmp_path, "de")


def test_ctranslate2_models_come_with_their_tokenizers(
    ct2_folder: Path, tokenizer: Tokenizer, config: TranslationRunConfig
) -> None:
    (ct2_folder / "sentencepiece.model").write_text("no model")
    with pytest.raises(ConfigError, match="is no SentencePiece model"):
        opened(ct2_folder, config, beam=1)
    (ct2_folder / "sentencepiece.model").unlink()
    with pytest.raises(ConfigError, match=r"copy it there as source\.spm, or as sentencepiece"):
        opened(ct2_folder, config, beam=1)


def test_without_ctranslate2_the_extra_is_named(
    tmp_path: Path,
    tokenizer: Tokenizer,
    config: TranslationRunConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    (tmp_path / "model.bin").touch()
    with pytest.raises(ConfigError, match=r"run: pip install 'mosdeploy\[teacher\]'"):
        opened(tmp_path, config, beam=1)
