"""The verb `deploy`: put a bundle on a device, or go back to the one before."""

import math
import shlex
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ..errors import ConfigError, InfeasibleError, StaleInputError
from ..printable import latency
from ..records import NO_LIMITS, BundleManifest, Candidate, Deployment
from ..run_folder.bundles import bundle_spec, deployed_to, deployment_slot, require_bundle
from ..run_folder.candidates import candidates
from ..run_folder.context import Context
from ..run_folder.devices import (
    lasting_device,
    other_host,
    resolve_profile,
    sole_deployment,
    split_board,
)
from ..run_folder.options import DeployOptions
from ..run_folder.subnets import VERBS
from ..run_folder.trained_run import trained_run
from ..storage import readable_record, sha256_file, write_record

if TYPE_CHECKING:
    from ..devices.device import Device


def deploy(context: Context, options: DeployOptions | None = None) -> Deployment:
    """Put a bundle on a device, run its self-test there, time it there, and record it."""
    from ..devices.deploy import DeploymentRequest, LatencyLimit
    from ..devices.deploy import deploy as put_on_device
    from ..export.bundle import read_manifest

    options = options or DeployOptions()
    if options.rollback:
        return _roll_back(context, options)
    files = context.files
    folder = require_bundle(files, options.bundle)
    manifest = read_manifest(folder)
    asked, host = split_board(options.device)
    name = context.run.device_name(asked, manifest.device)
    target = resolve_profile(files.root, name, host)
    context.progress.say(f"deploying {folder.name} to {host or target.name}")
    _tell_other_search(context, manifest)
    limits = manifest.limits or NO_LIMITS
    limit_ms = limits.max_latency_ms
    if limit_ms is not None and manifest.device not in (None, name):
        context.progress.say(
            f"{folder.name} was searched for {manifest.device}; {name} is held to that limit, "
            f"{latency(limit_ms)}"
        )
    target = target.timed_for(manifest.statistic if limit_ms else "median")
    release = DeploymentRequest(
        bundle_dir=folder,
        manifest=manifest,
        stages=bundle_spec(context, manifest).timing_stages(),
        limit=LatencyLimit(limit_ms, manifest.statistic) if limit_ms else None,
        max_memory_bytes=limits.max_memory_bytes,
        strict=options.strict,
    )
    slot = deployment_slot(context.run)
    with sole_deployment(context, target), lasting_device(context, target) as device:
        try:
            deployment = put_on_device(
                device, slot, release, context.config.deploy, context.progress.say
            )
        except InfeasibleError as error:
            fixes = suggest_fixes(context, manifest, error.fastest_latency_ms)
            raise InfeasibleError(f"{error}. {fixes}", error.fastest_latency_ms) from error
        host = other_host(files.root, name, host)
        write_record(files.deployment_path(target.name, host), deployment)
        files.begun_rollback_path(target.name, host).unlink(missing_ok=True)
        if command := _provider_command(device, manifest, deployment):
            context.progress.say(f"to run it on {target.host_alias} as it was timed: {command}")
    return deployment


def _roll_back(context: Context, options: DeployOptions) -> Deployment:
    """Make the version current again that was current on a device before, and record it."""
    from ..devices.deploy import CurrentAndPrevious
    from ..devices.deploy import roll_back as roll_back_there

    if options.bundle is not None:
        raise ConfigError("--rollback goes back to what the device holds; it takes no --bundle")
    if not options.strict:
        raise ConfigError("--rollback holds the bundle to no limit; it takes no --no-strict")
    files = context.files
    name, host = deployed_to(context, options.device)
    target = resolve_profile(files.root, name, host)
    context.progress.say(f"rolling back {host or target.name}")
    path = files.deployment_path(target.name, host)
    # notes the two versions before the switch: after a kill, the same command goes back only once
    begun_path = files.begun_rollback_path(target.name, host)
    with sole_deployment(context, target), lasting_device(context, target) as device:
        deployment = roll_back_there(
            device,
            deployment_slot(context.run),
            readable_record(CurrentAndPrevious, begun_path),
            partial(write_record, begun_path),
        )
        before = readable_record(Deployment, path)
        left: tuple[str, ...] = ()
        if before is not None:
            left = before.rolled_back_from
            # equal where a killed rollback has written the record already
            if before.bundle_sha256 != deployment.bundle_sha256:
                left = (*left, before.bundle_sha256)
        deployment = deployment.model_copy(update={"rolled_back_from": left})
        write_record(path, deployment)
        begun_path.unlink(missing_ok=True)
    return deployment


