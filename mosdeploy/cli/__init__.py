"""The command line: parse, call the pipeline, print, exit code. The only room that prints."""

import sys

from .process import as_interrupts, prepare_streams, restart_in_utf8

__all__ = ["main"]

INTERRUPTED = 130
RESUMED = (
    *("walk", "train", "profile", "search", "finetune"),
    *("evaluate", "export", "deploy", "demo"),
)
"""Verbs that go on where they were interrupted."""
KEPT = "; what was finished is kept, the same command resumes"


def main() -> None:
    """Run the command line; errors become one line on stderr and their exit code, signals too."""
    with as_interrupts() as found:
        try:
            restart_in_utf8()
            prepare_streams()
            from .app import run  # takes a fifth of a second, in which Ctrl-C may come

            run()
        except KeyboardInterrupt:
            pass
        except SystemExit as end:
            # Typer turns Ctrl-C into that code; a library that is being imported, into an error of
            # its own, which a verb tells as one
            if end.code != INTERRUPTED and not (found.has_come and end.code):
                raise
        except Exception:
            # pydantic turns one that comes while it calls Python into an error of its own
            if not found.has_come:
                raise
        else:
            return
        verb = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
        resumes = verb in RESUMED and "--dry-run" not in sys.argv
        print(f"{found.reason}{KEPT if resumes else ''}", file=sys.stderr)
        sys.exit(found.exit_code)
