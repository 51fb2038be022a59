"""What can be wrong with a bundle, or with what it is asked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class BundleError(Exception):
    """Base of all errors about a bundle."""

    exit_code = 8


class ManifestError(BundleError):
    """The manifest is missing or malformed."""


class FileMismatchError(BundleError):
    """A file of the bundle is missing or is not the one that the manifest names."""


class ModelError(BundleError):
    """The model or the tokenizer cannot be read or run."""


class InputError(Exception):
    """A line cannot be read, or cannot be answered as is asked; the bundle is whole."""

    exit_code = 2


class LineError(InputError):
    """One `line` of several, as it was given, cannot be answered as is asked; others can."""

    def __init__(self, message: str, line: str) -> None:
        super().__init__(message)
        self.line = line


@contextlib.contextmanager
def needs(packages: str) -> Iterator[None]:
    """Tell which packages to install where an import fails."""
    try:
        yield
    except ImportError as error:
        raise ModelError(f"a package is missing ({error}); run: pip install {packages}") from error
