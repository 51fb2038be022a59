"""Command line: `python -m mosdeploy_runtime BUNDLE [--threads N] [--self-test] [--json] [--jsonl]
[--long cut|window] [--provider NAME] [--time]`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from io import BufferedReader
from typing import IO, TYPE_CHECKING, Any, cast

from . import open_model
from .errors import BundleError, InputError, LineError
from .manifest import CUT, LONG
from .texts import LineNotes, decoded, printable

if TYPE_CHECKING:
    from . import Encoder, Translator

LINES_AT_A_TIME = 512
BYTES_AT_A_TIME = 2**16
MAX_LINE_BYTES = 2**24
INTERRUPTED = 130


class _StreamError(Exception):
    """Lines cannot be read, or answers cannot be written."""

    exit_code = 2


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; give the exit code."""
    options = _parser().parse_args(arguments)
    try:
        _check_streams(options)
        from .self_test import run_self_test  # takes a second, in which Ctrl-C may come

        providers = None if options.provider is None else [options.provider]
        model = open_model(options.bundle, options.threads, providers, options.long)
        if options.self_test:
            result = run_self_test(model)
            _print(dataclasses.asdict(result))
            return 0 if result.passed else 1
        _answer(model, options)
    except (BundleError, InputError, _StreamError) as error:
        _tell(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _tell("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output has seen enough
        pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}", description="Answer lines with a bundle."
    )
    add = parser.add_argument
    add("bundle", help="folder of the bundle")
    add("--threads", type=int, help="threads to use; default: those it was measured with")
    add("--self-test", action="store_true", help="check the bundle here and print one JSON line")
    add("--json", action="store_true", help="print one JSON object a line: input and answer")
    add("--jsonl", action="store_true", help="lines are JSON objects with text, and text_pair")
    add("--long", choices=LONG, default=CUT, help="what becomes of texts that are too long")
    add("--provider", help="execution provider of ONNX Runtime; default: the CPU")
    add("--time", action="store_true", help="print where the time went, to stderr, at the end")
    return parser


def _answer(model: Encoder | Translator, options: argparse.Namespace) -> None:
    """Answer the lines of stdin; say at the end, before an error too, what became of them."""
    notes = LineNotes()
    failure: Exception | KeyboardInterrupt | None = None
    try:
        for lines, answers in _answered(model, options.jsonl):
            notes.add(answers)
            for line, answer in zip(lines, answers):  # noqa: B905 (Python 3.9)
                _print({"input": line, **answer} if options.json else model.line_of(answer))
    except (BundleError, InputError, KeyboardInterrupt) as error:
        failure = error
    if str(notes):
        _tell(f"warning: {notes}")
    if options.time:
        _tell(str(model.timing))
    if failure is not None:
        raise failure


def _answered(
    model: Encoder | Translator, are_json: bool
) -> Iterator[tuple[list[str], list[dict[str, Any]]]]:
    """Lines of stdin, some at a time, and their answers."""
    num_answered = 0
    for lines in _lines(are_json):
        try:
            answers = model.answer(lines)
        except LineError as error:
            # those before a line that cannot be answered are
            before = lines[: lines.index(error.line)]
            yield before, model.answer(before)
            raise InputError(f"line {num_answered + len(before) + 1}: {error}") from error
        yield lines, answers
        num_answered += len(lines)


def _lines(are_json: bool) -> Iterator[list[str]]:
    """Lines of stdin, some at a time."""
    number = 1
    for group in _groups(cast(BufferedReader, sys.stdin.buffer)):
        lines: list[str] = []
        try:
            lines.extend(decoded(group, are_json, number))
        except InputError:
            # those before a line that cannot be read are answered
            if lines:
                yield lines
            raise
        yield lines
        number += len(group)


def _groups(stream: BufferedReader) -> Iterator[list[bytes]]:
    """Lines as they come: what one read gives, so that none waits for the next one."""
    rest: list[bytes] = []  # of a line whose end has not come yet
    try:
        while found := stream.read1(BYTES_AT_A_TIME):
            end, *others = found.split(b"\n")
            rest.append(end)
            if not others:
                if sum(map(len, rest)) > MAX_LINE_BYTES:
                    raise _StreamError(f"a line is longer than {MAX_LINE_BYTES >> 20} MiB")
                continue
            lines = [b"".join(rest), *others[:-1]]
            rest = others[-1:]
            for start in range(0, len(lines), LINES_AT_A_TIME):
                yield lines[start : start + LINES_AT_A_TIME]
    except OSError as error:
        raise _StreamError(f"the lines cannot be read: {error.strerror or error}") from error
    if any(rest):
        yield [b"".join(rest)]


def _check_streams(options: argparse.Namespace) -> None:
    """Make sure, before a bundle is loaded for nothing, that stdin and stdout are open; Python has
    None in the place of one that is not.
    """
    # mypy takes both for streams always
    stdin: object = sys.stdin
    stdout: object = sys.stdout
    if stdout is None:
        raise _StreamError("stdout is closed; send the answers to a file, a pipe or /dev/null")
    if stdin is None and not options.self_test:
        raise _StreamError("stdin is closed; give the lines by a file or a pipe")


def _print(result: object) -> None:
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    try:
        sys.stdout.buffer.write(text.encode("utf-8") + b"\n")
        sys.stdout.buffer.flush()
    except OSError as error:
        _drop(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise
        told = error.strerror or error
        raise _StreamError(f"the answers cannot be written: {told}") from error


def _tell(message: str) -> None:
    """A message for people, unless stderr is closed or fails as well."""
    stderr: IO[str] | None = sys.stderr
    if stderr is None:  # `print` would take stdout
        return
    try:
        print(printable(message), file=stderr, flush=True)
    except OSError:
        _drop(stderr)


def _drop(stream: IO[str]) -> None:
    """Throw away what a stream that failed still holds: Python tries it once more at its end, and
    would change the exit code.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    sys.exit(main())
