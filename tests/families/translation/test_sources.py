"""Which files a parallel corpus lies in, told from their names."""

from pathlib import Path

import pytest

from mosdeploy.errors import ConfigError
from mosdeploy.families.translation.sources import corpus_files
from mosdeploy.family import DataRequest


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()


def test_a_pair_of_suffixes_is_a_prefix_and_two_languages(tmp_path: Path) -> None:
    touch(tmp_path, "data/train.en", "data/train.de", "data/dev.en", "data/dev.de", "data/test.en")
    found = corpus_files(DataRequest(("data/train.en", "data/train.de"), tmp_path))
    assert (found.format, found.languages, found.train) == ("text", ("en", "de"), "data/train")
    # of the test set one side is missing
    assert (found.valid, found.test) == ("data/dev", None)


def test_packed_files_count_as_what_is_in_them(tmp_path: Path) -> None:
    touch(tmp_path, "train.en.gz", "train.pt_BR.gz")
    found = corpus_files(DataRequest(("train.en.gz", "train.pt_BR.gz"), tmp_path))
    assert (found.languages, found.train) == (("en", "pt_BR"), "train")


def test_names_that_tell_nothing_are_kept_as_they_are(tmp_path: Path) -> None:
    touch(tmp_path, "english.txt", "german.txt")
    request = DataRequest(("english.txt", "german.txt"), tmp_path)
    found = corpus_files(request)
    assert found.train == ("english.txt", "german.txt")
    assert found.languages == ("source", "target")
    assert "say --languages" in found.told_by


def test_languages_that_are_given_count(tmp_path: Path) -> None:
    touch(tmp_path, "a.en", "a.de")
    request = DataRequest(("a.en", "a.de"), tmp_path, languages=("xx", "yy"))
    found = corpus_files(request)
    # the names of the files do not end in them, so both are named
    assert (found.languages, found.train) == (("xx", "yy"), ("a.en", "a.de"))


@pytest.mark.parametrize(
    ("name", "languages"),
    [
        ("train.en-fr.tsv", ("en", "fr")),
        ("my-pairs.tsv", ("source", "target")),
        ("red-hat.en-fr.train.tsv", ("source", "target")),
    ],
)
def test_a_table_tells_its_languages_by_its_name(
    tmp_path: Path, name: str, languages: tuple[str, str]
) -> None:
    touch(tmp_path, name, "valid.en-fr.tsv")
    found = corpus_files(DataRequest((name,), tmp_path))
    assert (found.format, found.languages, found.train) == ("tsv", languages, name)
    assert found.valid == ("valid.en-fr.tsv" if name.startswith("train") else None)


def test_held_out_files_that_are_named_count(tmp_path: Path) -> None:
    touch(tmp_path, "train.en", "train.de", "valid.en", "valid.de")
    request = DataRequest(("train.en", "train.de"), tmp_path, valid="other.en", test="last")
    found = corpus_files(request)
    assert (found.valid, found.test) == ("other", "last")


@pytest.mark.parametrize("name", ["other.en", "other.de", "other.de.gz", "other"])
def test_a_held_out_file_is_named_by_either_of_its_two(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "train.en", "train.de")
    found = corpus_files(DataRequest(("train.en", "train.de"), tmp_path, valid=name))
    assert found.valid == "other"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("gone.en", "gone.de"), r"gone\.en: no such file; give the files of the corpus: --train"),
        (("a.txt",), r"a\.txt: one file of a parallel corpus is a \.tsv"),
        (("a.txt", "b.txt", "c.txt"), "two files, one a language, or one .tsv, got a.txt, b.txt"),
        (("a.txt", "a.txt"), "two files, one a language"),
    ],
)
def test_other_files_are_no_corpus(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    touch(tmp_path, "a.txt", "b.txt", "c.txt")
    with pytest.raises(ConfigError, match=message):
        corpus_files(DataRequest(names, tmp_path))


def test_files_in_the_other_order_than_the_languages_are_swapped(tmp_path: Path) -> None:
    touch(tmp_path, "train.de", "train.en", "valid.de", "valid.en")
    request = DataRequest(("train.de", "train.en"), tmp_path, languages=("en", "de"))
    found = corpus_files(request)
    assert (found.languages, found.train, found.valid) == (("en", "de"), "train", "valid")


def test_packed_files_beside_packed_ones_are_held_out(tmp_path: Path) -> None:
    touch(tmp_path, "train.en.gz", "train.de.gz", "test.en.gz", "test.de.gz")
    assert corpus_files(DataRequest(("train.en.gz", "train.de.gz"), tmp_path)).test == "test"


def test_packed_files_beside_plain_ones_of_their_name_are_those_that_are_read(
    tmp_path: Path,
) -> None:
    names = ("train.en.gz", "train.de.gz")
    touch(tmp_path, *names, "train.en")  # which a prefix would mean
    assert corpus_files(DataRequest(names, tmp_path)).train == names
