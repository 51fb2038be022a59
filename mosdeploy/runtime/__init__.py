"""Runs a bundle: lines of text in, translations out, with numpy, onnxruntime and sentencepiece alone.

This folder stands by itself: it is copied to devices as `mosdeploy_runtime`, imports nothing of mosdeploy, and keeps to
Python 3.9. A bundle is untrusted input.
"""

from __future__ import annotations

from .errors import BundleError, FileMismatchError, ManifestError, ModelError
from .translator import Translator

__all__ = ["BundleError", "FileMismatchError", "ManifestError", "ModelError", "Translator"]
