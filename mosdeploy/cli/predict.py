"""The verb `predict`."""

import io
import sys
from typing import Annotated

import typer

from ..errors import ConfigError
from .options import BundleOption, Common


def predict(
    common: Common,
    text: Annotated[
        list[str] | None, typer.Argument(help="Inputs; without any, lines from stdin.")
    ] = None,
    bundle: BundleOption = None,
    threads: Annotated[int | None, typer.Option(help="Threads to use.", min=1)] = None,
) -> None:
    """Answer lines of text with a bundle on this machine."""
    from ..pipeline.predict import predict as answer

    done = answer(common.directory, _lines(text), bundle, threads)
    if done.predictions or common.as_json:
        common.show(done, "\n".join(pair.output for pair in done.predictions))


def _lines(text: list[str] | None) -> list[str]:
    """The arguments, or the lines of stdin.

    Raises
    ------
    ConfigError
        If they are not UTF-8.
    """
    try:
        stdin = io.TextIOWrapper(sys.stdin.buffer, "utf-8", newline="\n")
        lines = list(text) if text else [line.rstrip("\r\n") for line in stdin]
        "\n".join(lines).encode()  # an argument that was not UTF-8 holds surrogates
    except UnicodeError as error:
        raise ConfigError(f"the input is not UTF-8: {error}") from error
    return lines
