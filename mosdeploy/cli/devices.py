"""The verbs `devices list`, `show`, `check` and `setup`."""

from typing import Annotated

import typer

from .options import Common, DeviceCommon, HostOption
from .printing import plain, table
from .progress import PROGRESS

DeviceName = Annotated[str, typer.Argument(help="Device profile, e.g. local, rpi.")]


def devices_list(common: Common) -> None:
    """List the known device profiles."""
    from ..pipeline.devices import list_devices

    known = list_devices(common.directory)
    rows = [(x.name, x.kind, x.host or "-", x.description) for x in known.devices]
    common.show(known, table(("device", "kind", "host", "what"), rows))


def devices_show(common: Common, name: DeviceName) -> None:
    """Show one device profile."""
    from ..pipeline.devices import show_device

    profile = show_device(common.directory, name)
    common.show(profile, profile.model_dump_json(indent=2))


def devices_check(common: DeviceCommon, name: DeviceName, host: HostOption = None) -> None:
    """Look at a device: reachable, Python, runtime, CPU, memory, governor, temperature, disk."""
    from ..pipeline.devices import check_device, resolve_profile

    profile = resolve_profile(common.directory, name, host)
    checked = check_device(profile, common.ssh_config)
    state = checked.state.model_dump()
    rows = [(key, plain(value)) for key, value in state.items() if value not in (None, (), {})]
    lines = [
        f"{'missing' if x.blocking else 'warning'}: {x.what}\n    {x.fix}" for x in checked.problems
    ]
    common.show(checked, "\n".join([table((host or name, ""), rows), *lines]))
    if any(problem.blocking for problem in checked.problems):
        raise typer.Exit(5)


def devices_setup(common: DeviceCommon, name: DeviceName, host: HostOption = None) -> None:
    """Make a virtual environment with the runtime on a device."""
    from ..pipeline.devices import resolve_profile, setup_device

    profile = resolve_profile(common.directory, name, host)
    made = setup_device(profile, common.ssh_config, PROGRESS)
    text = f"{host or name}: runtime installed, {made.python}"
    common.show(made, text, f"mosdeploy devices check {profile.cli_name}")
