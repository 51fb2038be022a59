"""Verbs about devices: list, show, check, set up."""

import typer

from .. import pipeline
from .options import HERE, SSH_CONFIG, DirOption, JsonOption, SshOption
from .printing import done, plain, table
from .progress import PROGRESS


def devices_list(directory: DirOption = HERE) -> None:
    """List the known device profiles."""
    rows = [(x.name, x.kind, x.host or "-", x.description) for x in pipeline.list_devices(directory)]
    print(table(("device", "kind", "host", "what"), rows))


def devices_show(name: str, directory: DirOption = HERE) -> None:
    """Show one device profile."""
    print(pipeline.show_device(directory, name).model_dump_json(indent=2))


def devices_check(
    name: str, directory: DirOption = HERE, ssh_config: SshOption = SSH_CONFIG, as_json: JsonOption = False
) -> None:
    """Look at a device: reachable, Python, runtime, CPU, memory, governor, temperature, disk."""
    checked = pipeline.check_device(directory, name, ssh_config)
    if as_json:
        print(checked.model_dump_json())
    else:
        rows = [(key, plain(value)) for key, value in checked.state.model_dump().items() if value not in (None, ())]
        print(table((name, ""), rows))
        for problem in checked.problems:
            print(f"{'missing' if problem.blocking else 'warning'}: {problem.what}\n    {problem.fix}")
    if any(problem.blocking for problem in checked.problems):
        raise typer.Exit(5)


def devices_setup(name: str, directory: DirOption = HERE, ssh_config: SshOption = SSH_CONFIG) -> None:
    """Make a virtual environment with the runtime on a device."""
    python = pipeline.setup_device(directory, name, ssh_config, PROGRESS)
    done(f"{name}: runtime installed, {python}", f"mosdeploy devices check {name}")
