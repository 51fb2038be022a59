"""Options that mean one thing in every verb, and how a verb takes a record of options."""

import dataclasses
import inspect
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from ..errors import MosdeployError
from .progress import PROGRESS, tell

if TYPE_CHECKING:
    from ..config.sections import SearchConfig
    from ..record import Record
    from ..records import Limits
    from ..run_folder.context import Context

DirOption = Annotated[Path, typer.Option("--dir", "-C", help="Run folder (holds mosdeploy.toml).")]


def _device(else_meant: str) -> Any:
    return typer.Option(
        "--device",
        help="Device profile, as `mosdeploy devices list` shows them.",
        show_default=f"device in mosdeploy.toml, else {else_meant}",
    )


DeviceOption = Annotated[str | None, _device("local")]
ProfiledDeviceOption = Annotated[str | None, _device("the one that was profiled, or local")]
SearchedDeviceOption = Annotated[str | None, _device("the one that was searched for, else local")]
ExportedDeviceOption = Annotated[str | None, _device("the one that the bundle is for, else local")]
DeployedDeviceOption = Annotated[str | None, _device("the one that was deployed to")]
HostOption = Annotated[
    str | None,
    typer.Option(
        "--host",
        help="Another board of this kind, by its alias in ssh_config.",
        show_default="host of the device profile",
    ),
]
PICK_HELP = (
    "winner; 3, the third of the search's front; 18ms, the best of the front within 18 ms, as "
    "measured or, where it was not, as predicted; a finalist's key; largest, smallest; or a JSON "
    "file with an architecture."
)
PickOption = Annotated[str, typer.Option("--pick", "--arch", help=PICK_HELP)]
BeamOption = Annotated[
    int | None,
    typer.Option(
        help="Hypotheses of a translation's beam search, 1 for none.",
        min=1,
        show_default="[workload].beam",
    ),
]


def _bundle(name: str) -> Path:
    """A bundle as it is named; a variable of the shell that is not set names none."""
    if not name:
        raise typer.BadParameter("it is empty: name a folder, or leave it out for the newest")
    return Path(name)


BundleOption = Annotated[
    Path | None,
    typer.Option(
        parser=_bundle,
        metavar="<path>",
        help="A bundle: its folder, or its name in bundles/.",
        show_default="the newest",
    ),
]
SshOption = Annotated[
    Path, typer.Option("--ssh-config", help="ssh_config file with the device's alias.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON record on stdout.")]

CONFIGURED = "as in mosdeploy.toml"
MaxLatencyOption = Annotated[
    str | None,
    typer.Option(help="Latency limit with its unit: 150ms, 3.5s.", show_default=CONFIGURED),
]
MaxParametersOption = Annotated[
    str | None, typer.Option(help="Parameter limit: 4M, 800k, 3500000.", show_default=CONFIGURED)
]
CountOption = Annotated[
    Literal["total", "encoder"] | None,
    typer.Option(
        help="What --max-parameters counts; encoder: without the embedding table.",
        show_default=CONFIGURED,
    ),
]
MaxSizeOption = Annotated[
    str | None,
    typer.Option(
        help="Limit on the size of the bundle, its model and its tokenizer: 12MiB, 900KiB.",
        show_default=CONFIGURED,
    ),
]
MaxMemoryOption = Annotated[
    str | None,
    typer.Option(
        help="Limit on the memory that the model takes on the device: 200MiB.",
        show_default=CONFIGURED,
    ),
]

HERE = Path()
SSH_CONFIG = Path("~/.ssh/config")
DEVICE_VERBS = ("walk", "profile", "search", "export", "deploy", "verify", "compare", "devices")
"""Those that take `--ssh-config`."""


@dataclass(frozen=True)
class Common:
    """Where a verb works, and how it answers."""

    directory: DirOption = HERE
    as_json: JsonOption = False

    def context(self) -> "Context":
        """Open the run folder."""
        from ..run_folder.context import Context
        from ..run_folder.run import open_run

        return Context(open_run(self.directory), PROGRESS)

    def show(self, record: "Record", text: str, next_command: str | None = None) -> None:
        """End a verb: the record alone, or the text, and on stderr the command to run next.

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
        if self.as_json:
            return
        if next_command and not PROGRESS.is_quiet:
            tell(f"next: {self.as_here(next_command)}")

    def as_here(self, command: str) -> str:
        """A command with the options that say where this one works."""
        if self.directory == HERE or "--dir" in command:
            return command
        return f"{command} --dir {shlex.quote(str(self.directory))}"


@dataclass(frozen=True)
class LimitOptions:
    """What a subnet may cost."""

    max_latency: MaxLatencyOption = None
    max_parameters: MaxParametersOption = None
    count: CountOption = None
    max_size: MaxSizeOption = None
    max_memory: MaxMemoryOption = None

    def limits(self, config: "SearchConfig") -> "Limits":
        """The limits as a record; what is counted, unless said, as [search] has it."""
        from ..records import Limits

        count = self.count
        if count is None and self.max_parameters is not None:
            count = config.count
        return Limits.read(
            self.max_latency, self.max_parameters, count, self.max_size, self.max_memory
        )


NO_LIMITS = LimitOptions()


@dataclass(frozen=True)
class DeviceCommon(Common):
    """The same for a verb that may reach a device."""

    ssh_config: SshOption = SSH_CONFIG

    def context(self) -> "Context":
        """Open the run folder, with the aliases of devices."""
        return dataclasses.replace(super().context(), ssh_config=self.ssh_config)

    def as_here(self, command: str) -> str:
        """A command with the options that say where this one works, and by which aliases."""
        told = super().as_here(command)
        if self.ssh_config == SSH_CONFIG or command.split()[1] not in DEVICE_VERBS:
            return told
        return f"{told} --ssh-config {shlex.quote(str(self.ssh_config))}"


def spread(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb one option for each field of the option records that it takes.

    A parameter whose type is a dataclass stands for its fields: Typer sees these, each with its
    `Annotated` type and its default, and the verb is called with the record made of them. All other
    parameters stay as they are.

    Examples
    --------
    >>> def fit(common: Common, device: DeviceOption = None) -> None: ...
    >>> list(inspect.signature(spread(fit)).parameters)
    ['directory', 'as_json', 'device']
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
            parameters.append(
                inspect.Parameter(
                    field.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=field.default,
                    annotation=field_hints[field.name],
                )
            )

    def call(**values: Any) -> None:
        for name, record in records.items():
            fields = [field.name for field in dataclasses.fields(record)]
            values[name] = record(**{field: values.pop(field) for field in fields})
        verb(**values)

    keyword_only = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters
    ]
    call.__name__ = verb.__name__
    call.__doc__ = verb.__doc__
    call.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    return call
