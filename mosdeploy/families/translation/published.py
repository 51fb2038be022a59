"""Corpora that others publish, by name: Hugging Face datasets, and the test sets of sacrebleu."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...data.published import DATASETS, load_published
from ...data.text_files import read_text_lines
from ...errors import ConfigError

SACREBLEU = "sacrebleu:"
ROWS = 10_000  # rows read at a time


def is_published(name: str) -> bool:
    """Whether a corpus entry means something published, not a file."""
    return name.startswith((DATASETS, SACREBLEU))


def read_published(name: str, source_lang: str, target_lang: str) -> Iterator[tuple[str, str]]:
    """Pairs of a published corpus, in its order."""
    if name.startswith(SACREBLEU):
        return _test_set(name.removeprefix(SACREBLEU), source_lang, target_lang)
    rows = load_published(name, f"{DATASETS}wmt/wmt14/de-en/train")
    return _pairs(name, rows, (source_lang, target_lang))


def _pairs(name: str, rows: Any, langs: tuple[str, str]) -> Iterator[tuple[str, str]]:
    for part in rows.iter(batch_size=ROWS):
        for pair in part.get("translation") or [{}]:
            if not set(langs) <= set(pair or ()):
                found = ", ".join(sorted(pair)) if pair else "no column 'translation'"
                raise ConfigError(
                    f"'{name}' has no translations from '{langs[0]}' to '{langs[1]}'; "
                    f"it has: {found}"
                )
            # a missing translation counts as empty
            yield pair[langs[0]] or "", pair[langs[1]] or ""


def _test_set(name: str, source_lang: str, target_lang: str) -> Iterator[tuple[str, str]]:
    from sacrebleu.dataset import DATASETS as KNOWN
    from sacrebleu.utils import get_reference_files, get_source_file

    pair = f"{source_lang}-{target_lang}"
    if name not in KNOWN or pair not in KNOWN[name].langpairs:
        having = ", ".join(
            sorted(known for known, test_set in KNOWN.items() if pair in test_set.langpairs)
        )
        raise ConfigError(
            f"sacrebleu has no test set '{name}' for {pair}; for {pair} it has: {having or 'none'}"
        )
    try:
        paths = get_source_file(name, pair), get_reference_files(name, pair)[0]
    except (Exception, SystemExit) as error:  # it ends the process when a download fails
        raise ConfigError(
            f"sacrebleu cannot get '{name}' ({error}); fetch it where there is a network with "
            f"`sacrebleu -t {name} -l {pair} --echo src`, and copy ~/.sacrebleu here"
        ) from error
    sources, targets = (list(read_text_lines(Path(path))) for path in paths)
    if len(sources) != len(targets):
        raise ConfigError(
            f"sacrebleu's '{name}' for {pair} has {len(sources)} lines and {len(targets)} "
            "references; delete it below ~/.sacrebleu, and it is fetched again"
        )
    return zip(sources, targets, strict=True)
