"""`export --precision auto`: every precision timed on the device and scored here; the fastest good
enough is chosen.
"""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..config.device import DeviceProfile
from ..config.sections import ExportConfig
from ..config.units import Statistic
from ..errors import ConfigError, ExportError, MosdeployError
from ..folders import remove_scratch
from ..locks import locked
from ..printable import milliseconds
from ..records import DeviceState, PrecisionCandidate, PrecisionChoice
from ..run_folder.conditions import board_state
from ..run_folder.context import Context
from ..run_folder.devices import lasting_session
from ..runtime.manifest import ONNX_MODEL_NAME
from ..spaces import ModelSpec
from ..spaces.spec import Precision
from ..storage import disk_errors, fingerprint, readable_record, write_record
from ..version import __version__
from .chunked import opened_in_chunks
from .export_job import bundle_job, onnx_builder, parity_examples, runtime_errors
from .exported import ExportedSubnet
from .precision_verdicts import decide, needs_likeness

if TYPE_CHECKING:
    from ..devices.measure import MeasurementTask
    from ..export.parity import ParityExamples
    from ..runtime.self_test import Answer, Scale


@dataclass(frozen=True)
class PrecisionTask:
    """What the choice is made for; the precision of the exported subnet is left open."""

    context: Context
    exported: ExportedSubnet
    device: DeviceProfile
    limits: ExportConfig
    statistic: Statistic = "median"

    @property
    def path(self) -> Path:
        """Where the choice is kept."""
        exported = self.exported
        label = exported.workload.label
        weights = exported.chosen.weights
        name = f"{self.device.host_alias}-{exported.arch.key[:8]}{label}-{weights}"
        return self.context.files.precisions_path(name)

    @property
    def inputs_sha256(self) -> str:
        """Fingerprint of all that latency and score depend on, but for what the device tells; the
        version stands for how weights are quantised.
        """
        from ..devices.local import machine_id
        from ..export.candidate import graph_sha256

        exported = self.exported
        state = exported.state
        build_graph = state.family.build_graph
        graphs = [graph_sha256(exported.at(x).spec, build_graph) for x in self.precisions]
        card = exported.chosen.card
        limits = self.limits.model_copy(update={"max_score_drop": 0.0, "precision": None})
        smaller = exported.vocabulary
        more = [] if smaller is None else [smaller.tokenizer]
        if self.statistic != "median":
            more.append(self.statistic)
        return fingerprint(
            __version__,
            exported.arch,
            card.subnet_sha256 if card else state.card.supernet_sha256,
            state.card.data_sha256,
            self.device,
            exported.at("fp32").workload,
            limits,
            machine_id() if self.device.kind == "local" else None,
            *graphs,
            *more,
        )

    @property
    def precisions(self) -> list[Precision]:
        """Those that the device may have."""
        possible = self.exported.workload.possible_precisions
        return [x for x in self.device.precisions if x in possible]


def choose_precision(task: PrecisionTask) -> PrecisionChoice:
    """Time and score the device's candidates, and choose."""
    if task.device.emulated:
        raise ConfigError(
            f"{task.device.name} is an emulated device: its times mean nothing; name a precision "
            "yourself"
        )
    if not task.precisions:
        workload = task.exported.workload
        raise ConfigError(
            f"the profile of {task.device.name} has precisions = {list(task.device.precisions)}, "
            f"and this workload can have {', '.join(workload.possible_precisions)}: change them "
            "there, or name one with --precision"
        )
    choice = _timed(task, _known(task))
    choice = decide(_scored(task, choice), task.limits.max_score_drop)
    write_record(task.path, choice)
    if choice.precision is None:
        told = "; ".join(f"{x.precision}: {x.verdict}" for x in choice.candidates)
        raise ExportError(f"no precision runs on {task.device.name} and keeps the limit: {told}")
    return choice


