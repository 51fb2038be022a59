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
from ..run_folder.devices import lasting_device, resolve_profile, split_board
from ..run_folder.options import CompareOptions, PredictOptions
from ..run_folder.summaries import ComparedBundle, Comparison
from ..run_folder.trained_run import trained_run
from ..runtime.manifest import ONNX_MODEL_NAME
from ..spaces.spec import TimingStage
from ..storage import fingerprint, sha256_file
from .measuring.time_by_turns import device_conditions, time_by_turns
from .predict import predict

ASKED = frozenset(("kind", "labels", "takes_pairs"))
"""Settings of a bundle that say what it answers, where its family has them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Bundle:
    """A bundle, and how it is called beside the others."""

    name: str
    folder: Path
    manifest: BundleManifest


def compare(context: Context, options: CompareOptions) -> Comparison:
    """Time bundles by turns on a device, and score them on this machine on the same examples: the
    test examples or, without any, the validation examples.
    """
    bundles = _bundles(context, tuple(map(Path, options.bundles)))
    stages = _common_stages(context, bundles)
    device, host = split_board(options.device)
    name = context.run.device_name(device, bundles[0].manifest.device)
    target = resolve_profile(context.files.root, name, host)
    if target.emulated:
        raise PredictorError(
            f"{name} is an emulated device: its times mean nothing, and tell no bundles apart"
        )
    metrics, scored_on = _score(context, bundles)
    measured = _measure(context, target, bundles, stages)
    compared = []
    for bundle, measurement, scores in zip(bundles, measured, metrics, strict=True):
        manifest = bundle.manifest
        compared.append(
            ComparedBundle(
                name=bundle.name,
                precision=manifest.precision,
                arch=manifest.arch,
                weights=manifest.weights,
                num_parameters=manifest.num_parameters,
                size_bytes=folder_bytes(bundle.folder),
                measurement=measurement,
                metrics=scores,
            )
        )
    return Comparison(device=host or target.name, scored_on=scored_on, bundles=tuple(compared))


def _bundles(context: Context, given: Sequence[Path]) -> list[_Bundle]:
    """Read the manifests of the bundles, which must be different ones."""
    from ..export.bundle import read_manifest

    # absolute: `.` has no name
    folders = [require_bundle(context.files, path).absolute() for path in given]
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        named = ", ".join(map(str, given)) or "none"
        raise ConfigError(f"compare takes two different bundles or more, got {named}")
    names = [folder.name for folder in folders]
    bundles = []
    for path, folder in zip(given, folders, strict=True):
        # those of one name are called as they were given
        name = folder.name if names.count(folder.name) == 1 else str(path)
        manifest = read_manifest(folder)
        if manifest.runtime != "onnxruntime":
            raise ConfigError(
                f"{name} runs on {manifest.runtime}; compare times bundles of ONNX Runtime. "
                "`mosdeploy export --runtime auto` times both runtimes"
            )
        bundles.append(_Bundle(name, folder, manifest))
    return bundles


def _common_stages(context: Context, bundles: Sequence[_Bundle]) -> tuple[TimingStage, ...]:
    """What is timed of all of them; they must be given the same inputs on as many threads."""
    first = bundles[0]
    # made-up tokens that every vocabulary has
    vocab_size = min(bundle.manifest.vocab_size for bundle in bundles)

    def work(manifest: BundleManifest) -> tuple[int, tuple[TimingStage, ...]]:
        same = manifest.model_copy(update={"vocab_size": vocab_size})
        return manifest.workload.threads, bundle_spec(context, same).timing_stages()

    for bundle in bundles:
        manifest = bundle.manifest
        if work(manifest) != work(first.manifest):
            other = first.manifest.workload
            differences = [
                f"{key} ({value} and {getattr(other, key)})"
                for key, value in manifest.workload
                if value != getattr(other, key)
            ]
            raise ConfigError(
                f"{bundle.name} and {first.name} do not do the same work: their workloads differ "
                f"in {', '.join(differences)}; export them for one"
            )
    return work(first.manifest)[1]


def _measure(
    context: Context,
    target: DeviceProfile,
    bundles: Sequence[_Bundle],
    stages: tuple[TimingStage, ...],
) -> list[Measurement]:
    from ..devices.measure import MeasurementTask
    from ..devices.on_device.agent import REFERENCE

    models = {f"bundle-{i}": x.folder / ONNX_MODEL_NAME for i, x in enumerate(bundles)}
    keys = list(models)
    # the first is the reference too, which shows whether the device was stable
    models[REFERENCE] = models[keys[0]]
    threads = bundles[0].manifest.workload.threads
    digests = [sha256_file(models[key]) for key in keys]
    context.progress.say(f"timing {len(bundles)} bundles by turns on {target.host_alias}")
    with lasting_device(context, target) as device:
        conditions = device_conditions(device).values()
        job = fingerprint(target, threads, *conditions, *stages, *digests)
        task = MeasurementTask(
            job_id=context.run.job_id(f"compare-{job[:12]}"),
            stages=stages,
            threads=threads,
            build=lambda key: models[key].read_bytes(),
        )
        found = time_by_turns(context, device, task, keys)
    for key, bundle in zip(keys, bundles, strict=True):
        if found[key].error is not None:
            raise CommandError(
                f"{target.name}: {bundle.name} could not be timed: {found[key].error}"
            )
    return [found[key] for key in keys]


def _score(context: Context, bundles: Sequence[_Bundle]) -> tuple[list[dict[str, float]], str]:
    """Metrics of each bundle, and on how many examples of what."""
    state = trained_run(context.run, context.progress)
    workload = bundles[0].manifest.workload
    own = context.family.bundle_settings(context.config, workload, state.data)
    for bundle in bundles:
        for key in ASKED & own.keys():
            found = bundle.manifest.settings.get(key, own[key])
            if found != own[key]:
                raise ConfigError(
                    f"{bundle.name} was made for another task than that of mosdeploy.toml: its "
                    f"{key} is {found!r}, not {own[key]!r}; compare bundles of one task"
                )
        if bundle.manifest.provenance.get("data", state.card.data_sha256) != state.card.data_sha256:
            _log.warning(
                "%s was trained on other data than those here: what it is scored on now may have "
                "been among them",
                bundle.name,
            )
    split, examples = ("test", state.data.test) if state.data.test else ("valid", state.data.valid)
    scored = state.scored(examples, workload, limit=context.config.export.score_examples)
    metrics_of = scored.line_metrics or scored.metrics
    metrics = []
    for done, bundle in enumerate(bundles):
        context.progress.update("score", done, len(bundles), bundle.name)
        answered = predict(context.files.root, scored.inputs, PredictOptions(bundle.folder))
        metrics.append(metrics_of(list(answered.outputs)))
    context.progress.update("score", len(bundles), len(bundles))
    return metrics, f"{len(scored)} {split} examples"
