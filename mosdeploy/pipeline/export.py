"""Verbs about bundles: export, deploy, translate."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ..config.device import load_profile
from ..errors import BundleError, ConfigError, ExportError, StaleInputError
from ..records import BundleManifest, Deployment, PrecisionChoice, Runtime, SearchResult
from ..spaces.spec import Precision, Workload
from ..storage import read_record, sha256_file, write_record
from ..workspace import Workspace
from .devices import board, lasting_session
from .parity import parity_set
from .precision_selection import PrecisionTask, choose_precision
from .run import Progress, Run
from .runtime_selection import RuntimeCandidate, select_fastest, tvm_build
from .subnets import SelectedSubnet, choose
from .summaries import RuntimeChoice, Translation, Translations
from .train import TrainedRun, trained


@dataclass(frozen=True)
class ExportResult:
    """A bundle that was just written."""

    path: Path
    manifest: BundleManifest
    size_bytes: int
    choice: PrecisionChoice | None


def export(
    run: Run,
    arch_name: str,
    precision: str | None,
    beam: int | None,
    progress: Progress,
    weights: str | None = None,
    device: str | None = None,
    max_score_drop: float | None = None,
    ssh_config: Path = Path("~/.ssh/config"),
    runtime: Runtime = "onnxruntime",
    tune_s: float = 0.0,
) -> ExportResult:
    """Write the bundle of a subnet, after checking that it translates as torch does.

    Parameters
    ----------
    arch_name
        `winner`, `largest`, `smallest`, or a JSON file with an architecture.
    precision, beam
        None takes the config's, which for the beam, and by default for the precision, is the
        workload's: what was profiled and searched for. `auto` takes the fastest precision that is
        good enough, measured on the device.
    weights
        `inherited`, `finetuned` or `scratch`; None takes the better of the first two, as
        `weights.choose` says.
    device
        Where `auto` measures, and what TVM compiles for; None takes the config's, else the one that
        was searched for, else this machine.
    max_score_drop
        None takes the config's.
    runtime, tune_s
        What is to run the bundle; for TVM, at most so many seconds of tuning in all.

    Raises
    ------
    DeviceError
        If the device fails.
    StaleInputError
        If the run is not trained, there is no winner of this supernet, or no such weights.
    ConfigError
        If the precision or the kind of weights is unknown; or, for TVM, if the device's profile
        does not say what to compile for, or it cannot be tuned for from here.
    ExportError
        If the bundle does not translate as the trained subnet, or TVM cannot compile it; nothing is
        written then.
    """
    from ..export.bundle import BundleOrigin, export_bundle

    precision = precision or run.config.export.precision
    workload = _workload(run, None if precision == "auto" else precision, beam)
    state = trained(_allowing(run, max_score_drop))
    arch = state.arch(arch_name)
    result = state.search_result() if arch_name == "winner" else None
    chosen, choice = choose(state, arch, weights), None
    if precision == "auto":
        name = device or run.config.device or (result.device if result else "local")
        target = load_profile(name, run.workspace.root)
        choice = choose_precision(
            PrecisionTask(state, chosen, workload, target), ssh_config, progress
        )
        workload = _workload(run, choice.precision, beam)
    if result is not None and result.workload != workload:
        result = None  # another beam or precision than was searched for: what the search promised does not hold
    limits = state.run.config.export
    num_pairs = limits.parity_examples if workload.precision == "fp32" else limits.score_examples
    corpus = run.config.corpus
    name = f"{corpus.source_lang}-{corpus.target_lang}-{arch.key[:8]}-{workload.precision}-beam{workload.beam}"
    name += "" if chosen.weights == "inherited" else f"-{chosen.weights}"
    build = None
    if runtime == "tvm":
        device = device or run.config.device or (result.device if result else "local")
        target = load_profile(device, run.workspace.root)
        build = tvm_build(run, arch, workload, target, tune_s, progress)
        name += f"-tvm-{target.name}"
    out_dir = run.workspace.bundles_dir / name
    progress.say(chosen.note)
    progress.say(
        f"exporting {name} and comparing it with torch on at most {num_pairs} validation pairs"
    )
    manifest = export_bundle(
        chosen.subnet,
        arch,
        run.config.space,
        workload=workload,
        config=limits,
        origin=BundleOrigin(
            name=name,
            source_lang=corpus.source_lang,
            target_lang=corpus.target_lang,
            device=result.device if result else None,
            provenance=_provenance(run, state, result, chosen),
            weights=chosen.weights,
        ),
        tokenizer_path=run.workspace.tokenizer_path,
        parity_set=parity_set(
            state, num_pairs, lambda ids: state.translate(chosen.subnet, ids, workload.beam)
        ),
        out_dir=out_dir,
        build=build,
    )
    return ExportResult(out_dir, manifest, folder_bytes(out_dir), choice)


def export_fastest(
    run: Run,
    arch_name: str,
    precision: str | None,
    beam: int | None,
    progress: Progress,
    weights: str | None,
    device: str | None,
    max_score_drop: float | None,
    ssh_config: Path,
    tune_s: float,
) -> tuple[ExportResult, RuntimeChoice]:
    """Write a bundle for each runtime, time each on the device, and keep the faster.

    A runtime that cannot be built for, or does not stand on the device, is reported and left out.
    The precision `auto` is decided with the first.

    Raises
    ------
    ConfigError
        If the device is emulated: its times mean nothing. Otherwise as `export`.
    DeviceError
        If no bundle could be timed.
    ExportError
        If no bundle could be built.
    """
    target = load_profile(run.device_name(device), run.workspace.root)
    if target.emulated:
        raise ConfigError(
            f"'{target.name}' is emulated, its times mean nothing; choose --runtime onnxruntime or tvm"
        )
    candidates = []
    for runtime in get_args(Runtime):
        options = (weights, target.name, max_score_drop, ssh_config, runtime, tune_s)
        try:
            exported = export(run, arch_name, precision, beam, progress, *options)
            precision = exported.manifest.precision
            candidates.append(RuntimeCandidate(runtime, exported, None))
        except ExportError as error:
            candidates.append(RuntimeCandidate(runtime, None, str(error)))
    return select_fastest(target, candidates, ssh_config, progress)


def deploy(
    run: Run,
    device: str | None,
    bundle: Path | None,
    ssh_config: Path,
    progress: Progress,
    host: str | None = None,
) -> Deployment:
    """Put a bundle on a device, run its self-test there, measure it there, and record it.

    Parameters
    ----------
    device
        None takes the config's `device`, else the one that the bundle was searched for, else this
        machine.
    bundle
        None takes the newest of the run folder.
    host
        Alias of a board of this kind; None for the one that the profile names.

    Raises
    ------
    ConfigError
        As `with_host`, or if no profile has this name.
    StaleInputError
        If there is no bundle.
    BundleError
        If its files are not those of its manifest.
    DeviceError
        If the device fails, or the self-test does; an older deployment stays current.
    """
    from ..devices.deploy import deploy as put_on_device
    from ..export.bundle import read_manifest

    folder = bundle or _newest(run.workspace.root)
    manifest = read_manifest(folder)
    target = board(
        run.workspace.root, device or run.config.device or manifest.device or "local", host
    )
    progress.say(f"deploying {folder.name} to {host or target.name}")
    with lasting_session(target, ssh_config, progress) as session:
        deployment = put_on_device(
            session,
            target,
            folder,
            manifest,
            _limit_ms(run, manifest),
            run.config.deploy,
            progress.say,
        )
    write_record(run.workspace.deployment_path(target.name, host), deployment)
    return deployment


def roll_back(
    run: Run, device: str | None, ssh_config: Path, progress: Progress, host: str | None = None
) -> Deployment:
    """Make the version current again that stood on a device before the present one, and record it.

    Parameters
    ----------
    device, host
        As `deploy`; with neither, and none in the config, the board that was deployed to from here.

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

    name, host = _deployed_to(run, device, host)
    target = board(run.workspace.root, name, host)
    progress.say(f"rolling back {host or target.name}")
    with lasting_session(target, ssh_config, progress) as session:
        deployment = roll_back_there(session, target)
    write_record(run.workspace.deployment_path(target.name, host), deployment)
    return deployment


