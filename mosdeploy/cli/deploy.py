"""The verb `deploy`."""

from typing import Annotated

import typer

from ..printable import EMULATED
from .options import BundleOption, DeviceCommon, ExportedDeviceOption, HostOption
from .printing import kept_limits, timing


def deploy(
    common: DeviceCommon,
    device: ExportedDeviceOption = None,
    host: HostOption = None,
    bundle: BundleOption = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Go back to the version before the present one.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict/--no-strict",
            help="Switch only if the bundle keeps its limits there.",
        ),
    ] = True,
) -> None:
    """Put the bundle on the device, test and time it, then switch."""
    from ..pipeline.deploy import DeployOptions, roll_back
    from ..pipeline.deploy import deploy as put
    from ..run_folder.status import next_command

    options = DeployOptions(device, host, bundle, strict)
    context = common.context()
    result = roll_back(context, options) if rollback else put(context, options)
    text = f"{result.bundle} on {host or result.device.name}:{result.remote_dir}: self-test passed"
    note = f", {EMULATED}"
    if not result.device.emulated:
        note = kept_limits(
            result.measurement, result.statistic, result.limit_ms, result.max_memory_bytes
        )
    timed = timing(result.measurement, result.statistic)
    common.show(result, f"{text}, {timed}{note}", next_command(context))
