"""Text files, data sets that others publish, and splits of their examples."""

import gzip
import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ConfigError


def read_text_lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 file without their ends; a name that ends in `.gz` is unpacked."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            for line in file:
                number += 1
                if number == 1 and not line.endswith(b"\n") and line.count(b"\r") > 1:
                    raise ConfigError(
                        f"{path}: its lines end in CR alone; convert it, for example with "
                        r"tr '\r' '\n'"
                    )
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}, line {number}: not UTF-8 ({error.reason}); convert the file, for example "
            "with iconv"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error


E = TypeVar("E")
K = TypeVar("K")


def split_by_hash(
    examples: Iterable[E], key: Callable[[E], str], valid_share: float, test_share: float
) -> tuple[list[E], list[E], list[E]]:
    """Split examples by their key alone, so that a rerun, or the same examples with more of them,
    repeats the split, and examples of one key stay together.
    """
    train: list[E] = []
    valid: list[E] = []
    test: list[E] = []
    for example in examples:
        digest = hashlib.sha256(key(example).encode()).digest()
        position = int.from_bytes(digest[:6]) / 2**48  # even in [0, 1)
        chosen = test if position < test_share else valid
        (chosen if position < test_share + valid_share else train).append(example)
    return train, valid, test


def split_shares(section: str, config: Any) -> tuple[float, float]:
    """Shares that are split off for validation and test; 0 where the config names a file."""
    valid = 0.0 if config.valid else config.valid_fraction
    test = 0.0 if config.test else config.test_fraction
    if valid + test >= 1:
        raise ConfigError(
            f"{section}.valid_fraction and {section}.test_fraction add up to 1 or more: nothing is "
            "left to train on"
        )
    return valid, test


def without(
    examples: list[E], taken: Container[K], key: Callable[[E], K], dropped: Counter[str]
) -> list[E]:
    """Leave out the examples whose key is that of a held-out one."""
    kept = [example for example in examples if key(example) not in taken]
    dropped["held_out"] += len(examples) - len(kept)
    return kept


def check_filled(
    section: str, config: Any, sizes: tuple[int, int], dropped: Mapping[str, int]
) -> None:
    """Check that there are examples to train on and to validate with."""
    train, valid = sizes
    counts = ", ".join(f"{reason} {x}" for reason, x in sorted(dropped.items()) if x) or "none"
    if not train:
        files = {f"{section}.{name}": getattr(config, name) for name in ("valid", "test")}
        named = " or ".join(f"{key} '{name}'" for key, name in files.items() if name)
        held_out = dropped.get("held_out", 0)
        told = f"; {held_out:,} are in {named} too: name another file" if held_out else ""
        source = config.train if isinstance(config.train, str) else " + ".join(config.train)
        raise ConfigError(
            f"{section}.train '{source}': no example is left to train on (dropped: {counts})" + told
        )
    if not valid:
        raise ConfigError(
            f"the data has no validation examples ({train} training examples, dropped: {counts}): "
            f"name another file as {section}.valid (--valid of init), whose examples are not in "
            f"{section}.test, or raise {section}.valid_fraction above {config.valid_fraction}"
        )


DATASETS = "datasets:"

_CONVERTED = "refs/convert/parquet"
"""Branch on which the hub keeps, as tables, what a script of the data set would load."""


def load_published(source: str, example: str) -> Any:
    """One split of a data set of Hugging Face: a `datasets.Dataset`."""
    path, config, split = ["", "", "", *source.removeprefix(DATASETS).rsplit("/", 2)][-3:]
    if not path:
        raise ConfigError(
            f"'{source}' is no dataset: write {DATASETS}PATH/CONFIG/SPLIT, like {example}"
        )
    try:
        import datasets
    except ImportError as error:
        raise ConfigError(
            f"'{source}' needs Hugging Face datasets: pip install 'mosdeploy[corpora]'"
        ) from error
    try:
        try:
            return datasets.load_dataset(path, config, split=split)
        except RuntimeError as error:
            if "scripts are no longer supported" not in str(error):
                raise
            # a folder for each configuration, and nothing that names them
            return datasets.load_dataset(path, data_dir=config, split=split, revision=_CONVERTED)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"'{source}' cannot be loaded ({reason}); is the name right, and the network there? "
            "A file of your own is given by its path"
        ) from error
