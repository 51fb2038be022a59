"""Options that mean one thing in every verb."""

from pathlib import Path
from typing import Annotated

import typer

DirOption = Annotated[Path, typer.Option("--dir", "-C", help="Run folder (holds mosdeploy.toml).")]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="Device profile, e.g. local, rpi.")
]
HostOption = Annotated[
    str | None, typer.Option("--host", help="Another board of this kind, by its alias.")
]
ArchOption = Annotated[
    str, typer.Option(help="winner, largest, smallest, or a JSON file with an architecture.")
]
SshOption = Annotated[
    Path, typer.Option("--ssh-config", help="ssh_config file with the device's alias.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON record on stdout.")]

HERE = Path()
SSH_CONFIG = Path("~/.ssh/config")
