"""Runs a bundle: lines of text in, translations out, with numpy, onnxruntime and sentencepiece
alone.

This folder stands by itself: it is copied to devices as `mosdeploy_runtime`, imports nothing of
mosdeploy, and keeps to Python 3.9. A bundle is untrusted input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import BundleError, FileMismatchError, ManifestError, ModelError

if TYPE_CHECKING:
    from .translation import Translator

__all__ = ["BundleError", "FileMismatchError", "ManifestError", "ModelError", "Translator"]


def __getattr__(name: str) -> Any:
    """Import the translator, and with it what takes a second, when it is first asked for."""
    if name == "Translator":
        from .translation import Translator

        return Translator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
