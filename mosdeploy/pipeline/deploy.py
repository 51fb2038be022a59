"""The verb `deploy`: put a bundle on a device, or go back to the one before."""

import contextlib
import logging
import math
import shlex
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pydantic import ConfigDict

from ..config.device import DeviceProfile
from ..errors import ConfigError, ExportError, InfeasibleError, MosdeployError, StaleInputError
from ..printable import latency
from ..record import Record
from ..records import BundleManifest, Deployment, SearchResult
from ..run_folder.bundles import bundle_spec, note_newest, require_bundle
from ..run_folder.channels import channel_of
from ..run_folder.context import Context
from ..run_folder.devices import lasting_session, other_host, resolve_profile, sole_deployment
from ..run_folder.subnets import UNASKED, VERBS
from ..storage import read_record, sha256_file, write_record
from .missed_limit import what_helps
from .other_finalists import export_in_place_of, has_weights, other_finalists
from .proposed_commands import named_board

if TYPE_CHECKING:
    from ..devices.release import LatencyLimit
    from ..devices.session import Session

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeployOptions:
    """What goes where."""

    device: str | None = None
    host: str | None = None
    bundle: Path | None = None
    strict: bool = True
    train: bool = False


def deploy(context: Context, options: DeployOptions | None = None) -> Deployment:
    """Put a bundle on a device, run its self-test there, measure it there, and record it."""
    from ..export.bundle import read_manifest

    options = options or DeployOptions()
    folder = require_bundle(context.files, options.bundle)
    manifest = read_manifest(folder)
    try:
        return _deploy(context, options, folder, manifest)
    except InfeasibleError as error:
        missed = error
    return _deploy_another(context, options, manifest, missed)


def _deploy_another(
    context: Context, options: DeployOptions, manifest: BundleManifest, missed: InfeasibleError
) -> Deployment:
    """Export and deploy the first of the other finalists that keeps the limit, and train one if
    that is wanted; none in place of a bundle that was named.
    """
    from ..export.bundle import read_manifest
    from .finetune import FinetuneOptions, finetune

    fastest = missed
    may_train = options.train and manifest.weights in UNASKED
    to_train = []
    taken_ms = {manifest.arch.key: missed.fastest_latency_ms}
    others = [] if options.bundle else other_finalists(context, manifest, missed.fastest_latency_ms)
    for other in others:
        key = other.candidate.arch.key
        if not has_weights(context, manifest, other):
            if manifest.weights not in VERBS or other.is_too_slow:
                continue
            if not may_train:
                to_train.append(key)
                continue
            may_train = False
            context.progress.say(f"{fastest}. Training the finalist {key[:8]} too")
            try:
                finetune(context, FinetuneOptions(key))
            except MosdeployError as error:
                context.progress.say(f"the finalist {key[:8]} could not be trained: {error}")
                to_train.append(key)
                continue
        context.progress.say(f"{fastest}. Trying the finalist {key[:8]} in its place")
        try:
            folder = export_in_place_of(context, manifest, other)
            deployment = _deploy(context, options, folder, read_manifest(folder))
            note_newest(context.files, folder)
            return deployment
        except (ExportError, StaleInputError) as error:
            taken_ms[key] = None
            context.progress.say(f"the finalist {key[:8]} has no bundle: {error}")
        except InfeasibleError as error:
            taken_ms[key] = error.fastest_latency_ms
            fastest = min(fastest, error, key=lambda e: e.fastest_latency_ms or math.inf)
    name = context.run.device_name(options.device, manifest.device)
    is_told = options.host or name != context.run.device_name(None, manifest.device)
    board = named_board(name, options.host) if is_told else None
    told = what_helps(context, manifest, to_train, taken_ms, board)
    rest = "If other programs slow it down, let it rest and deploy again before all else"
    raise InfeasibleError(f"{fastest}. {rest}. {told}", fastest.fastest_latency_ms)


def _deploy(
    context: Context, options: DeployOptions, folder: Path, manifest: BundleManifest
) -> Deployment:
    """Put one bundle on the device that the options mean, and record it."""
    from ..devices.deploy import deploy as put_on_device
    from ..devices.release import Release

    files = context.files
    name = context.run.device_name(options.device, manifest.device)
    target = resolve_profile(files.root, name, options.host)
    context.progress.say(f"deploying {folder.name} to {options.host or target.name}")
    limit, max_memory_bytes = _limits(context, manifest, options.bundle is not None)
    if limit is not None and manifest.device not in (None, name):
        context.progress.say(
            f"{folder.name} was searched for {manifest.device}; {name} is held to that limit, "
            f"{latency(limit.ms)}"
        )
    target = target.timed_for("median" if limit is None else limit.statistic)
    release = Release(
        bundle_dir=folder,
        manifest=manifest,
        stages=bundle_spec(context, manifest).timing_stages(),
        limit=limit,
        max_memory_bytes=max_memory_bytes,
        strict=options.strict,
    )
    with sole_deployment(context, target), lasting_session(context, target) as session:
        deployment = put_on_device(
            session,
            target,
            channel_of(context.run),
            release,
            context.config.deploy,
            context.progress.say,
        )
        host = other_host(files.root, name, options.host)
        write_record(files.deployment_path(target.name, host), deployment)
        files.begun_rollback_path(target.name, host).unlink(missing_ok=True)
        say_provider(context, session, target, deployment)
    return deployment


