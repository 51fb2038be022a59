import gzip
import json
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
import sacrebleu.dataset
from fuzzing import damage, fuzzed, only
from hypothesis import given
from hypothesis import strategies as st

from mosdeploy.config.translation import CorpusConfig
from mosdeploy.errors import ConfigError
from mosdeploy.families.translation.corpus import load_corpus, normalise


def pairs(count: int, start: int = 0) -> list[tuple[str, str]]:
    return [(f"the {i}th house", f"das Haus Nummer {i}") for i in range(start, start + count)]


def write_text(prefix: Path, rows: list[tuple[str, str]]) -> None:
    for lang, side in (("en", 0), ("de", 1)):
        Path(f"{prefix}.{lang}").write_text(
            "".join(row[side] + "\n" for row in rows), encoding="utf-8"
        )


def write_mo(path: Path, entries: dict[str, str]) -> None:
    """The .mo format: header, two tables of (length, offset), then the strings with a NUL behind
    each.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    catalog = sorted({"": "Content-Type: text/plain; charset=UTF-8\n", **entries}.items())
    keys, values = ([text.encode() for text in side] for side in zip(*catalog, strict=True))
    tables = b""
    strings = b""
    for text in [*keys, *values]:
        tables += struct.pack("<II", len(text), 28 + 16 * len(keys) + len(strings))
        strings += text + b"\0"
    header = struct.pack("<IIIIIII", 0x950412DE, 0, len(keys), 28, 28 + 8 * len(keys), 0, 0)
    path.write_bytes(header + tables + strings)


def config(**fields: object) -> CorpusConfig:
    return CorpusConfig(**{"train": "train", "valid_fraction": 0.1, "test_fraction": 0.1, **fields})  # type: ignore[arg-type]


def test_splits_share_no_source_and_lose_nothing(tmp_path: Path) -> None:
    rows = [
        (source.upper() if shout else source, f"{target} {shout}")
        for source, target in pairs(300)
        for shout in (0, 1)
    ]
    write_text(tmp_path / "train", rows)
    corpus = load_corpus(config(), tmp_path)
    splits = (corpus.train, corpus.valid, corpus.test)
    sources = [{source.casefold() for source, _ in split} for split in splits]
    assert (
        not sources[0] & sources[1] and not sources[0] & sources[2] and not sources[1] & sources[2]
    )
    assert sorted(pair for split in splits for pair in split) == sorted(rows)
    assert all(30 < len(split) < 100 for split in splits[1:])


def test_each_reason_is_counted_once(tmp_path: Path) -> None:
    bad = [
        ("", "leer"),
        ("leer", "  "),
        ("bell \x07", "Glocke"),
        ("OK", "OK"),
        ("ab", "abcdefghi"),
        ("x" * 161, "y" * 161),
        ("the  0th house", "das Haus Nummer\u00a00"),
    ]
    at_the_bound = [("ab", "abcdefgh")]
    write_text(tmp_path / "train", pairs(99) + at_the_bound + bad)
    corpus = load_corpus(config(max_tokens=10), tmp_path)
    counts = {
        "empty": 2,
        "control": 1,
        "identical": 1,
        "length_ratio": 1,
        "too_long": 1,
        "duplicate": 1,
    }
    assert corpus.dropped == counts
    assert len(corpus.train) + len(corpus.valid) + len(corpus.test) == 100


def test_held_out_files_stay_as_they_are_published(tmp_path: Path) -> None:
    write_text(tmp_path / "train", pairs(20))
    write_text(tmp_path / "valid", [*pairs(2), ("the 3th house", "anders")])
    write_text(tmp_path / "test", [("The  3th house", "Drei…"), ("same", "same"), ("", "leer")])
    corpus = load_corpus(config(valid="valid", test="test"), tmp_path)
    assert corpus.test == (("The  3th house", "Drei…"), ("same", "same"))
    assert corpus.valid == tuple(pairs(2))
    assert corpus.train == (pairs(20)[2], *pairs(20)[4:])
    assert corpus.dropped == {"empty": 1, "held_out": 1 + 3}


def test_held_out_pairs_may_lie_in_the_other_format(tmp_path: Path) -> None:
    for name, start in (("train", 0), ("valid", 100)):
        found = pairs(50, start=start)
        write_text(tmp_path / name, found)
        lines = "".join(f"{source}\t{target}\n" for source, target in found)
        (tmp_path / f"{name}.tsv").write_text(lines)
    read = [
        load_corpus(config(format=form, train=train, valid=valid), tmp_path)
        for form, train, valid in (
            ("text", "train", "valid"),
            ("text", "train", "valid.tsv"),
            ("tsv", "train.tsv", "valid"),
        )
    ]
    assert len(read[0].valid) == 50
    assert read[0] == read[1] == read[2]


def test_gettext_takes_the_language_without_plurals_or_contexts(
    tmp_path: Path,
) -> None:
    entries = dict(pairs(60))
    write_mo(
        tmp_path / "de_AT/LC_MESSAGES/a.mo",
        {**entries, "menu\x04Open": "Öffnen", "day\0days": "Tag\0Tage"},
    )
    write_mo(tmp_path / "fr/LC_MESSAGES/a.mo", {"house": "maison"})
    # as Debian's coreutils, a link to those of LC_MESSAGES
    write_mo(tmp_path / "pl/LC_TIME/a.mo", {"house": "dom"})
    (tmp_path / "de_AT/LC_TIME").mkdir()
    (tmp_path / "de_AT/LC_TIME/a.mo").symlink_to("../LC_MESSAGES/a.mo")
    corpus = load_corpus(config(format="gettext", train="."), tmp_path)
    everything = {*corpus.train, *corpus.valid, *corpus.test}
    assert everything == {*pairs(60), ("Open", "Öffnen")}
    assert corpus.dropped == {"duplicate": 61, "plural": 2}
    one_file = load_corpus(config(format="gettext", train="de_AT/LC_MESSAGES/a.mo"), tmp_path)
    assert (one_file.train, one_file.valid) == (corpus.train, corpus.valid)


@fuzzed(60)
@given(data=st.data())
def test_any_catalog_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "a.mo"
    write_mo(path, dict(pairs(12)))
    path.write_bytes(damage(path.read_bytes(), data))
    with only(ConfigError):
        load_corpus(config(format="gettext", train="a.mo"), tmp_path)


def test_normalise_is_idempotent() -> None:
    text = "ﬁle…\u00a0 e\u0301 \u3000Ａ"
    assert normalise(text) == "file... é A"
    assert normalise(normalise(text)) == normalise(text)


NO_TRANSLATION = {"en": "number 31", "de": None}
ROWS = [{"en": f"number {i}", "de": f"Nummer {i}"} for i in range(30)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set in a folder, read without a network."""
    pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    data = tmp_path / "numbers"
    data.mkdir()
    for split, rows in (("train", [*ROWS[:20], NO_TRANSLATION]), ("validation", ROWS[20:])):
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


