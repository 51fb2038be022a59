"""The verb `predict`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from ..run_folder.options import PredictOptions
from .options import Common
from .printing import PROGRESS, tell


def predict(
    common: Common,
    options: PredictOptions,
    text: Annotated[
        list[str] | None, typer.Argument(help="Inputs; without any, all lines of stdin.")
    ] = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Inputs are objects with text, and text_pair.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Write vectors there (.npy).", show_default="print answers"),
    ] = None,
    time: Annotated[bool, typer.Option("--time", help="Tell on stderr where the time went.")] = (
        False
    ),
) -> None:
    """Answer lines of text with a bundle on this machine."""
    from ..pipeline.predict import check_vectors
    from ..pipeline.predict import predict as answer

    if not text and sys.stdin is None:
        raise ConfigError("stdin is closed, where the lines come from")
    lines = _lines(text, jsonl)
    if output is not None:
        check_vectors(common.directory, options.bundle, lines, output)
    done = answer(common.directory, lines, options, PROGRESS)
    if output is not None:
        written = done.write_vectors(output)
        shape = " x ".join(map(str, written.shape))
        common.show(written, f"{written.path}: {shape} numbers")
    elif done.outputs or common.as_json:
        common.show(done.record, "\n".join(done.outputs))
    if not PROGRESS.is_quiet and (notes := str(done.notes)):
        tell(notes)
    if time:
        tell(str(done.timing))


def _lines(text: list[str] | None, are_json: bool = False) -> list[str]:
    """The arguments, or the lines of stdin."""
    from ..runtime.errors import InputError
    from ..runtime.texts import decoded

    try:
        # an argument that was not UTF-8 holds surrogates, and cannot be encoded
        given = [line.encode() for line in text] if text else sys.stdin.buffer
        if not text and sys.stdin.isatty():
            PROGRESS.say("reading lines from the terminal; Ctrl-D, which ends them, answers them")
        return list(decoded(given, are_json))
    except UnicodeError as error:
        raise ConfigError(f"the input is not UTF-8: {error}") from error
    except InputError as error:
        raise ConfigError(str(error)) from error
