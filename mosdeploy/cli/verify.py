"""The verb `verify`."""

from typing import Annotated

import typer

from .options import DeployedDeviceOption, DeviceCommon, HostOption
from .printing import kept_limits, timing

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
    from ..pipeline.verify import VerifyOptions
    from ..pipeline.verify import verify as time_again
    from ..records import Limits

    limits = Limits(
        max_latency_ms=parse_duration_ms(max_latency) if max_latency is not None else None,
        max_memory_bytes=parse_size(max_memory) if max_memory is not None else None,
    )
    result = time_again(common.context(), VerifyOptions(device, host, limits))
    of = result.deployment
    limit = kept_limits(result.measurement, of.statistic, result.limit_ms, result.max_memory_bytes)
    place = f"{host or of.device.name}:{of.remote_dir}"
    timed = timing(result.measurement, of.statistic)
    common.show(result, f"{of.bundle} on {place}: self-test passed, {timed}{limit}")
    if not result.kept:
        raise typer.Exit(InfeasibleError.exit_code)
