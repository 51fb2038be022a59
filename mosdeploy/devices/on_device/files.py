"""Small files of a device, read and written so that nothing is lost or goes through a link."""

from __future__ import annotations

import os
from pathlib import Path


def read_text(path: str | Path) -> str:
    """Text of a small file; empty when it cannot be read."""
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def write_whole(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


def open_own(path: Path) -> int:
    """Open a file to append to, never through a link, which may lead to a file of somebody else."""
    # O_CLOEXEC is Python's default
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
