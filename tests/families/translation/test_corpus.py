import csv
import gzip
import json
import struct
import sys
from pathlib import Path

import pytest
import sacrebleu.dataset
from fuzzing import damage, fuzzed, only
from hypothesis import given
from hypothesis import strategies as st

from mosdeploy.config.translation import CorpusConfig
from mosdeploy.errors import ConfigError
from mosdeploy.families.translation.corpus import (
    is_published,
    load_corpus,
    normalise,
    read_aligned,
    read_published,
    read_table,
)


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


def test_a_rerun_and_an_extended_corpus_repeat_the_split(tmp_path: Path) -> None:
    write_text(tmp_path / "train", pairs(300))
    first = load_corpus(config(), tmp_path)
    again = load_corpus(config(), tmp_path)
    assert first == again
    write_text(tmp_path / "train", pairs(300, start=300) + pairs(300))
    more = load_corpus(config(), tmp_path)
    for name in ("train", "valid", "test"):
        assert set(getattr(first, name)) < set(getattr(more, name))
    assert more.sha256 != first.sha256


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
    write_text(tmp_path / "train", pairs(100) + bad)
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


def test_length_ratio_bound_is_inclusive(tmp_path: Path) -> None:
    write_text(tmp_path / "train", [*pairs(100), ("ab", "abcdefgh")])
    assert load_corpus(config(max_length_ratio=4.0), tmp_path).dropped == {}


def test_held_out_files_stay_as_they_are_published(tmp_path: Path) -> None:
    write_text(tmp_path / "train", pairs(20))
    write_text(tmp_path / "valid", [*pairs(2), ("the 3th house", "anders")])
    write_text(tmp_path / "test", [("The  3th house", "Drei…"), ("same", "same"), ("", "leer")])
    corpus = load_corpus(config(valid="valid", test="test"), tmp_path)
    assert corpus.test == (("The  3th house", "Drei…"), ("same", "same"))
    assert corpus.valid == tuple(pairs(2))
    assert corpus.train == (pairs(20)[2], *pairs(20)[4:])
    assert corpus.dropped == {"empty": 1, "held_out": 1 + 3}


def test_gzip_and_byte_order_mark_read_like_plain_text(tmp_path: Path) -> None:
    write_text(tmp_path / "train", pairs(100))
    plain = load_corpus(config(), tmp_path)
    content = (tmp_path / "train.en").read_bytes()
    (tmp_path / "train.en").unlink()
    (tmp_path / "train.en.gz").write_bytes(
        gzip.compress(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    )
    assert load_corpus(config(), tmp_path) == plain


def test_tsv_reads_like_text(tmp_path: Path) -> None:
    write_text(tmp_path / "train", pairs(100))
    (tmp_path / "train.tsv").write_text(
        "".join(f"{source}\t{target}\n" for source, target in pairs(100))
    )
    assert load_corpus(config(format="tsv", train="train.tsv"), tmp_path) == load_corpus(
        config(), tmp_path
    )


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


def test_tsv_with_another_number_of_columns_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("a\tb\n\nc\td\te\n")
    with pytest.raises(ConfigError, match=r"train\.tsv, line 3: 3 columns"):
        load_corpus(config(format="tsv", train="train.tsv"), tmp_path)


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


def test_gettext_without_the_language_lists_those_there_are(tmp_path: Path) -> None:
    write_mo(tmp_path / "fr/LC_MESSAGES/a.mo", {"house": "maison"})
    write_mo(tmp_path / "es/LC_MESSAGES/a.mo", {"house": "casa"})
    with pytest.raises(ConfigError, match=r"no catalog of 'de'; it has: es, fr"):
        load_corpus(config(format="gettext", train="."), tmp_path)


def test_gettext_of_an_installed_package(tmp_path: Path) -> None:
    pytest.importorskip("jupyterlab_language_pack_fr_FR")
    name = "package:jupyterlab-language-pack-fr-FR"
    corpus = load_corpus(config(format="gettext", train=name, target_lang="fr"), tmp_path)
    assert len(corpus.train) > 2000
    assert set(corpus.dropped) >= {"plural", "identical", "duplicate"}


def test_missing_package_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pip install no-such-language-pack"):
        load_corpus(config(format="gettext", train="package:no-such-language-pack"), tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"no catalog at all", b"\xde\x12\x04\x95\0\0\0\0\x05\0\0\0\x1c\0\0\0"]
)
def test_broken_catalog_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mo").write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.mo: not a gettext"):
        load_corpus(config(format="gettext", train="a.mo"), tmp_path)


@fuzzed(60)
@given(data=st.data())
def test_any_catalog_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "a.mo"
    write_mo(path, dict(pairs(12)))
    path.write_bytes(damage(path.read_bytes(), data))
    with only(ConfigError):
        load_corpus(config(format="gettext", train="a.mo"), tmp_path)


