"""The verb `predict`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import ConfigError
from ..runtime.execution import MAX_THREADS
from .options import BundleOption, Common
from .progress import PROGRESS, tell


@dataclass(frozen=True)
class PredictArguments:
    """The options of `predict`."""

    bundle: BundleOption = None
    threads: Annotated[
        int | None,
        typer.Option(
            help="Threads to use.",
            min=1,
            max=MAX_THREADS,
            show_default="as many as it was measured with",
        ),
    ] = None
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Inputs are objects with text, and text_pair.")
    ] = False
    long: Annotated[
        Literal["cut", "window"],
        typer.Option(help="Cut texts that are too long, or read them in windows that overlap."),
    ] = "cut"
    output: Annotated[
        Path | None,
        typer.Option(help="Write vectors there (.npy).", show_default="print answers"),
    ] = None
    time: Annotated[bool, typer.Option("--time", help="Tell on stderr where the time went.")] = (
        False
    )


NO_ARGUMENTS = PredictArguments()


def predict(
    common: Common,
    text: Annotated[
        list[str] | None, typer.Argument(help="Inputs; without any, all lines of stdin.")
    ] = None,
    arguments: PredictArguments = NO_ARGUMENTS,
) -> None:
    """Answer lines of text with a bundle on this machine."""
    from ..pipeline.predict import check_vectors
    from ..pipeline.predict import predict as answer

    if not text and sys.stdin is None:
        raise ConfigError("stdin is closed, where the lines come from")
    lines = _lines(text, arguments.jsonl)
    if arguments.output is not None:
        check_vectors(common.directory, arguments.bundle, lines, arguments.output)
    done = answer(
        common.directory, lines, arguments.bundle, arguments.threads, arguments.long, PROGRESS
    )
    if arguments.output is not None:
        written = done.write_vectors(arguments.output)
        shape = " x ".join(map(str, written.shape))
        common.show(written, f"{written.path}: {shape} numbers")
    elif done.outputs or common.as_json:
        common.show(done.record, "\n".join(done.outputs))
    if not PROGRESS.is_quiet and (notes := str(done.notes)):
        tell(notes)
    if arguments.time:
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
