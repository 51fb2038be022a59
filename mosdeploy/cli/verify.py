"""The verb `verify`."""

import typer

from ..run_folder.options import VerifyOptions
from .options import Common
from .printing import kept_limits, timing


def verify(common: Common, options: VerifyOptions) -> None:
    """Time what is deployed on the device. Exit code 7 if it does not keep its limits."""
    from ..errors import InfeasibleError
    from ..pipeline.verify import verify as time_again

    result = time_again(common.context(), options)
    of = result.deployment
    limit = kept_limits(result.measurement, of.statistic, result.limit_ms, result.max_memory_bytes)
    place = f"{(options.device or '').partition('@')[2] or of.device.name}:{of.remote_dir}"
    timed = timing(result.measurement, of.statistic)
    common.show(result, f"{of.bundle} on {place}: self-test passed, {timed}{limit}")
    if not result.kept:
        raise typer.Exit(InfeasibleError.exit_code)
