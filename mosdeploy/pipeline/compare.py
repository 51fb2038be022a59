"""The verb `compare`: time several bundles by turns on one device, and score them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config.device import DeviceProfile
from ..errors import CommandError, ConfigError, PredictorError
from ..records import BundleManifest, Measurement
from ..run_folder.bundles import bundle_spec, folder_bytes, require_bundle
from ..run_folder.context import Context
from ..run_folder.devices import lasting_session, resolve_profile
from ..run_folder.summaries import ComparedBundle, Comparison
from ..run_folder.trained_run import TrainedRun, trained_run
from ..runtime.manifest import ONNX_MODEL_NAME
from ..spaces.spec import TimingStage
from ..storage import fingerprint, sha256_file
from .predict import predict

ASKED = frozenset(("kind", "labels", "takes_pairs"))
"""Settings of a bundle that say what it answers, where its family has them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CompareOptions:
    """What is compared where."""

    bundles: tuple[Path, ...]
    device: str | None = None
    host: str | None = None


def compare(context: Context, options: CompareOptions) -> Comparison:
    """Time bundles by turns on a device, and score them on this machine on the same examples: the
    test examples or, without any, the validation examples.
    """
    from ..export.bundle import read_manifest

    folders = _folders(context, options.bundles)
    manifests = [read_manifest(folder) for folder in folders]
    stages = _common_stages(context, folders, manifests)
    name = context.run.device_name(options.device, manifests[0].device)
    target = resolve_profile(context.files.root, name, options.host)
    if target.emulated:
        raise PredictorError(
            f"{name} is an emulated device: its times mean nothing, and tell no bundles apart"
        )
    metrics, scored_on = _scores(context, folders, manifests)
    threads = manifests[0].workload.threads
    measured = _measure(context, target, folders, stages, threads)
    rows = zip(_names(folders, options.bundles), folders, manifests, measured, metrics, strict=True)
    return Comparison(
        device=options.host or target.name,
        scored_on=scored_on,
        bundles=tuple(_compared(*row) for row in rows),
    )


def _names(folders: Sequence[Path], given: Sequence[Path]) -> list[str]:
    """Names of the folders; those of one name are called as they were given."""
    names = [folder.name for folder in folders]
    return [
        name if names.count(name) == 1 else str(path)
        for name, path in zip(names, given, strict=True)
    ]


def _compared(
    name: str,
    folder: Path,
    manifest: BundleManifest,
    measurement: Measurement,
    metrics: dict[str, float],
) -> ComparedBundle:
    return ComparedBundle(
        name=name,
        precision=manifest.precision,
        arch=manifest.arch,
        weights=manifest.weights,
        num_parameters=manifest.num_parameters,
        size_bytes=folder_bytes(folder),
        measurement=measurement,
        metrics=metrics,
    )


def _folders(context: Context, bundles: Sequence[Path]) -> list[Path]:
    """Where the bundles lie, which must be different ones."""
    # `.` has no name
    folders = [require_bundle(context.files, given).absolute() for given in bundles]
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        told = ", ".join(map(str, bundles)) or "none"
        raise ConfigError(f"compare takes two different bundles or more, got {told}")
    return folders


def _common_stages(
    context: Context, folders: Sequence[Path], manifests: Sequence[BundleManifest]
) -> tuple[TimingStage, ...]:
    """What is timed of all of them; they must be given the same inputs on as many threads."""
    first = manifests[0]
    # made-up tokens that every vocabulary has
    smallest = min(manifests, key=lambda manifest: manifest.vocab_size)
    for folder, manifest in zip(folders, manifests, strict=True):
        if manifest.runtime != "onnxruntime":
            raise ConfigError(
                f"{folder.name} runs on {manifest.runtime}; compare times bundles of ONNX Runtime. "
                "`mosdeploy export --runtime auto` times both runtimes"
            )
        if manifest.family != context.family.name:
            raise ConfigError(
                f"{folder.name} is of a family '{manifest.family}', this run folder of "
                f"'{context.family.name}'"
            )
        own, other = (_work(context, x, smallest.vocab_size) for x in (manifest, first))
        if own != other:
            raise ConfigError(
                f"{folder.name} and {folders[0].name} do not do the same work: their workloads "
                f"differ in {_differences(context, manifest, first)}; export them for one"
            )
    return bundle_spec(context, smallest).timing_stages()


