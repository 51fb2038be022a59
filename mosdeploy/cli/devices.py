"""Verbs about devices: list, show, check, set up."""

import typer

from .. import pipeline
from .options import HERE, SSH_CONFIG, DirOption, HostOption, JsonOption, SshOption
from .printing import plain, show, table
from .progress import PROGRESS


def devices_list(directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    """List the known device profiles."""
    known = pipeline.list_devices(directory)
    rows = [(x.name, x.kind, x.host or "-", x.description) for x in known.devices]
    show(known, as_json, table(("device", "kind", "host", "what"), rows))


def devices_show(name: str, directory: DirOption = HERE, as_json: JsonOption = False) -> None:
    """Show one device profile."""
    profile = pipeline.show_device(directory, name)
    show(profile, as_json, profile.model_dump_json(indent=2))


def devices_check(
    name: str,
    directory: DirOption = HERE,
    host: HostOption = None,
    ssh_config: SshOption = SSH_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Look at a device: reachable, Python, runtime, CPU, memory, governor, temperature, disk."""
    checked = pipeline.check_device(directory, name, ssh_config, host)
    rows = [
        (key, plain(value))
        for key, value in checked.state.model_dump().items()
        if value not in (None, ())
    ]
    lines = [
        f"{'missing' if x.blocking else 'warning'}: {x.what}\n    {x.fix}" for x in checked.problems
    ]
    show(checked, as_json, "\n".join([table((host or name, ""), rows), *lines]))
    if any(problem.blocking for problem in checked.problems):
        raise typer.Exit(5)


def devices_setup(
    name: str,
    directory: DirOption = HERE,
    host: HostOption = None,
    ssh_config: SshOption = SSH_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Make a virtual environment with the runtime on a device."""
    made = pipeline.setup_device(directory, name, ssh_config, PROGRESS, host)
    cli_name = name if host is None else f"{name} --host {host}"
    show(
        made,
        as_json,
        f"{host or name}: runtime installed, {made.python}",
        f"mosdeploy devices check {cli_name}",
    )