class _Runtime(Record):
    """What is read of the manifest that a device holds."""

    model_config = ConfigDict(extra="ignore")

    runtime: str = "onnxruntime"


def say_provider(
    context: Context, session: "Session", target: DeviceProfile, deployment: Deployment
) -> None:
    """Say how what was deployed runs as it was timed, where the runtime would take the CPU unless
    it is told.
    """
    from ..devices.acceptance import CPU_PROVIDER
    from ..devices.answers import parse_answer
    from ..devices.interpreter import python_path
    from ..devices.release import MANIFEST_PATH, RUNTIME_NAME

    if target.provider == CPU_PROVIDER:
        return
    path = f"{deployment.remote_dir}/{MANIFEST_PATH}"
    if parse_answer(_Runtime, session.read(path), path).runtime == "tvm":  # for CPUs alone
        return
    current = PurePosixPath(deployment.remote_dir).parent / "current"
    words = (python_path(session, target), "-m", RUNTIME_NAME, "bundle")
    command = shlex.join((*words, "--provider", target.provider))
    context.progress.say(
        f"to run it on {target.host_alias} as it was timed: "
        f"cd {shlex.quote(str(current))} && {command}"
    )


def deployed_to(context: Context, options: DeployOptions) -> tuple[str, str | None]:
    """Device and host that the options mean among those that were deployed to from here."""
    root = context.files.root
    name = options.device or context.config.device

    def is_meant(device: str, host: str | None) -> bool:
        if name not in (None, device):
            return False
        if options.host in (None, host):
            return True
        with contextlib.suppress(ConfigError):  # its profile may be gone
            return host is None and other_host(root, device, options.host) is None
        return False

    found = [place for place in context.files.deployed_to() if is_meant(*place)]
    if len(found) == 1:
        return found[0]
    if name is not None and (not found or (name, None) in found):
        return name, other_host(root, name, options.host)
    if not found:
        raise StaleInputError(
            "nothing was deployed from this folder; run `mosdeploy deploy`, or say --device"
        )
    names = ", ".join(named_board(*place) for place in found)
    raise ConfigError(f"several devices were deployed to ({names}): say which one with --device")


def _limits(
    context: Context, manifest: BundleManifest, is_named: bool
) -> "tuple[LatencyLimit | None, int | None]":
    """The limits on latency and memory that a bundle which was searched for is held to: those of
    its search, or, unless the bundle `is_named` or was picked, of a newer one for the same device.
    """
    from ..devices.release import LatencyLimit

    limits = manifest.search_limits
    limit_ms = manifest.limit_ms
    statistic = manifest.statistic
    path = context.files.search_result_path
    known = manifest.provenance.get("search")
    if known is not None and path.exists():
        result = read_record(SearchResult, path, "mosdeploy search")
        # older manifests do not tell their limits
        is_told = limits is not None or limit_ms is not None
        is_wanted = is_named or manifest.is_pick
        is_own = limit_ms is not None or (is_wanted and limits is not None)
        is_newest = sha256_file(path) == known
        is_alike = is_newest or _is_of(result, manifest)
        is_held = result.device == manifest.device and is_alike and not is_own
        if not is_newest and (is_held or is_told):
            held = "the limits of that one hold" if is_held else "its own limits hold"
            context.progress.say(
                f"{manifest.name} was exported for another search than the one at hand: {held}; "
                "`mosdeploy export` takes the winner of that one"
            )
        if is_held:
            limits = result.limits
            statistic = result.statistic
    if limit_ms is None and limits is not None:
        limit_ms = limits.max_latency_ms
    elif limit_ms is None and known is not None:
        _log.warning(
            "%s was exported by an older mosdeploy, which did not write the limits of its search "
            "into it, and the search at hand does not tell them: they are not known, and none is "
            "checked; `mosdeploy verify --max-latency` checks one",
            manifest.name,
        )
    limit = LatencyLimit(limit_ms, statistic) if limit_ms is not None else None
    return limit, limits.max_memory_bytes if limits is not None else None


def _is_of(result: SearchResult, manifest: BundleManifest) -> bool:
    """Whether a search was for the workload of a bundle, but for what an export may change of it:
    a limit on other work says nothing of this one.
    """
    free = {"name", "precision", "beam", "shortlist"}
    searched = result.workload.model_dump(exclude=free)
    return searched == manifest.workload.model_dump(exclude=free)
