"""Which files a parallel corpus lies in, told from what the user named."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import ConfigError
from ...family import DataRequest
from ...family.plan import HELD_OUT

_LANGUAGE = re.compile(r"[a-z]{2,3}(_[A-Za-z]{2,4})?")
_PAIR = re.compile(r"(?<![A-Za-z])([a-z]{2,3})-([a-z]{2,3})(?![A-Za-z])")
_NO_LANGUAGES = ("txt", "tsv", "csv", "src", "tgt", "gz", "tok", "raw", "bpe")
_EXAMPLE = "--train data/train.en data/train.de, or --train pairs.tsv"

Source = str | tuple[str, str]


@dataclass(frozen=True)
class CorpusFiles:
    """Names for [corpus], the languages, and what told them."""

    format: Literal["text", "tsv"]
    languages: tuple[str, str]
    told_by: str
    train: Source
    valid: Source | None
    test: Source | None


def corpus_files(request: DataRequest) -> CorpusFiles:
    """Tell format, languages and held-out files from the names of the training files."""
    for name in request.files:
        if not (request.root / name).is_file():
            raise ConfigError(f"{name}: no such file; give the files of the corpus: {_EXAMPLE}")
    if len(request.files) == 1:
        return _table(request, request.files[0])
    if len(request.files) > 2 or len(set(request.files)) == 1:
        raise ConfigError(
            f"a parallel corpus is two files, one a language, or one .tsv, got "
            f"{', '.join(request.files)}; give them like {_EXAMPLE}"
        )
    first, second = request.files
    if request.languages is not None and _suffixes(second, first) == request.languages:
        first, second = second, first  # the source first, as asked
    stem, languages = _stem(first, second)
    told_by = "from the suffixes"
    if request.languages is not None or languages is None:
        languages = request.languages or ("source", "target")
        told_by = "as asked" if request.languages else "unknown: say --languages en-de"
    is_prefix = stem is not None and languages == _suffixes(first, second)
    # a prefix means the plain files where there are both
    is_prefix = is_prefix and not any(
        name.endswith(".gz") and (request.root / name.removesuffix(".gz")).exists()
        for name in (first, second)
    )
    train: Source = stem if stem is not None and is_prefix else (first, second)

    def exists(name: str) -> bool:
        return all(
            any((request.root / f"{name}.{x}{end}").is_file() for end in ("", ".gz"))
            for x in languages
        )

    held_out = {}
    for split in HELD_OUT:
        named: str | None = getattr(request, split)
        if named is not None:
            # either file of the two, plain or not
            stem_of_it, _, suffix = named.removesuffix(".gz").rpartition(".")
            named = stem_of_it if suffix in languages else named
        held_out[split] = named or (_beside(train, split, exists) if train == stem else None)
    return CorpusFiles("text", languages, told_by, train, held_out["valid"], held_out["test"])


def _table(request: DataRequest, name: str) -> CorpusFiles:
    if not name.removesuffix(".gz").endswith(".tsv"):
        raise ConfigError(
            f"{name}: one file of a parallel corpus is a .tsv of lines source TAB target; "
            f"give two files or a .tsv: {_EXAMPLE}. Labelled texts want --family encoder "
            "--checkpoint FOLDER"
        )
    found = _PAIR.findall(Path(name).name)
    languages, told_by = ("source", "target"), "unknown: say --languages en-de"
    if request.languages is not None:
        languages = request.languages
        told_by = "as asked"
    elif len(found) == 1:  # of red-hat.en-de.tsv nobody knows which are languages
        languages = found[0]
        told_by = "from the file's name"

    def exists(other: str) -> bool:
        return (request.root / other).is_file()

    valid = request.valid or _beside(name, "valid", exists)
    return CorpusFiles(
        "tsv", languages, told_by, name, valid, request.test or _beside(name, "test", exists)
    )


def _stem(first: str, second: str) -> tuple[str | None, tuple[str, str] | None]:
    """What two names share before their suffixes, and the suffixes if they are languages."""
    suffixes = _suffixes(first, second)
    if suffixes is None:
        return None, None
    stems = [name.removesuffix(".gz").rpartition(".")[0] for name in (first, second)]
    return (stems[0] if stems[0] == stems[1] else None), suffixes


def _suffixes(first: str, second: str) -> tuple[str, str] | None:
    one, other = (Path(name.removesuffix(".gz")).suffix[1:] for name in (first, second))
    if one == other or any(
        not _LANGUAGE.fullmatch(suffix) or suffix in _NO_LANGUAGES for suffix in (one, other)
    ):
        return None
    return one, other


def _beside(train: Source, split: str, exists: Callable[[str], bool]) -> str | None:
    """The held-out file that lies beside a training file of the usual name."""
    assert isinstance(train, str)
    folder, slash, name = train.rpartition("/")
    for other in HELD_OUT[split]:
        found = f"{folder}{slash}{name.replace('train', other)}"
        if "train" in name and exists(found):
            return found
    return None
