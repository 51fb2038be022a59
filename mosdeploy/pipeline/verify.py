"""The verb `verify`: time what is deployed on a device, and say whether it keeps its limits."""

import contextlib
import os

from ..errors import CommandError, ConfigError, PredictorError
from ..records import Deployment, Limits
from ..run_folder.bundles import bundle_spec, deployed_to, deployment_slot, device_option
from ..run_folder.context import Context
from ..run_folder.devices import lasting_device, resolve_profile, sole_deployment
from ..run_folder.options import VerifyOptions
from ..run_folder.summaries import Verification
from ..storage import read_record


def verify(context: Context, options: VerifyOptions | None = None) -> Verification:
    """Test and time the current version on a device; nothing is changed there or here."""
    from ..devices.deploy import LatencyLimit, missed_limits, time_current

    options = options or VerifyOptions()
    asked = Limits.read(max_latency=options.max_latency, max_memory=options.max_memory)
    name, host = deployed_to(context, options.device)
    target = resolve_profile(context.files.root, name, host)
    if target.emulated:
        raise PredictorError(
            f"{name} is an emulated device: its times mean nothing, and no limit can be verified"
        )
    path = context.files.deployment_path(target.name, host)
    command = f"mosdeploy deploy --device {device_option(name, host)}"
    deployment = read_record(Deployment, path, command)
    limit_ms = asked.max_latency_ms or deployment.limit_ms
    most_bytes = asked.max_memory_bytes or deployment.max_memory_bytes
    if limit_ms is None and most_bytes is None:
        raise ConfigError(
            f"{deployment.bundle} was deployed without a limit; give one with --max-latency 20ms, "
            "or --max-memory 200MiB"
        )
    statistic = deployment.statistic
    limit = None if limit_ms is None else LatencyLimit(limit_ms, statistic)
    target = target.timed_for(statistic)
    context.progress.say(f"testing and timing what is deployed on {host or target.name}")
    # where nothing can be written, as in a checkout of a test machine, no other command deploys
    can_write = os.access(path.parent, os.W_OK)
    alone = sole_deployment(context, target) if can_write else contextlib.nullcontext()
    with alone, lasting_device(context, target) as device:
        measurement = time_current(
            device,
            deployment_slot(context.run),
            deployment,
            lambda manifest: bundle_spec(context, manifest).timing_stages(),
            limit,
            context.progress.say,
        )
    if most_bytes is not None and measurement.memory_bytes is None:
        raise CommandError(
            f"{target.name} does not tell how much memory a process takes: the limit on it cannot "
            "be verified there"
        )
    is_timed = measurement.figure_ms(statistic) is not None
    return Verification(
        deployment=deployment,
        measurement=measurement,
        limit_ms=limit_ms,
        max_memory_bytes=most_bytes,
        kept=is_timed and not missed_limits(target, measurement, limit, most_bytes),
    )
