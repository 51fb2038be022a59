"""The command line: parse, call the pipeline, print, exit code. The only room that prints.

Results go to stdout; progress and messages go to stderr. `--json` prints one record and nothing
else. A verb is a function of the file of its noun; the order of the help is here.
"""

import sys
import warnings
from typing import Annotated

import typer

from .. import __version__
from ..errors import MosdeployError
from .devices import devices_check, devices_list, devices_setup, devices_show
from .export import deploy, export, translate
from .profile import fit, latency_import, profile
from .progress import PROGRESS, Progress
from .train import demo, evaluate, finetune, init, report, search, train

__all__ = ["Progress", "main"]

INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Fit a Transformer into a latency budget on a real device.\n\n"
    "**init, train, profile, search, export, deploy, report**; all in the folder of `mosdeploy.toml`.",
)
devices_app = typer.Typer(no_args_is_help=True, help="List, show, check and set up devices.")
app.add_typer(devices_app, name="devices")
latency_app = typer.Typer(no_args_is_help=True, help="Latencies that others measured.")
app.add_typer(latency_app, name="latency")

for verb in (
    init,
    train,
    profile,
    fit,
    search,
    finetune,
    evaluate,
    export,
    deploy,
    translate,
    report,
    demo,
):
    app.command()(verb)
devices_app.command("list")(devices_list)
devices_app.command("show")(devices_show)
devices_app.command("check")(devices_check)
devices_app.command("setup")(devices_setup)
latency_app.command("import")(latency_import)


def _version(value: bool) -> None:
    if value:
        print(f"mosdeploy {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (anywhere on the line).")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command line; errors become one line on stderr and their exit code."""
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    debug = "--debug" in sys.argv
    try:
        app([word for word in sys.argv[1:] if word != "--debug"])
    except MosdeployError as error:
        PROGRESS.close()
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # Typer turns Ctrl-C into this
            PROGRESS.close()
            print(
                "interrupted; what was finished is kept, the same command resumes", file=sys.stderr
            )
        raise
