"""Which machine this is."""

import platform
from pathlib import Path

from ..storage import sha256_bytes

ID_PATHS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


def machine_id() -> str:
    """Fingerprint of the machine's id or, where it has none (most containers), of its name."""
    return sha256_bytes(f"mosdeploy {_id_text() or platform.node()}".encode())[:16]


def _id_text() -> str:
    for path in ID_PATHS:
        try:
            if text := path.read_text(encoding="ascii").strip():
                return text
        except (OSError, UnicodeDecodeError):
            continue
    return ""