def test_unequal_line_counts_give_both(tmp_path: Path) -> None:
    write_text(tmp_path / "train", pairs(7))
    (tmp_path / "train.de").write_text("eins\nzwei\n")
    with pytest.raises(ConfigError, match=r"train\.en has 7 lines, .*train\.de has 2;"):
        load_corpus(config(), tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_not_utf8_names_file_and_line(tmp_path: Path, packed: bool) -> None:
    write_text(tmp_path / "train", pairs(3))
    content = "eins\nzwölf\ndrei\n".encode("latin-1")
    (tmp_path / "train.de").unlink()
    (tmp_path / ("train.de.gz" if packed else "train.de")).write_bytes(
        gzip.compress(content) if packed else content
    )
    with pytest.raises(ConfigError, match=r"train\.de(\.gz)?, line 2: not UTF-8"):
        load_corpus(config(), tmp_path)


def test_truncated_gzip_is_named(tmp_path: Path) -> None:
    write_text(tmp_path / "train", pairs(300))
    packed = gzip.compress((tmp_path / "train.de").read_bytes())
    (tmp_path / "train.de").unlink()
    (tmp_path / "train.de.gz").write_bytes(packed[:-40])
    with pytest.raises(ConfigError, match=r"train\.de\.gz: cannot be read"):
        load_corpus(config(), tmp_path)


def test_missing_file_names_both_spellings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.en: no such file \(nor train\.en\.gz\)"):
        load_corpus(config(), tmp_path)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_corpus(config(format="tsv"), tmp_path)
    with pytest.raises(ConfigError, match=r"no such \.mo file or folder"):
        load_corpus(config(format="gettext"), tmp_path)


def test_empty_corpora(tmp_path: Path) -> None:
    write_text(tmp_path / "train", [])
    with pytest.raises(ConfigError, match=r"corpus\.train 'train' is empty"):
        load_corpus(config(), tmp_path)
    write_text(tmp_path / "train", [("OK", "OK"), ("", "")])
    with pytest.raises(
        ConfigError, match=r"no pair is left to train on \(dropped: empty 1, identical 1\)"
    ):
        load_corpus(config(), tmp_path)
    write_text(tmp_path / "train", pairs(10))
    with pytest.raises(ConfigError, match="no validation pairs"):
        load_corpus(config(valid_fraction=0.0), tmp_path)
    with pytest.raises(ConfigError, match="add up to 1"):
        load_corpus(config(valid_fraction=0.5, test_fraction=0.5), tmp_path)
    write_text(tmp_path / "valid", [("", "leer")])
    with pytest.raises(ConfigError, match="'valid' is empty"):
        load_corpus(config(valid="valid"), tmp_path)
    write_text(tmp_path / "test", pairs(2))
    with pytest.raises(ConfigError, match=r"all its pairs are in corpus\.test 'test' too; name an"):
        load_corpus(config(valid="test", test="test"), tmp_path)
    with pytest.raises(
        ConfigError, match=r"held_out 10\); 10 are in corpus\.test 'train' too: name"
    ):
        load_corpus(config(test="train"), tmp_path)


def test_fractions_count_where_no_file_is_named(tmp_path: Path) -> None:
    write_text(tmp_path / "train", pairs(100))
    write_text(tmp_path / "valid", pairs(2))
    corpus = load_corpus(config(valid="valid", valid_fraction=0.5, test_fraction=0.5), tmp_path)
    assert len(corpus.train) + len(corpus.test) == 98
    assert 30 < len(corpus.test) < 70


def test_normalise_is_idempotent() -> None:
    text = "ﬁle…\u00a0 e\u0301 \u3000Ａ"
    assert normalise(text) == "file... é A"
    assert normalise(normalise(text)) == normalise(text)


PAIRS = [(f"the {i}th house", f"das Haus Nummer {i}") for i in range(20)]


def write(path: Path, rows: list[tuple[str, str]], quoting: int = csv.QUOTE_MINIMAL) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t", quoting=quoting).writerows(rows)
    return path


@pytest.mark.parametrize(
    "names", [("en", "de"), ("DE", "EN"), ("source", "Target"), ("src", "tgt"), ('"en"', '"de"')]
)
def test_a_line_of_names_is_no_translation(tmp_path: Path, names: tuple[str, str]) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("\n".join("\t".join(row) for row in [names, *PAIRS]))
    with pytest.raises(ConfigError, match=r"a\.tsv, line 1: .* name the columns, .*; remove"):
        read_table(path, ("en", "de"))
    path.write_text("\n".join("\t".join(row) for row in [*PAIRS, names]))
    assert read_table(path, ("en", "de")) == [*PAIRS, names]


def test_quotes_around_every_cell_are_no_texts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", PAIRS, csv.QUOTE_ALL)
    with pytest.raises(ConfigError, match=r"a\.tsv: 40 of 40 cells stand in double quotes, .*csv"):
        read_table(path, ("en", "de"))
    quoted = [(f'"{source}"', target) for source, target in PAIRS]
    path.write_text("\n".join("\t".join(row) for row in quoted))
    assert read_table(path, ("en", "de")) == quoted


def test_a_blank_line_at_the_end_of_one_file_is_told(tmp_path: Path) -> None:
    paths = (tmp_path / "a.en", tmp_path / "a.de")
    paths[0].write_text("one\ntwo\n")
    paths[1].write_text("eins\nzwei\n\n")
    with pytest.raises(ConfigError, match=r"de has 3; .*; the last line of .*a\.de is blank: remo"):
        read_aligned(*paths)
    paths[1].write_text("eins\n")
    with pytest.raises(ConfigError, match=r"translate line n of the other$"):
        read_aligned(*paths)


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
    assert corpus.train == tuple((row["en"], row["de"]) for row in ROWS[:20])
    assert corpus.dropped["empty"] == 1
    assert corpus.valid == tuple((row["en"], row["de"]) for row in ROWS[20:])
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
