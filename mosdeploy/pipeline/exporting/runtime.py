"""Which runtime a bundle is built for, and which of two bundles is faster on a device."""

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

from ...config.device import DeviceProfile
from ...errors import CommandError, ConfigError, DeviceError, DeviceTimeoutError, ExportError
from ...records import Measurement, Runtime
from ...run_folder.bundles import bundle_spec, deployment_slot, note_newest
from ...run_folder.context import Context
from ...run_folder.devices import lasting_device, run_profile, sole_deployment
from ...run_folder.options import ExportOptions
from ...run_folder.summaries import RuntimeChoice, RuntimeTiming
from ...runtime.manifest import MANIFEST_NAME
from ...storage import disk_errors, fingerprint, remove_scratch, sha256_file
from ..measuring.time_by_turns import device_conditions, time_by_turns
from .export_job import ExportResult


def select_runtime(
    context: Context,
    options: ExportOptions,
    export: Callable[..., ExportResult],
) -> ExportResult:
    """Write a bundle for each runtime, time each on the device, and keep the fastest."""
    name = context.run.device_name(options.device)
    target = run_profile(context.files.root, name)
    if target.emulated:
        raise ConfigError(
            f"'{target.name}' is emulated, its times mean nothing; choose --runtime onnxruntime or "
            "tvm"
        )
    # the fastest is, when it is known
    options = dataclasses.replace(options, device=name)
    precision_choice = None
    built: dict[Runtime, ExportResult] = {}
    errors: dict[Runtime, str] = {}
    for runtime in get_args(Runtime):
        try:
            named = dataclasses.replace(options, runtime=runtime)
            result = export(context, named, is_newest=False)
        except (ExportError, ConfigError) as error:
            if runtime != "tvm" and isinstance(error, ConfigError):
                raise  # not about the runtime: the other one would say the same
            errors[runtime] = str(error)
            continue
        # the precision is chosen once, for both
        options = dataclasses.replace(options, precision=result.manifest.precision)
        precision_choice = precision_choice or result.precision_choice
        built[runtime] = result
    kept = select_fastest(context, target, built, errors)
    return dataclasses.replace(kept, precision_choice=precision_choice)


def select_fastest(
    context: Context,
    profile: DeviceProfile,
    built: Mapping[Runtime, ExportResult],
    errors: Mapping[Runtime, str],
) -> ExportResult:
    """Time bundles on a device, with their self-tests there; delete all but the fastest."""
    if not built:
        raise ExportError("; ".join(f"{runtime}: {error}" for runtime, error in errors.items()))
    # what the limit of the search is about
    statistic = next(iter(built.values())).manifest.statistic
    with sole_deployment(context, profile):
        found = _time(context, profile.timed_for(statistic), built)
    found |= {runtime: Measurement(error=error) for runtime, error in errors.items()}
    times_ms = {x: ms for x in found if (ms := found[x].figure_ms(statistic)) is not None}
    if not times_ms:
        raise DeviceError("; ".join(f"{runtime}: {x.error}" for runtime, x in found.items()))
    fastest = min(times_ms, key=lambda runtime: times_ms[runtime])
    kept = built[fastest]
    # before the others go: a kill in between must not leave half a bundle as the newest
    note_newest(context.files, kept.path)
    for runtime, result in built.items():
        if runtime != fastest:
            _remove(result.path)
    timings = [
        RuntimeTiming(runtime=name, measurement=None if x.error else x, error=x.error)
        for name, x in found.items()
    ]
    choice = RuntimeChoice(
        device=profile.name,
        kept=fastest,
        bundle=str(kept.path),
        timings=tuple(timings),
        manifest=kept.manifest,
    )
    return dataclasses.replace(kept, runtime_choice=choice)


def _time(
    context: Context, profile: DeviceProfile, built: Mapping[Runtime, ExportResult]
) -> dict[Runtime, Measurement]:
    """Store bundles on a device, test them there and time them by turns."""
    from ...devices.deploy import DeploymentRequest, stage
    from ...devices.job import AgentJob
    from ...devices.measure import MeasurementTask
    from ...devices.on_device.agent import REFERENCE

    slot = deployment_slot(context.run)
    spec = bundle_spec(context, next(iter(built.values())).manifest)
    stages = spec.timing_stages()
    paths: dict[str, str] = {}
    found: dict[Runtime, Measurement] = {}
    with lasting_device(context, profile) as device, contextlib.ExitStack() as stack:
        conditions = device_conditions(device).values()
        manifests = (sha256_file(x.path / MANIFEST_NAME) for x in built.values())
        job_id = context.run.job_id(f"runtime-{fingerprint(profile, *conditions, *manifests)[:12]}")
        job = AgentJob(device, job_id)
        job.refuse_if_busy()
        job.kill()  # of a killed command, which would disturb the self-tests
        for runtime, result in built.items():
            request = DeploymentRequest(result.path, result.manifest, stages)
            try:
                staged = stage(device, slot, request, context.progress.say)
            except (CommandError, DeviceTimeoutError) as failure:
                # a device that is busy or gone says nothing of a runtime
                found[runtime] = Measurement(error=str(failure))
                continue
            stack.callback(slot.release, device, staged.version)
            paths[runtime] = staged.model_path
        if paths:
            keys = list(paths)
            paths[REFERENCE] = paths[keys[0]]
            task = MeasurementTask(job_id, stages, spec.workload.threads, paths.__getitem__)
            measured = time_by_turns(context, device, task, keys)
            found |= {runtime: measured[runtime] for runtime in built if runtime in measured}
    return {runtime: found[runtime] for runtime in built}


def _remove(bundle: Path) -> None:
    """Remove a bundle; a kill leaves it whole, or what the next export of it removes."""
    with disk_errors(bundle):
        remove_scratch(bundle)
        shutil.rmtree(bundle.rename(bundle.with_name(f".{bundle.name}.slower")))
