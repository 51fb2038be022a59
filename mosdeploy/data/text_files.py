"""Lines of text files."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

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
