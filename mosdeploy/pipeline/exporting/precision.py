"""`export --precision auto`: time every precision on the device, score it here, and take the
fastest that is good enough.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...config.device import DeviceProfile
from ...config.sections import ExportConfig
from ...config.units import Statistic
from ...errors import ConfigError, ExportError, MosdeployError
from ...records import PrecisionCandidate, PrecisionChoice
from ...run_folder.context import Context
from ...run_folder.devices import lasting_device
from ...runtime.manifest import ONNX_MODEL_NAME
from ...spaces.spec import Precision
from ...storage import (
    disk_errors,
    fingerprint,
    locked,
    readable_record,
    remove_scratch,
    write_record,
)
from ...version import __version__
from ..chunked import opened_in_chunks
from ..measuring.time_by_turns import device_conditions, time_by_turns
from .export_job import ExportSource, bundle_job, onnx_builder, parity_examples, runtime_errors


@dataclass(frozen=True)
class PrecisionTask:
    """What the choice is made for; the precision of the source is left open."""

    context: Context
    source: ExportSource
    device: DeviceProfile
    limits: ExportConfig
    statistic: Statistic = "median"

    @property
    def path(self) -> Path:
        """Where the choice is kept."""
        source = self.source
        label = f"{source.workload.label}-{source.chosen.weights}"
        name = f"{self.device.host_alias}-{source.arch.key[:8]}{label}"
        return self.context.files.precisions_path(name)

    @property
    def precisions(self) -> list[Precision]:
        """Those that the device may have."""
        possible = self.source.workload.possible_precisions
        return [x for x in self.device.precisions if x in possible]

    @property
    def inputs_sha256(self) -> str:
        """Fingerprint of all that latency and score depend on, but for what the device tells."""
        from ...devices.connect import machine_id
        from ...export.candidate import graph_sha256

        source = self.source
        state = source.state
        card = source.chosen.card
        build_graph = state.family.build_graph
        return fingerprint(
            __version__,  # stands for how weights are quantised
            source.arch,
            card.subnet_sha256 if card else state.card.supernet_sha256,
            state.card.data_sha256,
            self.device,
            source.at("fp32").workload,
            self.limits.model_copy(update={"max_score_drop": 0.0, "precision": None}),
            machine_id() if self.device.kind == "local" else None,
            source.tokenizer_sha256,
            self.statistic,
            *(graph_sha256(source.at(x).spec, build_graph) for x in self.precisions),
        )


def choose_precision(task: PrecisionTask) -> PrecisionChoice:
    """Time and score the device's precisions, and choose."""
    device = task.device
    if device.emulated:
        raise ConfigError(
            f"{device.name} is an emulated device: its times mean nothing; name a precision "
            "yourself"
        )
    if not task.precisions:
        possible = task.source.workload.possible_precisions
        raise ConfigError(
            f"the profile of {device.name} has precisions = {list(device.precisions)}, and this "
            f"workload can have {', '.join(possible)}: change them there, or name one with "
            "--precision"
        )
    choice = judge(_score(task, _time(task)), task.limits.max_score_drop)
    write_record(task.path, choice)
    if choice.precision is None:
        verdicts = "; ".join(f"{x.precision}: {x.verdict}" for x in choice.candidates)
        raise ExportError(f"no precision runs on {device.name} and keeps the limit: {verdicts}")
    return choice


def judge(choice: PrecisionChoice, max_score_drop: float) -> PrecisionChoice:
    """Take the fastest whose score is at most `max_score_drop` below torch's, by the rule of the
    parity check; say why of each.
    """
    from ...export.parity import is_within, least_likeness

    least = least_likeness(choice.torch_score, max_score_drop)
    verdicts = {}
    fit = []
    for x in choice.candidates:
        drop = choice.torch_score - (x.score or 0.0)
        likeness = x.likeness or 0.0
        if x.latency_ms is None:
            verdicts[x.precision] = f"failed: {x.error}"
        elif not is_within(drop, max_score_drop):
            verdicts[x.precision] = f"loses {drop:.2f} {choice.metric}, {max_score_drop:g} allowed"
        elif x.precision != "fp32" and likeness < least:
            verdicts[x.precision] = f"agrees to {likeness:.2f} with torch, {least:g} needed"
        else:
            verdicts[x.precision] = "slower"
            fit.append((x.latency_ms, x.precision))
    best = min(fit, key=lambda pair: pair[0])[1] if fit else None
    if best is not None:
        verdicts[best] = "chosen"
    candidates = [
        x.model_copy(update={"verdict": verdicts[x.precision]}) for x in choice.candidates
    ]
    changes = {"candidates": tuple(candidates), "precision": best, "max_score_drop": max_score_drop}
    return choice.model_copy(update=changes)


