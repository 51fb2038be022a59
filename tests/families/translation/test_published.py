"""Published corpora by name: what the seam asks of the libraries, with data that lies on this
machine.
"""

import json
import sys
from pathlib import Path

import pytest
import sacrebleu.dataset

from mosdeploy.config.translation import CorpusConfig
from mosdeploy.errors import ConfigError
from mosdeploy.families.translation.corpus import load_corpus
from mosdeploy.families.translation.published import is_published, read_published

NO_TRANSLATION = {"en": "number 31", "de": None}
PAIRS = [{"en": f"number {i}", "de": f"Nummer {i}"} for i in range(30)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set in a folder, read without a network."""
    pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    data = tmp_path / "numbers"
    data.mkdir()
    for split, rows in (("train", [*PAIRS[:20], NO_TRANSLATION]), ("validation", PAIRS[20:])):
        (data / f"{split}.jsonl").write_text(
            "".join(json.dumps({"translation": row}) + "\n" for row in rows)
        )
    return data


@pytest.fixture
def test_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processed test set in sacrebleu's cache."""
    known = sacrebleu.dataset.DATASETS["wmt14/full"]
    monkeypatch.setattr(known, "_outdir", str(tmp_path))
    for field in known.fieldnames("en-de"):
        lines = {"src": "Hello\nWorld\n", "ref": "Hallo\nWelt\n"}.get(field, "x\nx\n")
        Path(known._get_txt_file_path("en-de", field)).write_text(lines)


def test_what_is_published() -> None:
    assert is_published("datasets:wmt/wmt14/de-en/train")
    assert is_published("sacrebleu:wmt14/full")
    assert not is_published("data/train")
    assert not is_published("package:some-catalogs")


def test_a_corpus_of_datasets_and_a_test_set_of_sacrebleu(
    folder: Path, test_set: None, tmp_path: Path
) -> None:
    config = CorpusConfig(
        train=f"datasets:{folder}/default/train",
        valid=f"datasets:{folder}/default/validation",
        test="sacrebleu:wmt14/full",
    )
    corpus = load_corpus(config, tmp_path)
    assert corpus.train == tuple((row["en"], row["de"]) for row in PAIRS[:20])
    assert corpus.dropped["empty"] == 1
    assert corpus.valid == tuple((row["en"], row["de"]) for row in PAIRS[20:])
    assert corpus.test == (("Hello", "Hallo"), ("World", "Welt"))


def test_other_languages_and_other_names_are_explained(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no translations from 'en' to 'fr'; it has: de, en"):
        list(read_published(f"datasets:{folder}/default/train", "en", "fr"))
    with pytest.raises(
        ConfigError, match=r"cannot be loaded .*is the name right, and the network there"
    ):
        list(read_published(f"datasets:{folder}-gone/default/train", "en", "de"))
    with pytest.raises(ConfigError, match=r"cannot be loaded"):
        list(read_published(f"datasets:{folder}/default/dev", "en", "de"))
    (folder.parent / "texts").mkdir()
    (folder.parent / "texts" / "train.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(ConfigError, match="it has: no column 'translation'"):
        list(read_published(f"datasets:{folder.parent}/texts/default/train", "en", "de"))


def test_a_name_that_is_too_short_shows_the_form() -> None:
    with pytest.raises(
        ConfigError, match="write datasets:PATH/CONFIG/SPLIT, like datasets:wmt/wmt14/de-en/train"
    ):
        read_published("datasets:train", "en", "de")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install 'mosdeploy\[corpora\]'"):
        list(read_published("datasets:wmt/wmt14/de-en/train", "en", "de"))


def test_test_sets_that_sacrebleu_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigError, match=r"no test set 'wmt13/x' for en-de; for en-de it has: .*wmt14/full"
    ):
        list(read_published("sacrebleu:wmt13/x", "en", "de"))

    def fail(*_: str) -> str:
        sys.exit(1)

    monkeypatch.setattr("sacrebleu.utils.get_source_file", fail)
    with pytest.raises(
        ConfigError,
        match=r"cannot get 'wmt14/full' .*`sacrebleu -t wmt14/full -l en-de --echo src`",
    ):
        list(read_published("sacrebleu:wmt14/full", "en", "de"))
