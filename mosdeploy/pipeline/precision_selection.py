"""`export --precision auto`: every candidate timed on the device and scored here; the fastest that
is good enough wins.

In: a trained subnet, a device, a limit on the loss of BLEU. Out: a `PrecisionChoice`, kept in the
run folder: a rerun neither times nor translates again what it finds there.
"""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.device import DeviceProfile
from ..errors import ConfigError, ExportError, StaleInputError
from ..records import PrecisionCandidate, PrecisionChoice
from ..spaces.spec import Precision, Workload
from ..storage import disk_errors, fingerprint, read_record, write_record
from .collect import reference_arch
from .devices import lasting_session
from .parity import parity_set
from .run import Progress
from .subnets import SelectedSubnet
from .train import TrainedRun

if TYPE_CHECKING:
    from ..export.parity import ParitySet


@dataclass(frozen=True)
class PrecisionTask:
    """What the choice is made for; the precision of `workload` is left open."""

    state: TrainedRun
    chosen: SelectedSubnet
    workload: Workload
    device: DeviceProfile

    @property
    def max_score_drop(self) -> float:
        return self.state.run.config.export.max_score_drop

    @property
    def path(self) -> Path:
        arch = self.chosen.subnet.arch
        name = f"{self.device.host_alias}-{arch.key[:8]}-beam{self.workload.beam}-{self.chosen.weights}"
        return self.state.run.workspace.precisions_path(name)

    @property
    def inputs_sha256(self) -> str:
        """Fingerprint of all that latency and BLEU depend on."""
        run, card = self.state.run, self.chosen.card
        subnet_sha256 = card.subnet_sha256 if card else self.state.card.supernet_sha256
        workload = self.workload.model_copy(update={"precision": "fp32"})
        parts = (
            self.chosen.subnet.arch,
            subnet_sha256,
            self.state.card.corpus_sha256,
            self.device,
            workload,
        )
        limits = run.config.export
        numbers = (
            limits.max_source_len,
            limits.max_decode_steps,
            limits.score_examples,
            limits.length_penalty,
        )
        return fingerprint(*parts, *numbers)


def choose_precision(task: PrecisionTask, ssh_config: Path, progress: Progress) -> PrecisionChoice:
    """Time and score the device's candidates, and choose.

    Raises
    ------
    ConfigError
        If the device is emulated: its times mean nothing.
    DeviceError
        If the device fails.
    ExportError
        If no candidate runs on the device and keeps the limit.
    """
    if task.device.emulated:
        raise ConfigError(
            f"{task.device.name} is an emulated device: its times mean nothing; name a precision yourself"
        )
    choice = _known(task)
    choice = _timed(task, choice, ssh_config, progress)
    choice = _scored(task, choice, progress)
    choice = decide(choice, task.max_score_drop)
    write_record(task.path, choice)
    if choice.precision is None:
        told = "; ".join(f"{x.precision}: {x.verdict}" for x in choice.candidates)
        raise ExportError(f"no precision runs on {task.device.name} and keeps the limit: {told}")
    return choice


def decide(choice: PrecisionChoice, max_score_drop: float) -> PrecisionChoice:
    """Take the fastest whose BLEU is at most `max_score_drop` below torch's; say of each why it is
    taken, or is not.
    """

    def drop(candidate: PrecisionCandidate) -> float:
        return choice.torch_bleu - (candidate.bleu or 0.0)

    fit = [x for x in choice.candidates if x.latency_ms is not None and drop(x) <= max_score_drop]
    best = min(fit, key=lambda x: x.latency_ms or 0.0, default=None)

    def verdict(candidate: PrecisionCandidate) -> str:
        if candidate is best:
            return "chosen"
        if candidate.latency_ms is None:
            return f"failed: {candidate.error}"
        if candidate in fit:
            return "slower"
        return f"loses {drop(candidate):.2f} BLEU, {max_score_drop:g} allowed"

    judged = tuple(x.model_copy(update={"verdict": verdict(x)}) for x in choice.candidates)
    changes = {
        "candidates": judged,
        "precision": best and best.precision,
        "max_score_drop": max_score_drop,
    }
    return choice.model_copy(update=changes)


def _known(task: PrecisionTask) -> PrecisionChoice:
    """What an earlier run found out, as far as it still counts, and blanks for the rest."""
    try:
        earlier = read_record(PrecisionChoice, task.path, "mosdeploy export --precision auto")
    except StaleInputError:
        earlier = None
    if earlier is not None and earlier.inputs_sha256 == task.inputs_sha256:
        return earlier
    return PrecisionChoice(
        device=task.device.name,
        workload=task.workload,
        inputs_sha256=task.inputs_sha256,
        max_score_drop=task.max_score_drop,
        num_pairs=0,
        torch_bleu=0.0,
        precision=None,
        candidates=tuple(PrecisionCandidate(precision=x) for x in task.device.precisions),
    )


