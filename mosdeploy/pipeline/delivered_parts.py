"""The bundles of a run folder, and what stands on devices."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from ..errors import MosdeployError, StaleInputError
from ..folders import listed
from ..printable import byte_size, figure_note, kept, memory_kept, milliseconds
from ..records import BundleManifest, Deployment
from ..run_folder.bundles import bundle_manifests, folder_bytes, newest_bundle
from ..run_folder.context import Context
from ..run_folder.deployments import deployment_slot, device_option
from ..run_folder.devices import resolve_profile
from ..run_folder.subnets import ALONE, subnet_card
from ..run_folder.summaries import Part
from ..run_folder.trained_run import TrainedRun
from ..runtime.manifest import MANIFEST_NAME
from ..storage import read_record, sha256_file
from .parts import look_at
from .proposed_commands import deploy_command


def delivered_parts(context: Context, trained: Callable[[], TrainedRun]) -> Iterator[Part]:
    """Every bundle, and every deployment; where there can be none, what makes a task of it."""
    if not context.config.gives_answers:
        yield _without_answers(context)
        return
    look = _Delivered(context, trained)
    yield from look.bundles()
    yield from look.deployments()


def _without_answers(context: Context) -> Part:
    """What stands for the bundles of a supernet that is trained for tasks alone."""
    tasks = [path.parent.name for path in listed(context.files.root, "runs/*/mosdeploy.toml")]
    if tasks:
        detail = f"those of tasks are in runs/: {', '.join(tasks)}"
        return Part(what="bundle", state="unused", detail=detail)
    return Part(
        what="bundle",
        state="missing",
        detail="the network answers nothing before it is fine-tuned on a task",
        command="mosdeploy finetune --task FILE",
    )


def verify_command(context: Context) -> str:
    """What times the first deployment that has a limit; the page, where none has."""
    files = context.files
    places = files.deployed_to()
    for device, host in places:
        with contextlib.suppress(MosdeployError):
            resolve_profile(files.root, device, host)
            found = read_record(Deployment, files.deployment_path(device, host), "mosdeploy deploy")
            has_limit = found.limit_ms is not None or found.max_memory_bytes is not None
            if has_limit and not found.device.emulated:
                is_meant = len(places) == 1 and context.config.device in (None, device)
                option = "" if is_meant else f" --device {device_option(device, host)}"
                return f"mosdeploy verify{option}"
    return "mosdeploy report"


@dataclass(frozen=True)
class _Delivered:
    """One look at them."""

    context: Context
    trained: Callable[[], TrainedRun]

    def bundles(self) -> Iterator[Part]:
        paths = bundle_manifests(self.context.files)
        newest = newest_bundle(self.context.files)
        for path in paths:
            # an older bundle of something else is no reason to export again
            command = "mosdeploy export" if path.parent == newest else None
            yield look_at("bundle", path.parent.name, partial(self._bundle, path), command)
        if not paths:
            yield Part(what="bundle", state="missing", command="mosdeploy export")

    def _bundle(self, path: Path) -> str:
        from ..export.bundle import read_manifest

        manifest = read_manifest(path.parent)
        if changed := self._changed(manifest):
            raise StaleInputError(f"another {' and another '.join(changed)} is there now")
        return f"{manifest.precision}, {byte_size(folder_bytes(path.parent))}"

    def _changed(self, manifest: BundleManifest) -> list[str]:
        """Which of the records that a bundle was made from are no longer those at hand."""
        now = self.trained().card.provenance
        if manifest.weights in ALONE:
            with contextlib.suppress(StaleInputError):
                subnet = subnet_card(self.trained(), manifest.arch, manifest.weights)
                now["subnet"] = subnet.subnet_sha256
        path = self.context.files.search_result_path
        if path.exists():
            now["search"] = sha256_file(path)
        made_from = manifest.provenance
        found = [name for name, sha256 in now.items() if made_from.get(name, sha256) != sha256]
        if manifest.weights == "inherited":
            with contextlib.suppress(StaleInputError):
                card = subnet_card(self.trained(), manifest.arch, "finetuned")
                found += ["training of its subnet"] if card.loss < card.start_loss else []
        return found

    def deployments(self) -> Iterator[Part]:
        deployed = self.context.files.deployed_to()
        for device, host in deployed:
            place = device_option(device, host)
            path = self.context.files.deployment_path(device, host)
            command = f"mosdeploy deploy --device {place}{self._bundle_option(path)}"
            yield look_at("deployment", place, partial(self._deployment, path), command)
        if not deployed:
            command = deploy_command(self.context, self._newest_device)
            yield Part(what="deployment", state="missing", command=command)

    @cached_property
    def _newest_device(self) -> str | None:
        """The device that the newest bundle was made for; None where that is not known."""
        from ..export.bundle import read_manifest

        with contextlib.suppress(MosdeployError):
            newest = newest_bundle(self.context.files)
            return read_manifest(newest).device if newest else None
        return None

    def _bundle_option(self, path: Path) -> str:
        """What deploys the same bundle again, where the newest one is for another device."""
        with contextlib.suppress(MosdeployError):
            found = read_record(Deployment, path, "mosdeploy deploy")
            if self._newest_device not in (None, found.device.name):
                return f" --bundle {found.bundle}"
        return ""

    def _deployment(self, path: Path) -> str:
        from ..export.bundle import read_manifest

        found = read_record(Deployment, path, "mosdeploy deploy")
        slot = deployment_slot(self.context.run).name
        if found.slot != slot:
            raise StaleInputError(f"it is in '{found.slot}' there, this folder's is '{slot}'")
        newest = newest_bundle(self.context.files)
        meant = (found.bundle_sha256, *found.rolled_back_from)
        if (
            newest is not None
            and sha256_file(newest / MANIFEST_NAME) not in meant
            # one for another device takes no place of this one
            and read_manifest(newest).device in (None, found.device.name)
        ):
            raise StaleInputError(f"{found.bundle} is there, the {newest.name} here is newer")
        words = [found.bundle, "not timed"]
        if found.rolled_back_from:
            words.insert(1, "rolled back to")
        if (figure_ms := found.measurement.figure_ms(found.statistic)) is not None:
            words[-1] = f"{milliseconds(figure_ms)}{figure_note(found.statistic)}"
        limits = ""
        if not found.device.emulated:
            limits = kept(figure_ms, found.limit_ms, found.statistic)
            limits += memory_kept(found.measurement.memory_bytes, found.max_memory_bytes)
        return ", ".join(words) + limits