def translate(
    root: Path, bundle: Path | None, lines: Sequence[str], threads: int | None
) -> Translations:
    """Translate lines with a bundle on this machine.

    Raises
    ------
    StaleInputError
        If there is no bundle.
    BundleError
        If it is damaged, or cannot be run here.
    """
    from ..runtime import BundleError as RuntimeBundleError
    from ..runtime import Translator

    folder = bundle or _newest(root)
    try:
        outputs = Translator(folder, threads=threads).translate(lines)
    except RuntimeBundleError as error:
        raise BundleError(str(error)) from error
    pairs = zip(lines, outputs, strict=True)
    return Translations(
        bundle=str(folder),
        translations=tuple(Translation(source=source, output=output) for source, output in pairs),
    )


def newest_bundle(root: Path) -> Path | None:
    """The bundle of a run folder that was exported last."""
    manifests = Workspace(root).bundles_dir.glob("[!.]*/manifest.json")
    return max(
        (path.parent for path in manifests),
        key=lambda path: (path / "manifest.json").stat().st_mtime_ns,
        default=None,
    )


def folder_bytes(folder: Path) -> int:
    """Size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _newest(root: Path) -> Path:
    found = newest_bundle(root)
    if found is None:
        raise StaleInputError(
            f"no bundle in {Workspace(root).bundles_dir}; run `mosdeploy export` first"
        )
    return found


def _deployed_to(run: Run, device: str | None, host: str | None) -> tuple[str, str | None]:
    if name := device or run.config.device:
        return name, host
    found = [pair for pair in run.workspace.deployed_to() if host in (None, pair[1])]
    if len(found) == 1:
        return found[0]
    if not found:
        raise StaleInputError(
            "nothing was deployed from this folder; run `mosdeploy deploy`, or say --device"
        )
    names = ", ".join(name if of is None else f"{name} --host {of}" for name, of in found)
    raise ConfigError(f"several devices were deployed to ({names}): say which one with --device")


def _allowing(run: Run, max_score_drop: float | None) -> Run:
    if max_score_drop is None:
        return run
    limits = run.config.export.model_copy(update={"max_score_drop": max_score_drop})
    return dataclasses.replace(run, config=run.config.model_copy(update={"export": limits}))


def _workload(run: Run, precision: str | None, beam: int | None) -> Workload:
    known = get_args(Precision)
    if precision is not None and precision not in known:
        raise ConfigError(f"unknown precision '{precision}'; known: {', '.join(known)}, auto")
    changes = {
        key: value for key, value in (("precision", precision), ("beam", beam)) if value is not None
    }
    return run.config.workload.model_copy(update=changes)


def _provenance(
    run: Run, state: TrainedRun, result: SearchResult | None, chosen: SelectedSubnet
) -> dict[str, str]:
    provenance = {
        "corpus": state.card.corpus_sha256,
        "tokenizer": state.card.tokenizer_sha256,
        "supernet": state.card.supernet_sha256,
        "space": state.card.space_sha256,
    }
    if chosen.card is not None:
        provenance["subnet"] = chosen.card.subnet_sha256
    if result is not None:
        provenance["search"] = sha256_file(run.workspace.search_result_path)
        if result.predictor_sha256 is not None:
            provenance["predictor"] = result.predictor_sha256
    return provenance


def _limit_ms(run: Run, manifest: BundleManifest) -> float | None:
    """The limit that the bundle's architecture was searched for, if the search is still the one at
    hand.
    """
    path = run.workspace.search_result_path
    if (
        "search" not in manifest.provenance
        or not path.exists()
        or sha256_file(path) != manifest.provenance["search"]
    ):
        return None
    return read_record(SearchResult, path, "mosdeploy search").limits.max_latency_ms
