"""The verb `verify`."""

from typing import Annotated

import typer

from ..printable import kept, memory_kept
from .options import DeployedDeviceOption, DeviceCommon, HostOption
from .printing import timing

SEARCHED_FOR = "what the bundle was searched for"


def verify(
    common: DeviceCommon,
    device: DeployedDeviceOption = None,
    host: HostOption = None,
    max_latency: Annotated[
        str | None,
        typer.Option(
            help="Latency limit with its unit: 150ms, 3.5s.",
            show_default=SEARCHED_FOR,
        ),
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(
            help="Limit on the memory that the model takes there: 200MiB.",
            show_default=SEARCHED_FOR,
        ),
    ] = None,
) -> None:
    """Time what is deployed on the device. Exit code 7 if it does not keep its limits."""
    from ..config.units import parse_duration_ms, parse_size
    from ..errors import InfeasibleError
    from ..pipeline.deploy import DeployOptions
    from ..pipeline.verify import verify as time_again

    limit_ms = parse_duration_ms(max_latency) if max_latency is not None else None
    most = parse_size(max_memory) if max_memory is not None else None
    result = time_again(common.context(), DeployOptions(device, host), limit_ms, most)
    deployment = result.deployment
    timed = timing(result.measurement, deployment.statistic)
    figure_ms = result.measurement.figure_ms(deployment.statistic)
    limit = kept(figure_ms, result.limit_ms, deployment.statistic)
    limit += memory_kept(result.measurement.memory_bytes, result.max_memory_bytes)
    place = f"{host or deployment.device.name}:{deployment.remote_dir}"
    common.show(result, f"{deployment.bundle} on {place}: self-test passed, {timed}{limit}")
    if not result.kept:
        raise typer.Exit(InfeasibleError.exit_code)