def _differences(context: Context, one: BundleManifest, other: BundleManifest) -> str:
    """The fields of their workloads that make the work differ, with both values."""
    found = []
    for key, value in one.workload:
        workload = other.workload.model_copy(update={key: value})
        changed = other.model_copy(update={"workload": workload})
        if _work(context, changed, other.vocab_size) != _work(context, other, other.vocab_size):
            found.append(f"{key} ({value} and {getattr(other.workload, key)})")
    return ", ".join(found)


def _work(
    context: Context, manifest: BundleManifest, vocab_size: int
) -> tuple[int, tuple[TimingStage, ...]]:
    same = manifest.model_copy(update={"vocab_size": vocab_size})
    return manifest.workload.threads, bundle_spec(context, same).timing_stages()


def _measure(
    context: Context,
    target: DeviceProfile,
    folders: Sequence[Path],
    stages: tuple[TimingStage, ...],
    threads: int,
) -> list[Measurement]:
    from ..devices.measure import MeasureHooks, MeasurementTask
    from ..devices.measure import compare as measure
    from ..devices.on_device.agent import REFERENCE
    from ..devices.probe import describe
    from ..latency.conditions import board_conditions

    models = [folder / ONNX_MODEL_NAME for folder in folders]
    keys = [f"bundle-{number}" for number in range(len(models))]
    # the first is the reference too, which shows whether the device was stable
    files = dict(zip(keys, models, strict=True)) | {REFERENCE: models[0]}
    digests = [sha256_file(path) for path in models]
    context.progress.say(f"timing {len(models)} bundles by turns on {target.host_alias}")
    with lasting_session(context, target) as session:
        board = board_conditions(describe(session, target))
        # of all that a time depends on, so that no other comparison takes up what this one leaves
        job = fingerprint(target, threads, *board.values(), *stages, *digests)
        task = MeasurementTask(
            job_id=context.run.job_id(f"compare-{job[:12]}"),
            stages=stages,
            threads=threads,
            build=lambda key: files[key].read_bytes(),
        )
        found = measure(session, target, task, keys, MeasureHooks(notify=context.progress.say))
    for key, folder in zip(keys, folders, strict=True):
        if found[key].error is not None:
            raise CommandError(
                f"{target.name}: {folder.name} could not be timed: {found[key].error}"
            )
    return [found[key] for key in keys]


def _check_answers(
    context: Context,
    state: TrainedRun,
    folders: Sequence[Path],
    manifests: Sequence[BundleManifest],
) -> None:
    """Make sure that what bundles answer is what the run's examples ask."""
    own = context.family.bundle_settings(context.config, manifests[0].workload, state.data)
    for folder, manifest in zip(folders, manifests, strict=True):
        for key in ASKED & own.keys():
            found = manifest.settings.get(key, own[key])
            if found != own[key]:
                raise ConfigError(
                    f"{folder.name} was made for another task than that of mosdeploy.toml: its "
                    f"{key} is {found!r}, not {own[key]!r}; compare bundles of one task"
                )
        if manifest.provenance.get("data", state.card.data_sha256) != state.card.data_sha256:
            _log.warning(
                "%s was trained on other data than those here: what it is scored on now may have "
                "been among them",
                folder.name,
            )


def _scores(
    context: Context, folders: Sequence[Path], manifests: Sequence[BundleManifest]
) -> tuple[list[dict[str, float]], str]:
    """Metrics of each bundle, and on how many examples of what."""
    state = trained_run(context.run, context.progress)
    _check_answers(context, state, folders, manifests)
    manifest = manifests[0]
    split, examples = ("test", state.data.test) if state.data.test else ("valid", state.data.valid)
    scored = state.scored(examples, manifest.workload, limit=context.config.export.score_examples)
    metrics_of = scored.line_metrics or scored.metrics
    metrics = []
    for done, folder in enumerate(folders):
        context.progress.update("score", done, len(folders), folder.name)
        answered = predict(context.files.root, scored.inputs, folder)
        metrics.append(metrics_of(list(answered.outputs)))
    context.progress.update("score", len(folders), len(folders))
    return metrics, f"{len(scored)} {split} examples"
