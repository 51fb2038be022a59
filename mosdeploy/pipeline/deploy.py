"""The verb `deploy`: put a bundle on a device, or go back to the one before."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, StaleInputError
from ..records import BundleManifest, Deployment, SearchResult
from ..spaces import ModelSpec
from ..storage import read_record, sha256_file, write_record
from .bundles import require_bundle
from .context import Context
from .devices import lasting_session, resolve_profile


@dataclass(frozen=True)
class DeployOptions:
    """What goes where.

    Attributes
    ----------
    device
        None takes the config's `device`, else the one that the bundle was searched for, else this
        machine.
    host
        Alias of a board of this kind; None for the one that the profile names.
    bundle
        None takes the newest of the run folder.
    strict
        A bundle that takes longer there than the limit it was searched for does not become current.
    """

    device: str | None = None
    host: str | None = None
    bundle: Path | None = None
    strict: bool = False


def deploy(context: Context, options: DeployOptions | None = None) -> Deployment:
    """Put a bundle on a device, run its self-test there, measure it there, and record it.

    Raises
    ------
    ConfigError
        If no profile has this name, or as `resolve_profile`.
    StaleInputError
        If there is no bundle.
    BundleError
        If its files are not those of its manifest.
    DeviceError
        If the device fails, or the self-test does; an older deployment stays current.
    InfeasibleError
        If it is strict, and the limit is not kept; an older deployment stays current.
    """
    from ..devices.deploy import deploy as put_on_device
    from ..devices.release import Release
    from ..export.bundle import read_manifest

    options = options or DeployOptions()
    files = context.files
    folder = options.bundle or require_bundle(files)
    manifest = read_manifest(folder)
    name = options.device or context.config.device or manifest.device or "local"
    target = resolve_profile(files.root, name, options.host)
    context.progress.say(f"deploying {folder.name} to {options.host or target.name}")
    release = Release(
        bundle_dir=folder,
        manifest=manifest,
        stages=bundle_spec(context, manifest).timing_stages(),
        limit_ms=_limit_ms(context, manifest),
        strict=options.strict,
    )
    with lasting_session(context, target) as session:
        deployment = put_on_device(
            session, target, release, context.config.deploy, context.progress.say
        )
    write_record(files.deployment_path(target.name, options.host), deployment)
    return deployment


def roll_back(context: Context, options: DeployOptions | None = None) -> Deployment:
    """Make the version current again that stood on a device before the present one, and record it.

    Parameters
    ----------
    options
        Without device and host, and with none in the config: the board that was deployed to from
        here.

    Raises
    ------
    StaleInputError
        If no device is named, and nothing was deployed from here.
    ConfigError
        If no device is named, and several were deployed to. Otherwise as `deploy`.
    DeviceError
        If the device fails, has no earlier version, or that one fails its self-test; nothing is
        changed then.
    """
    from ..devices.deploy import roll_back as roll_back_there

    options = options or DeployOptions()
    if options.bundle is not None:
        raise ConfigError("--rollback goes back to what the device holds; it takes no --bundle")
    if options.strict:
        raise ConfigError("--rollback times nothing: leave --strict out, run `mosdeploy verify`")
    name, host = deployed_to(context, options)
    target = resolve_profile(context.files.root, name, host)
    context.progress.say(f"rolling back {host or target.name}")
    with lasting_session(context, target) as session:
        deployment = roll_back_there(session, target)
    write_record(context.files.deployment_path(target.name, host), deployment)
    return deployment


def bundle_spec(context: Context, manifest: BundleManifest) -> ModelSpec:
    """The model that a bundle's timings are about."""
    return ModelSpec(context.config.space, manifest.vocab_size, manifest.workload)


def deployed_to(context: Context, options: DeployOptions) -> tuple[str, str | None]:
    """Device and host that the options mean among those that were deployed to from here.

    Raises
    ------
    StaleInputError
        If no device is named, and nothing was deployed from here.
    ConfigError
        If no device is named, and several were deployed to.
    """
    name = options.device or context.config.device
    found = [
        (device, host)
        for device, host in context.files.deployed_to()
        if name in (None, device) and options.host in (None, host)
    ]
    if len(found) == 1:
        return found[0]
    if name is not None and (not found or (name, None) in found):
        return name, options.host
    if not found:
        raise StaleInputError(
            "nothing was deployed from this folder; run `mosdeploy deploy`, or say --device"
        )
    names = ", ".join(name if of is None else f"{name} --host {of}" for name, of in found)
    raise ConfigError(f"several devices were deployed to ({names}): say which one with --device")


def _limit_ms(context: Context, manifest: BundleManifest) -> float | None:
    """The limit that the bundle was searched for, if the search is still the one at hand."""
    path = context.files.search_result_path
    known = manifest.provenance.get("search")
    if known is None or not path.exists() or sha256_file(path) != known:
        return None
    return read_record(SearchResult, path, "mosdeploy search").limits.max_latency_ms