def test_a_corpus_of_datasets_and_a_test_set_of_sacrebleu(
    folder: Path, test_set: None, tmp_path: Path
) -> None:
    config = CorpusConfig(
        train=f"datasets:{folder}/default/train",
        valid=f"datasets:{folder}/default/validation",
        test="sacrebleu:wmt14/full",
    )
    corpus = load_corpus(config, tmp_path)
    assert corpus.train == tuple((row["en"], row["de"]) for row in ROWS[:20])
    assert corpus.dropped["empty"] == 1
    assert corpus.valid == tuple((row["en"], row["de"]) for row in ROWS[20:])
    assert corpus.test == (("Hello", "Hallo"), ("World", "Welt"))


def test_a_data_set_that_cannot_be_read_is_explained(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "train.jsonl").write_text('{"text": "a"}\n')
    for name, target, message in (
        (f"{folder}/default/train", "fr", "no translations from 'en' to 'fr'; it has: de, en"),
        (f"{folder}-gone/default/train", "de", "cannot be loaded"),
        (f"{folder}/default/dev", "de", "cannot be loaded"),
        (f"{tmp_path}/texts/default/train", "de", "no column 'translation'"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_corpus(config(train=f"datasets:{name}", target_lang=target), tmp_path)


def test_what_others_publish_must_be_named_and_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: str) -> str:
        sys.exit(1)

    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setattr("sacrebleu.utils.get_source_file", fail)
    for name, message in (
        ("datasets:train", "PATH/CONFIG/SPLIT"),
        ("datasets:wmt/wmt14/de-en/train", r"mosdeploy\[corpora\]"),
        ("sacrebleu:wmt13/x", "it has: .*wmt14/full"),
        ("sacrebleu:wmt14/full", "`sacrebleu -t wmt14/full -l en-de --echo src`"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_corpus(config(train=name), tmp_path)


# -- files that are no corpus


def table(rows: list[tuple[str, str]]) -> str:
    return "\n".join("\t".join(row) for row in rows)


QUOTED = [(f'"{source}"', f'"{target}"') for source, target in pairs(20)]
FRENCH = {"fr/LC_MESSAGES/a.mo": {"house": "maison"}, "es/LC_MESSAGES/a.mo": {"house": "casa"}}
LATIN = "eins\nzwölf\n".encode("latin-1")
TSV = {"format": "tsv", "train": "a.tsv"}
MO = {"format": "gettext", "train": "a.mo"}
SOURCES = "".join(f"{i}\n" for i in range(300))
CUT = gzip.compress(SOURCES.encode())[:-40]


@pytest.mark.parametrize(
    ("files", "fields", "message"),
    [
        ({}, {}, r"train\.en: no such file \(nor train\.en\.gz\)"),
        ({}, {"format": "tsv"}, "cannot be read: No such file"),
        ({}, {"format": "gettext"}, r"no such \.mo file or folder"),
        ({}, {"format": "gettext", "train": "package:no-pack"}, "pip install no-pack"),
        ({"a.mo": b"no catalog at all"}, MO, r"a\.mo: not a gettext"),
        (FRENCH, {"format": "gettext", "train": "."}, "of 'de'; it has: es, fr"),
        ({"a.tsv": "a\tb\n\nc\td\te\n"}, TSV, r"a\.tsv, line 3: 3 columns"),
        ({"a.tsv": table([("DE", "EN"), *pairs(20)])}, TSV, "line 1: .* name the columns"),
        ({"a.tsv": table(QUOTED)}, TSV, "40 of 40 cells stand in double quotes"),
        ({"train.en": "1\n2\n", "train.de": "1\n"}, {}, r"en has 2 lines, .*de has 1; .*other$"),
        ({"train.en": "1\n2\n\n", "train.de": "1\n2\n"}, {}, r"last line of .*train\.en is blank"),
        ({"train.en": "1\n2\n", "train.de": LATIN}, {}, r"train\.de, line 2: not UTF-8"),
        ({"train.en": SOURCES, "train.de.gz": CUT}, {}, r"train\.de\.gz: cannot be read"),
        ({"train.en": "", "train.de": ""}, {}, "'train' is empty"),
        ({"train.en": "OK\n\n", "train.de": "OK\n\n"}, {}, r"dropped: empty 1, identical 1\)"),
    ],
)
def test_files_that_are_no_corpus_are_named(
    tmp_path: Path, files: dict[str, Any], fields: dict[str, str], message: str
) -> None:
    for name, content in files.items():
        if isinstance(content, dict):
            write_mo(tmp_path / name, content)
        else:
            data = content if isinstance(content, bytes) else content.encode()
            (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        load_corpus(config(**fields), tmp_path)


def test_names_and_quotes_may_stand_in_texts(tmp_path: Path) -> None:
    rows = [*pairs(20), ("en", "de"), *((x, y.strip('"')) for x, y in QUOTED)]
    (tmp_path / "a.tsv").write_text(table(rows))
    corpus = load_corpus(config(**TSV), tmp_path)
    assert {*corpus.train, *corpus.valid, *corpus.test} == set(rows)


def test_a_corpus_needs_pairs_to_train_on_and_to_validate_on(tmp_path: Path) -> None:
    write_text(tmp_path / "train", pairs(10))
    write_text(tmp_path / "valid", [("", "leer")])
    write_text(tmp_path / "test", pairs(2))
    for fields, message in (
        ({"valid_fraction": 0.0}, "no validation examples"),
        ({"valid_fraction": 0.5, "test_fraction": 0.5}, "add up to 1"),
        ({"valid": "valid"}, "'valid' is empty"),
        ({"valid": "test", "test": "test"}, "no validation examples"),
        ({"test": "train"}, "held_out 10"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_corpus(config(**fields), tmp_path)
