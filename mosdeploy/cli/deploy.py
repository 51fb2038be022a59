"""The verb `deploy`."""

from ..printable import EMULATED
from ..run_folder.options import DeployOptions
from .options import Common
from .printing import kept_limits, timing


def deploy(common: Common, options: DeployOptions) -> None:
    """Put the bundle on the device, test and time it, then switch."""
    from ..pipeline.deploy import deploy as put
    from ..run_folder.status import next_command

    context = common.context()
    result = put(context, options)
    place = f"{(options.device or '').partition('@')[2] or result.device.name}:{result.remote_dir}"
    text = f"{result.bundle} on {place}: self-test passed"
    note = f", {EMULATED}"
    if not result.device.emulated:
        note = kept_limits(
            result.measurement, result.statistic, result.limit_ms, result.max_memory_bytes
        )
    timed = timing(result.measurement, result.statistic)
    common.show(result, f"{text}, {timed}{note}", next_command(context))
