"""Go back to the version that stood on a device before."""

from functools import partial
from pathlib import Path

from ..errors import ConfigError
from ..records import Deployment
from ..run_folder.channels import channel_of
from ..run_folder.context import Context
from ..run_folder.devices import lasting_session, resolve_profile, sole_deployment
from ..storage import readable_record, write_record
from .deploy import DeployOptions, deployed_to, say_provider


def roll_back(context: Context, options: DeployOptions | None = None) -> Deployment:
    """Make the version current again that stood on a device before the present one, and
    record it.
    """
    from ..devices.channel import LastTwo
    from ..devices.rollback import roll_back as roll_back_there

    options = options or DeployOptions()
    if options.bundle is not None:
        raise ConfigError("--rollback goes back to what the device holds; it takes no --bundle")
    if not options.strict:
        raise ConfigError("--rollback holds the bundle to no limit; it takes no --no-strict")
    name, host = deployed_to(context, options)
    target = resolve_profile(context.files.root, name, host)
    context.progress.say(f"rolling back {host or target.name}")
    with sole_deployment(context, target), lasting_session(context, target) as session:
        path = context.files.deployment_path(target.name, host)
        begun_path = context.files.begun_rollback_path(target.name, host)
        deployment = roll_back_there(
            session,
            target,
            channel_of(context.run),
            readable_record(LastTwo, begun_path),
            partial(write_record, begun_path),
        )
        left = _rolled_back_from(path, deployment)
        deployment = deployment.model_copy(update={"rolled_back_from": left})
        write_record(path, deployment)
        # from here on, the same command goes back one further
        begun_path.unlink(missing_ok=True)
        say_provider(context, session, target, deployment)
    return deployment


def _rolled_back_from(path: Path, deployment: Deployment) -> tuple[str, ...]:
    """What stood on a device until now, and what it was rolled back from before; nothing if its
    record here cannot be read.
    """
    found = readable_record(Deployment, path)
    if found is None:
        return ()
    if found.bundle_sha256 == deployment.bundle_sha256:  # a killed rollback has recorded it
        return found.rolled_back_from
    return (*found.rolled_back_from, found.bundle_sha256)