def _time(task: PrecisionTask) -> PrecisionChoice:
    """Time the precisions that no earlier run under the same conditions has timed."""
    from ...devices.measure import MeasurementTask
    from ...devices.on_device.agent import REFERENCE
    from ...export.candidate import build_candidate, candidate_weights_bytes

    source = task.source
    build_graph = source.state.family.build_graph
    exact = source.at("fp32").spec
    inputs_sha256 = task.inputs_sha256

    def build(key: str) -> bytes:
        if key == REFERENCE:
            return build_candidate(exact, exact.reference_arch(), build_graph)
        return build_candidate(source.at(key).spec, source.arch, build_graph)

    with lasting_device(task.context, task.device) as device:
        conditions = device_conditions(device)
        choice = readable_record(PrecisionChoice, task.path)
        if choice is None or (choice.inputs_sha256, choice.conditions) != (
            inputs_sha256,
            conditions,
        ):
            choice = PrecisionChoice(
                device=task.device.name,
                workload=source.workload,
                inputs_sha256=inputs_sha256,
                conditions=conditions,
                statistic=task.statistic,
                metric="",
                max_score_drop=task.limits.max_score_drop,
                num_examples=0,
                torch_score=0.0,
                precision=None,
                candidates=tuple(PrecisionCandidate(precision=x) for x in task.precisions),
            )
        missing = [x.precision for x in choice.candidates if x.latency_ms is None]
        if not missing:
            return choice
        job = fingerprint(inputs_sha256, *conditions.values())[:12]
        specs = [exact, *(source.at(x).spec for x in missing)]
        measurement_task = MeasurementTask(
            job_id=task.context.run.job_id(f"precision-{job}"),
            stages=exact.timing_stages(),
            threads=source.workload.threads,
            build=build,
            weights_bytes=max(candidate_weights_bytes(spec, build_graph) for spec in specs),
        )
        found = time_by_turns(task.context, device, measurement_task, missing)
    for precision in missing:
        measured = found[precision]
        latency_ms = measured.figure_ms(task.statistic)
        choice = _replace(choice, precision, latency_ms=latency_ms, error=measured.error)
    write_record(task.path, choice)
    return choice


def _score(task: PrecisionTask, choice: PrecisionChoice) -> PrecisionChoice:
    """Answer validation examples with each that runs on the device and has no score yet."""
    from ...export.bundle import BundleOrigin, build_draft
    from ...runtime.self_test import mean_likeness, scale_of

    missing = [
        x.precision
        for x in choice.candidates
        if x.latency_ms is not None and (x.score is None or x.likeness is None)
    ]
    if not missing:
        return choice
    context = task.context
    examples = parity_examples(task.source, task.limits.score_examples)
    inputs = [list(ids) for ids in examples.input_ids]
    context.progress.say(f"answering {len(inputs)} validation examples in torch")
    expected = examples.reference(inputs)
    choice = choice.model_copy(
        update={
            "metric": examples.metric,
            "torch_score": examples.score_answers(expected),
            "num_examples": len(inputs),
        }
    )
    open_bundle = opened_in_chunks(task.source.state.family.open_bundle, context.progress)
    scratch_dir = context.files.bundles_dir / f"precision.{task.path.stem}"
    busy = MosdeployError(
        f"another `mosdeploy export --precision auto` scores {task.source.arch.key[:8]}; wait "
        "for it, or stop it"
    )
    with locked(scratch_dir, busy), disk_errors(scratch_dir.parent):
        remove_scratch(scratch_dir)
        for done, precision in enumerate(missing, 1):
            source = task.source.at(precision)
            job = bundle_job(source, BundleOrigin(precision, None, {}), task.limits)
            with tempfile.TemporaryDirectory(
                prefix=f".{scratch_dir.name}.", dir=scratch_dir.parent
            ) as scratch:
                folder = Path(scratch) / "draft"
                with runtime_errors():
                    draft = build_draft(job, onnx_builder(source), open_bundle, folder)
                    answers = draft.model.predict_ids(inputs)
                size_bytes = (folder / ONNX_MODEL_NAME).stat().st_size
            score = examples.score_answers(answers)
            likeness = mean_likeness(answers, expected, scale_of(job.settings))
            choice = _replace(
                choice, precision, size_bytes=size_bytes, score=score, likeness=likeness
            )
            # not before the folder is gone: what is scored is not tried again, and removes nothing
            write_record(task.path, choice)
            note = f"{precision}: {choice.metric} {score:.2f}, {choice.torch_score:.2f} in torch"
            context.progress.update("score", done, len(missing), note)
    return choice


def _replace(choice: PrecisionChoice, precision: str, **changes: object) -> PrecisionChoice:
    candidates = (
        x.model_copy(update=changes) if x.precision == precision else x for x in choice.candidates
    )
    return choice.model_copy(update={"candidates": tuple(candidates)})
