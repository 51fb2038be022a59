"""Options that mean one thing in every verb, and how a verb takes a record of options."""

import dataclasses
import inspect
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import typer

from ..errors import MosdeployError
from ..run_folder.options import Option
from .printing import PROGRESS, tell

if TYPE_CHECKING:
    from ..record import Record
    from ..run_folder.context import Context

DirOption = Annotated[Path, typer.Option("--dir", "-C", help="Run folder (holds mosdeploy.toml).")]


JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON record on stdout.")]

HERE = Path()
SSH_CONFIG = Path("~/.ssh/config")


@dataclass
class Settings:
    """The options before the verb."""

    debug: bool = False
    ssh_config: Path = SSH_CONFIG


SETTINGS = Settings()


@dataclass(frozen=True)
class Common:
    """Where a verb works, and how it answers."""

    directory: DirOption = HERE
    as_json: JsonOption = False

    def context(self) -> "Context":
        """Open the run folder."""
        from ..run_folder.context import Context
        from ..run_folder.run import open_run

        return Context(open_run(self.directory), PROGRESS, self.ssh_config)

    @property
    def ssh_config(self) -> Path:
        """The file with the aliases of devices."""
        return SETTINGS.ssh_config

    def show(self, record: "Record", text: str, then: "str | Context | None" = None) -> None:
        """End a verb: the record alone, or the text, and on stderr the command to run next: as
        given, or what a run folder lacks.

        Of several processes that torchrun started, only the first one prints.
        """
        from ..training.launch import is_first

        PROGRESS.close()
        if not is_first():
            return
        try:
            # a reader of JSON expects UTF-8, whatever the terminal has: ASCII is both
            json_text = record.model_dump_json(ensure_ascii=True) if self.as_json else None
            print(json_text or text, flush=True)
        except OSError as error:
            # what is left would be tried again at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            # whoever reads, as `head -1`, has seen enough
            if not isinstance(error, BrokenPipeError):
                raise MosdeployError(
                    f"the answer cannot be written to stdout: {error.strerror}; what was made is "
                    "kept"
                ) from error
        if self.as_json or PROGRESS.is_quiet:
            return
        if then is not None and not isinstance(then, str):
            from ..run_folder.status import next_command

            then = next_command(then)
        if then:
            tell(f"next: {self.as_here(then)}")

    def as_here(self, command: str) -> str:
        """A command with the options that say where this one works."""
        if self.ssh_config != SSH_CONFIG:
            program, _, rest = command.partition(" ")
            command = f"{program} --ssh-config {shlex.quote(str(self.ssh_config))} {rest}"
        if self.directory == HERE or "--dir" in command:
            return command
        return f"{command} --dir {shlex.quote(str(self.directory))}"


def spread(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb one option for each field of the records that it takes.

    A parameter whose type is a dataclass stands for its fields: Typer sees these, and the verb is
    called with the record made of them. All other parameters stay as they are.
    """
    hints = get_type_hints(verb, include_extras=True)
    declared = inspect.signature(verb).parameters
    records = {name: hints[name] for name in declared if dataclasses.is_dataclass(hints[name])}
    parameters = []
    for name, parameter in declared.items():
        if name not in records:
            parameters.append(parameter.replace(annotation=hints[name]))
            continue
        field_hints = get_type_hints(records[name], include_extras=True)
        for field in dataclasses.fields(records[name]):
            if get_origin(field_hints[field.name]) is not Annotated:
                continue  # for programs alone
            parameters.append(
                inspect.Parameter(
                    field.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=None if field.default == () else field.default,
                    annotation=_as_typed(field, field_hints[field.name]),
                )
            )

    def call(**values: Any) -> None:
        for name, record in records.items():
            names = (field.name for field in dataclasses.fields(record) if field.name in values)
            fields = {name: values.pop(name) for name in list(names)}
            # of a list without an item, the field's default
            values[name] = record(**{x: y for x, y in fields.items() if y not in (None, [])})
        verb(**values)

    keyword_only = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters
    ]
    call.__name__ = verb.__name__
    call.__doc__ = verb.__doc__
    call.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    return call


def _as_typed(field: "dataclasses.Field[Any]", hint: Any) -> Any:
    """Turn the `Option` of a field into one of Typer's; other hints stay as they are."""
    kind, *found = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    option = next((x for x in found if isinstance(x, Option)), None)
    if option is None:
        return hint
    settings: dict[str, Any] = {"help": option.help, "rich_help_panel": option.group}
    if option.default is not None:
        settings["show_default"] = option.default
    for name, value in (
        ("parser", option.read),
        ("metavar", option.metavar),
        ("min", option.minimum),
    ):
        if value is not None:
            settings[name] = value
    if option.is_argument:
        return Annotated[_typed_as(kind), typer.Argument(**settings)]
    names = list(option.names) or [f"--{field.name.replace('_', '-')}"]
    if field.default is True or kind == bool | None:
        names = [f"{names[0]}/--no-{names[0].removeprefix('--')}"]
    return Annotated[_typed_as(kind, option.read), typer.Option(*names, **settings)]


def _typed_as(kind: Any, read: Callable[[str], Any] | None = None) -> Any:
    """Return what Typer makes of a field's type: a text for whatever a text can name."""
    if read is not None:
        return str | None
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if any(get_origin(x) is Sequence for x in kinds):
        return list[str] | None
    if str in kinds:
        return str | None if type(None) in kinds else str
    return kind
