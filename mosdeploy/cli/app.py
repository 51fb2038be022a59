"""The verbs and the options before them, as Typer runs them; the order of the help is here."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ..errors import ConfigError, MosdeployError
from ..version import __version__
from .devices import devices_add, devices_check, devices_clean, devices_list
from .options import SETTINGS, SSH_CONFIG, spread
from .printing import PROGRESS, tell
from .verbs import (
    compare,
    deploy,
    evaluate,
    export,
    finetune,
    fit,
    init,
    predict,
    profile,
    report,
    search,
    status,
    train,
    verify,
)
from .walk import demo, walk

__all__ = ["VERBS", "app", "run"]

VERBS = (
    init,
    walk,
    status,
    train,
    profile,
    fit,
    search,
    finetune,
    evaluate,
    export,
    deploy,
    verify,
    compare,
    predict,
    report,
)

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,  # whose columns cut words on a terminal of 80
    pretty_exceptions_enable=False,
    help="Fit a Transformer into a latency budget on a real device.\n\n"
    "The walk: init, train, profile, search, finetune, evaluate, export, deploy, report; all in "
    "the folder of mosdeploy.toml. `walk` runs all that come after init.",
)
devices_app = typer.Typer(no_args_is_help=True, help="List, add, check and clean devices.")
app.add_typer(devices_app, name="devices")


class _Command(TyperCommand):
    """A verb that repeats a value which is refused: pydantic, which checks it, leaves it out."""

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        try:
            return super().make_context(*arguments, **settings)
        except typer.BadParameter as error:
            if (found := getattr(error.__cause__, "errors", None)) is not None:
                value = repr(found()[0]["input"])
                error.message = error.message.removeprefix("Value error, ")
                if value not in error.message:
                    error.message += f", got {value}"
            raise

    def format_options(self, context: Any, formatter: Any) -> None:
        """Write the options; those that one family alone needs in sections of their own."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(context):
            if (row := parameter.get_help_record(context)) is not None:
                is_option = parameter.param_type_name == "option"
                usual = "Options" if is_option else "Arguments"
                title = getattr(parameter, "rich_help_panel", None) or usual
                groups.setdefault(title, []).append(row)
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl(rows)


for verb in (*VERBS, demo):
    app.command(cls=_Command)(spread(verb))
for device_verb in (devices_list, devices_add, devices_check, devices_clean):
    devices_app.command(device_verb.__name__.removeprefix("devices_"))(spread(device_verb))


def _version(value: bool) -> None:
    if value:
        print(f"mosdeploy {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell more.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Tell errors and results alone.")
    ] = False,
    ssh_config: Annotated[
        Path, typer.Option("--ssh-config", help="ssh_config file with the devices' aliases.")
    ] = SSH_CONFIG,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    SETTINGS.debug = debug
    SETTINGS.ssh_config = ssh_config
    PROGRESS.is_quiet = quiet
    level = logging.ERROR if quiet else logging.DEBUG if verbose else logging.WARNING
    logging.getLogger("mosdeploy").setLevel(level)


class _Handler(logging.Handler):
    """Writes messages of the package to stderr, after the bars have been left as they stand."""

    def emit(self, record: logging.LogRecord) -> None:
        PROGRESS.close()
        tell(f"{record.levelname.lower()}: {record.getMessage()}")


def run() -> None:
    """Run the command line; errors become one line on stderr and their exit code."""
    # before torch is loaded, which reads it then: threads that spin long while they wait for one
    # another hold the cores that another program runs on, and a training comes nearly to a halt
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "30000")  # a tenth of the default
    logging.getLogger("mosdeploy").addHandler(_Handler())
    try:
        if sys.stdout is None:
            raise ConfigError("stdout is closed, where answers go; send them to /dev/null")
        app()
    except (MosdeployError, OSError) as error:
        PROGRESS.close()
        if SETTINGS.debug:
            raise
        tell(f"error: {error}")
        # of the system alone: a disk or a folder that fails where nobody expects it
        sys.exit(getattr(error, "exit_code", MosdeployError.exit_code))
    except RuntimeError as error:
        # of pathlib, platformdirs and altair, where a container has no such user
        if SETTINGS.debug or "home directory" not in str(error):
            raise
        tell("error: this user has no home folder; set HOME to one")
        sys.exit(ConfigError.exit_code)
    finally:
        PROGRESS.close()
