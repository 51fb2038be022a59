"""Runs a bundle: texts in, answers out, with numpy, onnxruntime (or TVM) and what splits texts
(sentencepiece or tokenizers) alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import BundleError, FileMismatchError, InputError, ManifestError, ModelError
from .manifest import CUT

if TYPE_CHECKING:
    from .encoder import Encoder
    from .translation import Translator

__all__ = [
    "BundleError",
    "Encoder",
    "FileMismatchError",
    "InputError",
    "ManifestError",
    "ModelError",
    "Translator",
    "open_model",
]


def open_model(
    bundle_dir: str | Path,
    threads: int | None = None,
    providers: Sequence[str] | None = None,
    long: str = CUT,
) -> Encoder | Translator:
    """Open a bundle with the class of its family; see there for the parameters.

    Raises
    ------
    BundleError
        If the bundle is not whole, is not what its manifest says, or cannot be loaded.
    InputError
        If long lines are to become something that the family does not do, `threads` is no
        positive whole number, or `providers` is no list.
    """
    from .manifest import read_manifest

    # only what the bundle needs is imported
    if read_manifest(Path(bundle_dir)).family == "encoder":
        from .encoder import Encoder

        return Encoder(bundle_dir, threads, providers, long)
    if long != CUT:
        raise InputError(
            f"{bundle_dir} is a translation, which reads long lines in parts of its own; windows "
            "are for encoders"
        )
    from .translation import Translator

    return Translator(bundle_dir, threads, providers)


def __getattr__(name: str) -> Any:
    """Import a family's class, and with it what takes a second, when it is first asked for."""
    homes = {"Encoder": ".encoder", "Translator": ".translation"}
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(homes[name], __name__), name)
