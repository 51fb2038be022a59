"""The verbs `devices list`, `add`, `check` and `clean`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ..printable import byte_size
from .options import Common
from .printing import PROGRESS, table

if TYPE_CHECKING:
    from ..records import DeviceState
    from ..run_folder.summaries import DeviceCheck

DeviceName = Annotated[
    str,
    typer.Argument(
        help="Device profile, as `devices list` shows it; rpi@pi2 for another board of it."
    ),
]


def devices_list(
    common: Common,
    name: Annotated[
        str | None, typer.Argument(help="A profile to show whole.", show_default="all, by name")
    ] = None,
) -> None:
    """List the known device profiles, or show one."""
    from ..run_folder.devices import list_devices, run_profile

    if name is not None:
        profile = run_profile(common.directory, name)
        common.show(profile, profile.model_dump_json(indent=2))
        return
    known = list_devices(common.directory)
    rows = [(x.name, x.kind, x.host or "-", x.description) for x in known.devices]
    common.show(known, table(("device", "kind", "host", "what"), rows))


def devices_add(
    common: Common,
    name: Annotated[str, typer.Argument(help="Name of the new profile.")],
    host: Annotated[
        str | None,
        typer.Option(help="The board's alias in ssh_config.", show_default="the name"),
    ] = None,
) -> None:
    """Look at a board over SSH and write its profile into the run folder."""
    from ..pipeline.add_device import add_device

    added = add_device(common.directory, name, host, common.ssh_config)
    is_ready = not any(problem.blocking for problem in added.problems)
    next_command = f"mosdeploy devices check {name} --setup"
    if is_ready:
        next_command = _measuring(common, name)
    common.show(added, f"wrote {added.path}\n{_screen(added, name)}", next_command)


def devices_check(
    common: Common,
    name: DeviceName,
    setup: Annotated[
        bool, typer.Option("--setup", help="Before that, install the runtime there, if needed.")
    ] = False,
) -> None:
    """See whether a device can measure, and what to do first. Exit code 5 if it cannot."""
    from ..run_folder.devices import check_device, resolve_profile, setup_device, split_board

    profile = resolve_profile(common.directory, *split_board(name))
    if setup:
        setup_device(profile, common.ssh_config, PROGRESS)
    checked = check_device(profile, common.ssh_config)
    is_ready = not any(problem.blocking for problem in checked.problems)
    device, _, host = name.partition("@")
    hosts = f" --hosts {host}" if host else ""
    command = _measuring(common, device, hosts) if is_ready else None
    common.show(checked, _screen(checked, host or name), command)
    if not is_ready:
        raise typer.Exit(5)


def devices_clean(
    common: Common,
    name: DeviceName,
    earlier: Annotated[
        bool, typer.Option("--earlier", help="Also the versions that a rollback goes back to.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is listed.")] = False,
) -> None:
    """List what nothing needs any more on a device. With --yes, remove it."""
    from ..run_folder.devices import clean_device, resolve_profile, split_board

    profile = resolve_profile(common.directory, *split_board(name))
    found = clean_device(profile, common.ssh_config, remove=yes, with_earlier=earlier)
    rows = [(x.what, byte_size(x.size_bytes), x.path) for x in found.leftovers]
    total_bytes = sum(x.size_bytes for x in found.leftovers)
    end = f"{name}: {byte_size(total_bytes)} in {profile.work_dir}"
    end += " removed" if found.is_removed else " can be removed"
    lines = [*([table(("what", "size", "path"), rows)] if rows else []), end]
    if found.kept:
        paths = ", ".join(leftover.path for leftover in found.kept)
        lines.append(f"not removed, since it is in use now or may not be removed there: {paths}")
    text = "\n".join(lines)
    again = f"mosdeploy devices clean {profile.cli_name}{' --earlier' if earlier else ''} --yes"
    common.show(found, text, again if rows and not yes else None)


def _measuring(common: Common, name: str, hosts: str = "") -> str:
    """What measures a device that is ready; without a run file yet, what writes one for it."""
    from ..workspace import Workspace

    if not Workspace(common.directory).config_path.exists():
        return f"mosdeploy init --device {name}"
    return f"mosdeploy profile --device {name}{hosts}"


def _screen(checked: "DeviceCheck", board: str) -> str:
    """What there is to know of a board at a glance: whether it can measure, then what to do, most
    urgent first, then what it is.
    """
    missing = [problem for problem in checked.problems if problem.blocking]
    disturbing = [problem for problem in checked.problems if not problem.blocking]
    verdict = "ready to measure"
    if missing:
        verdict = "NOT ready"
    elif disturbing:
        verdict = "ready, but timing will be disturbed"
    lines = [f"{board}: {verdict}"]
    for title, problems in (("to do first", missing), ("better for timing", disturbing)):
        if problems:
            lines += ["", f"{title}:"]
        for problem in problems:
            lines += [f"  {problem.what}", f"      {problem.fix}"]
    rows = [f"{label:<9} {text}" for label, text in _facts(checked.state).items() if text]
    return "\n".join([*lines, "", *rows])


def _facts(state: "DeviceState") -> dict[str, str]:
    """What a board is, on a line a subject; empty where it does not tell."""
    cores = f"{state.cores} cores" if state.cores else ""
    memory = ""
    if state.memory_available_bytes is not None and state.memory_bytes is not None:
        free = byte_size(state.memory_available_bytes)
        memory = f"{free} of {byte_size(state.memory_bytes)} of memory free"
    disk = f"{byte_size(state.disk_free_bytes)} of disk free" if state.disk_free_bytes else ""
    clock = f"{state.frequency_mhz:,.0f} MHz" if state.frequency_mhz else ""
    heat = f"{state.temperature_c:.0f} degrees C" if state.temperature_c is not None else ""
    load = f"load {state.load_1min:.2f}" if state.load_1min is not None else ""
    governor = f"governor {state.governor}" if state.governor else ""
    packages = [f"{name} {version}" for name, version in state.packages.items()]
    python = f"Python {state.python_version}" if state.python_version else "no Python"
    subjects: dict[str, list[str | None]] = {
        "board": [state.cpu_model, state.machine, cores],
        "extras": [" ".join(state.cpu_features)],
        "gpu": [state.gpu],
        "room": [memory, disk],
        "now": [clock, governor, heat, load],
        "software": [python, *packages],
        "runs on": [*state.providers],
    }
    return {label: ", ".join(x for x in parts if x) for label, parts in subjects.items()}