def fallback_candidates(
    context: Context, manifest: BundleManifest, deployed_ms: float | None
) -> list[Candidate]:
    """List the candidates that should keep the limit that a bundle missed, best first."""
    from ..search.front import best_first

    try:
        result = trained_run(context.run).search_result()
    except StaleInputError:  # another supernet is here now
        return []
    found = {x.arch.key: x for x in candidates(result)}
    missed = found.pop(manifest.arch.key, None)
    if missed is None or result.device != manifest.device:
        return []
    limit_ms = (manifest.limits or NO_LIMITS).max_latency_ms or math.inf
    searched_ms = missed.measured_ms or missed.predicted_ms
    others = []
    for candidate in found.values():
        candidate_ms = candidate.measured_ms or candidate.predicted_ms
        if deployed_ms is None or deployed_ms <= limit_ms:  # it takes too much memory
            taken_bytes = candidate.measured_memory_bytes
            is_better = taken_bytes and taken_bytes < (missed.measured_memory_bytes or 0)
        else:
            # a deployed bundle takes somewhat longer than its graph took in the search
            growth = deployed_ms / searched_ms if searched_ms else math.inf
            is_better = candidate_ms is not None and candidate_ms * growth <= limit_ms
        if is_better:
            others.append(candidate)
    return [others[i] for i in best_first(others)]


def suggest_fixes(context: Context, manifest: BundleManifest, deployed_ms: float | None) -> str:
    """Suggest what to do where a bundle missed its limit as deployed."""
    rest = "If other programs slow the device down, let it rest and deploy again"
    anyway = f"deploy {manifest.name} beyond its limit with --no-strict"
    others = fallback_candidates(context, manifest, deployed_ms)
    if not others:
        return f"{rest}; or {anyway}"
    pick = f"--pick {others[0].arch.key}"
    command = f"`mosdeploy export {pick}`"
    if manifest.weights in VERBS:
        command = f"`{VERBS[manifest.weights]} {pick}` and {command}"
    return f"{rest}; or take a faster subnet with {command}, or {anyway}"


def _tell_other_search(context: Context, manifest: BundleManifest) -> None:
    """Say that the newest search is not the one that a bundle was exported for."""
    path = context.files.search_result_path
    known = manifest.provenance.get("search")
    if known is not None and path.exists() and sha256_file(path) != known:
        context.progress.say(
            f"{manifest.name} was exported for another search than the newest one, and is held to "
            "the limits of that; `mosdeploy export` takes the winner of the newest"
        )


def _provider_command(
    device: "Device", manifest: BundleManifest, deployment: Deployment
) -> str | None:
    """Return the command that runs a bundle on the provider that it was timed on."""
    from ..devices.deploy import RUNTIME_NAME
    from ..runtime.execution import CPU_PROVIDER

    # the runtime takes the CPU unless it is told otherwise, and TVM knows CPUs alone
    if device.profile.provider == CPU_PROVIDER or manifest.runtime == "tvm":
        return None
    current = PurePosixPath(deployment.remote_dir).parent / "current"
    words = (device.python_path(), "-m", RUNTIME_NAME, "bundle")
    command = shlex.join((*words, "--provider", device.profile.provider))
    return f"cd {shlex.quote(str(current))} && {command}"