def _known(task: PrecisionTask) -> PrecisionChoice:
    """What an earlier run found out, as far as it still counts, and blanks for the rest."""
    from ..latency.conditions import board_conditions

    inputs_sha256 = task.inputs_sha256
    earlier = readable_record(PrecisionChoice, task.path)
    if earlier is not None and earlier.inputs_sha256 != inputs_sha256:
        earlier = None
    job_id = _job_id(task, earlier) if earlier else "precision"
    state = board_state(task.context, task.device, job_id)
    if earlier is not None and state is None:
        return earlier  # the device is at it
    conditions = board_conditions(state or DeviceState())
    if earlier is not None and earlier.conditions == conditions:
        return earlier
    choice = PrecisionChoice(
        device=task.device.name,
        workload=task.exported.workload,
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
    # before anything is timed: whoever goes on has to find the job on the device
    write_record(task.path, choice)
    return choice


def _replace(choice: PrecisionChoice, precision: str, **changes: object) -> PrecisionChoice:
    candidates = (
        x.model_copy(update=changes) if x.precision == precision else x for x in choice.candidates
    )
    return choice.model_copy(update={"candidates": tuple(candidates)})


# -- latency ---------------------------------------------------------------------------------------


def _timed(task: PrecisionTask, choice: PrecisionChoice) -> PrecisionChoice:
    """Time those that were not, all in one job on the device, in turns with a reference."""
    from ..devices.job import AgentJob
    from ..devices.measure import MeasureHooks, collect

    missing = [x.precision for x in choice.candidates if x.latency_ms is None]
    if not missing:
        return choice
    progress = task.context.progress
    kept = choice
    with lasting_session(task.context, task.device) as session:
        measurements = collect(
            session,
            task.device,
            _measurement_task(task, choice, missing),
            missing,
            MeasureHooks(notify=progress.say),
        )
        for done, (key, measurement) in enumerate(measurements, 1):
            latency_ms = measurement.figure_ms(task.statistic)
            choice = _replace(choice, key, latency_ms=latency_ms, error=measurement.error)
            note = f"{key} failed: {measurement.error}"
            if latency_ms is not None:
                note = f"{key}: {milliseconds(latency_ms)}"
            progress.update(f"measure on {task.device.name}", done, len(missing), note)
        job_id = _job_id(task, kept)
        write_record(task.path, choice)
        # what failed twice alike has the same job: its failure must not be taken for a new one
        AgentJob(session, task.device, job_id).remove("results.jsonl")
    return choice


def _job_id(task: PrecisionTask, choice: PrecisionChoice) -> str:
    """The job on the device, which keeps results by it: it must take none of another runtime, nor
    a failure of an earlier run.
    """
    told = fingerprint(
        *(f"{key} {value}" for key, value in choice.conditions.items()),
        *(candidate.error for candidate in choice.candidates if candidate.error),
    )
    return task.context.run.job_id(f"precision-{choice.inputs_sha256[:16]}-{told[:8]}")


def _measurement_task(
    task: PrecisionTask, choice: PrecisionChoice, precisions: Sequence[Precision]
) -> "MeasurementTask":
    from ..devices.measure import MeasurementTask
    from ..devices.on_device.agent import REFERENCE
    from ..export.candidate import build_candidate, candidate_weights_bytes

    exported = task.exported
    build_graph = exported.state.family.build_graph
    specs: dict[str, ModelSpec] = {name: exported.at(name).spec for name in precisions}
    exact = exported.at("fp32").spec
    reference = exact.reference_arch()

    def build(key: str) -> bytes:
        if key == REFERENCE:
            return build_candidate(exact, reference, build_graph)
        return build_candidate(specs[key], exported.arch, build_graph)

    every_spec = [*specs.values(), exact]
    return MeasurementTask(
        job_id=_job_id(task, choice),
        stages=exact.timing_stages(),
        threads=exported.workload.threads,
        build=build,
        weights_bytes=max(candidate_weights_bytes(spec, build_graph) for spec in every_spec),
    )


# -- quality ---------------------------------------------------------------------------------------


def _scored(task: PrecisionTask, choice: PrecisionChoice) -> PrecisionChoice:
    """Answer validation examples with each that runs on the device and has no score yet."""
    from ..runtime.self_test import mean_likeness

    missing = [
        x.precision
        for x in choice.candidates
        if x.latency_ms is not None
        # in older files one that was scored may have none
        and (x.score is None or (x.likeness is None and needs_likeness(x)))
    ]
    if not missing:
        return choice
    progress = task.context.progress
    limit = task.limits.score_examples
    examples = parity_examples(task.exported, limit)
    progress.say(f"answering {len(examples.inputs)} validation examples in torch")
    expected = examples.reference([list(ids) for ids in examples.input_ids])
    if choice.num_examples == 0:
        facts = {
            "metric": examples.metric,
            "torch_score": examples.score_answers(expected),
            "num_examples": len(examples.inputs),
        }
        choice = choice.model_copy(update=facts)
    for done, (precision, size_bytes, found, scale) in enumerate(
        _answers(task, examples, missing), 1
    ):
        score = examples.score_answers(found)
        likeness = mean_likeness(found, expected, scale)
        choice = _replace(choice, precision, size_bytes=size_bytes, score=score, likeness=likeness)
        write_record(task.path, choice)
        note = f"{precision}: {choice.metric} {score:.2f}, {choice.torch_score:.2f} in torch"
        progress.update("score", done, len(missing), note)
    return choice


def _answers(
    task: PrecisionTask, examples: "ParityExamples", precisions: Sequence[Precision]
) -> "Iterable[tuple[Precision, int, Sequence[Answer], Scale]]":
    """Each precision's model file size and answers with their scale, from a bundle that is thrown
    away.
    """
    from ..export.bundle import build_draft
    from ..export.parity import answer_scale

    scratch_dir = task.context.files.bundles_dir / f"precision.{task.path.stem}"
    busy = MosdeployError(
        f"another `mosdeploy export --precision auto` scores {task.exported.arch.key[:8]}; wait "
        "for it, or stop it"
    )
    open_bundle = opened_in_chunks(task.exported.state.family.open_bundle, task.context.progress)
    with locked(scratch_dir, busy), disk_errors(scratch_dir.parent):
        remove_scratch(scratch_dir)
        for precision in precisions:
            exported = task.exported.at(precision)
            job = bundle_job(exported, precision, task.limits)
            build = onnx_builder(exported)
            with tempfile.TemporaryDirectory(
                prefix=f".{scratch_dir.name}.", dir=scratch_dir.parent
            ) as scratch:
                folder = Path(scratch) / "draft"
                with runtime_errors():
                    draft = build_draft(job, build, open_bundle, folder)
                    answers = draft.model.predict_ids([list(ids) for ids in examples.input_ids])
                size_bytes = (folder / ONNX_MODEL_NAME).stat().st_size
            # not before the folder is gone: what is scored is not tried again, and removes nothing
            spread = cast("float", job.settings.get("spread", 1.0))
            center = cast("float | None", job.settings.get("center"))
            yield precision, size_bytes, answers, answer_scale(spread, center)