def _replace(choice: PrecisionChoice, precision: str, **changes: object) -> PrecisionChoice:
    candidates = (
        x.model_copy(update=changes) if x.precision == precision else x for x in choice.candidates
    )
    return choice.model_copy(update={"candidates": tuple(candidates)})


# -- latency ---------------------------------------------------------------------------------------
# --------------------


def _timed(
    task: PrecisionTask, choice: PrecisionChoice, ssh_config: Path, progress: Progress
) -> PrecisionChoice:
    """Time those that were not, all in one job on the device, in turns with a reference."""
    from ..devices.measure import collect
    from ..devices.on_device.agent import REFERENCE
    from ..export.candidate import build_candidate, candidate_weights_bytes

    missing = [x.precision for x in choice.candidates if x.latency_ms is None]
    if not missing:
        return choice
    space, vocab_size = task.state.run.config.space, task.state.card.vocab_size
    arch = task.chosen.subnet.arch
    workloads: dict[str, Workload] = {x: _at(task.workload, x) for x in missing}
    reference = reference_arch(space, task.workload, vocab_size)

    def build(key: str) -> bytes:
        if key == REFERENCE:
            return build_candidate(reference, space, vocab_size, _at(task.workload, "fp32"))
        return build_candidate(arch, space, vocab_size, workloads[key])

    weights_bytes = max(
        candidate_weights_bytes(space, vocab_size, x) for x in [*workloads.values(), task.workload]
    )
    with lasting_session(task.device, ssh_config, progress) as session:
        job = (
            session,
            task.device,
            task.workload,
            vocab_size,
            f"precision-{task.inputs_sha256[:16]}",
            missing,
        )
        for done, (key, measurement) in enumerate(
            collect(*job, build, weights_bytes, progress.say), 1
        ):
            latency_ms = measurement.total.median_ms if measurement.total else None
            choice = _replace(choice, key, latency_ms=latency_ms, error=measurement.error)
            note = (
                f"{key}: {latency_ms:.2f} ms"
                if latency_ms is not None
                else f"{key} failed: {measurement.error}"
            )
            progress.update(f"measure on {task.device.name}", done, len(missing), note)
    write_record(task.path, choice)
    return choice


def _at(workload: Workload, precision: Precision) -> Workload:
    return workload.model_copy(update={"precision": precision})


# -- quality ---------------------------------------------------------------------------------------
# --------------------


def _scored(task: PrecisionTask, choice: PrecisionChoice, progress: Progress) -> PrecisionChoice:
    """Translate validation sentences with each that runs on the device and has no BLEU yet."""
    missing = [
        x.precision for x in choice.candidates if x.latency_ms is not None and x.bleu is None
    ]
    if not missing:
        return choice
    limits, beam = task.state.run.config.export, task.workload.beam
    pairs = parity_set(
        task.state,
        limits.score_examples,
        lambda ids: task.state.translate(task.chosen.subnet, ids, beam),
    )
    if choice.num_pairs == 0:
        progress.say(f"translating {len(pairs.sources)} validation sentences in torch")
        answers = pairs.reference([list(ids) for ids in pairs.source_ids])
        torch_bleu = pairs.bleu([pairs.decode(ids) for ids in answers])
        choice = choice.model_copy(
            update={"torch_bleu": torch_bleu, "num_pairs": len(pairs.sources)}
        )
    for done, (precision, size_bytes, answers) in enumerate(_translations(task, pairs, missing), 1):
        bleu = pairs.bleu([pairs.decode(ids) for ids in answers])
        choice = _replace(choice, precision, size_bytes=size_bytes, bleu=bleu)
        write_record(task.path, choice)
        progress.update(
            "translate",
            done,
            len(missing),
            f"{precision}: BLEU {bleu:.2f}, {choice.torch_bleu:.2f} in torch",
        )
    return choice


def _translations(
    task: PrecisionTask, pairs: "ParitySet", precisions: Sequence[Precision]
) -> Iterable[tuple[Precision, int, list[list[int]]]]:
    """Each precision's model file size and answers."""
    from ..export.bundle import MODEL_NAME, build_onnx
    from ..export.parity import translate_all
    from ..families.translation.onnx_graph import state_arrays

    run, subnet = task.state.run, task.chosen.subnet
    root, arrays = run.workspace.bundles_dir, state_arrays(subnet.state_dict())
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        for precision in precisions:
            with tempfile.TemporaryDirectory(prefix=".precision.", dir=root) as scratch:
                parts = (
                    subnet.arch,
                    run.config.space,
                    _at(task.workload, precision),
                    run.config.export,
                )
                model = build_onnx(arrays, *parts, Path(scratch))
                size_bytes = (Path(scratch) / MODEL_NAME).stat().st_size
                yield precision, size_bytes, translate_all(model, pairs.source_ids)
