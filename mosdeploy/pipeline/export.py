"""The verb `export`: build the bundle of a subnet, after checking that it answers as torch does."""

import dataclasses
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from ..config.sections import ExportConfig
from ..errors import ConfigError
from ..printable import byte_size, told_apart
from ..record import parse
from ..records import PrecisionChoice, Runtime, SearchResult
from ..run_folder.bundles import folder_bytes, limited_bytes, note_newest
from ..run_folder.context import Context
from ..run_folder.devices import run_profile
from ..run_folder.picking import Picked, pick
from ..run_folder.subnets import is_trained, select_subnet
from ..run_folder.summaries import FormatSummary
from ..run_folder.trained_run import TrainedRun, trained_run
from ..run_folder.workloads import changed_workload
from ..spaces.spec import Workload
from ..storage import sha256_file
from .chunked import opened_in_chunks
from .export_job import (
    ExportOptions,
    ExportResult,
    bundle_job,
    onnx_builder,
    parity_examples,
    runtime_errors,
)
from .exported import ExportedSubnet, smaller_vocabulary

if TYPE_CHECKING:
    from ..export.bundle import BundleJob, ModelBuilder


def export(context: Context, options: ExportOptions | None = None) -> ExportResult:
    """Write the bundle of a subnet, after checking that it answers as torch does."""
    from .runtime_selection import select_runtime

    options = options or ExportOptions()
    known = (*get_args(Runtime), "auto")
    if options.runtime not in known:
        raise ConfigError(f"unknown runtime '{options.runtime}'; known: {', '.join(known)}")
    if options.runtime == "auto":
        state = trained_run(context.run, context.progress)
        device = _device_name(context, options, state.searched_device)
        named = dataclasses.replace(options, device=device)
        return select_runtime(context, named, export)
    return _Export.plan(context, options).run()


def export_format(
    context: Context, name: str, options: ExportOptions | None = None
) -> FormatSummary:
    """Write a subnet as a folder that other libraries load; its answers are not compared."""
    options = options or ExportOptions()
    family = context.family
    if name not in family.formats:
        known = ", ".join(family.formats) or "none"
        raise ConfigError(
            f"'{family.name}' has no format '{name}'; its formats: {known}. Without --format, "
            "export writes a bundle"
        )
    about_bundles = {
        "--runtime": options.runtime != "onnxruntime",
        "--max-score-drop": options.max_score_drop is not None,
    }
    if option := next((name for name, is_given in about_bundles.items() if is_given), None):
        raise ConfigError(f"{option} is about bundles; leave it out, or leave --format out")
    return _Export.plan(context, options).write_format(name)


@dataclass(frozen=True)
class _Export:
    """One bundle to build: everything that the options leave open is decided."""

    context: Context
    options: ExportOptions
    exported: ExportedSubnet
    limits: ExportConfig
    device: str
    search: SearchResult | None
    search_sha256: str | None
    limit_ms: float | None
    precision_choice: PrecisionChoice | None

    @classmethod
    def plan(cls, context: Context, options: ExportOptions) -> "_Export":
        """Decide which subnet, with which weights, at which precision."""
        from .precision_selection import PrecisionTask, choose_precision

        config = context.config
        precision = options.precision or config.export.precision
        if precision == "auto" and options.runtime == "tvm":
            raise ConfigError(
                "precisions are compared as ONNX Runtime runs them, which says nothing of TVM: "
                "name one with --precision, or leave --runtime tvm out"
            )
        named = None if precision == "auto" else precision
        others = {**config.export.workload_changes, **options.workload}
        workload = changed_workload(config.workload, named, options.beam, others)
        limits = config.export
        asked = {
            "max_score_drop": options.max_score_drop,
            "trim_vocabulary": options.trim_vocabulary,
        }
        given = {name: value for name, value in asked.items() if value is not None}
        limits = parse(type(limits), {**limits.model_dump(), **given}, "export")
        state = trained_run(context.run, context.progress)
        picked = _picked(state, options, context)
        result = state.search_of(picked.arch.key)
        # now: another search may end while this one's subnet is exported
        sha256 = sha256_file(context.files.search_result_path) if result is not None else None
        chosen = select_subnet(state, picked.arch, options.weights)
        exported = ExportedSubnet(state, chosen, workload, smaller_vocabulary(state, limits))
        device = _device_name(context, options, state.searched_device)
        choice = None
        if precision == "auto":
            statistic = config.search.statistic if result is None else result.statistic
            target = run_profile(context.files.root, device).timed_for(statistic)
            task = PrecisionTask(context, exported, target, limits, statistic)
            choice = choose_precision(task)
            exported = exported.at(choice.precision)
        limit_ms = picked.limit_ms
        return cls(context, options, exported, limits, device, result, sha256, limit_ms, choice)

    def run(self) -> ExportResult:
        """Build, check, write."""
        from ..export.bundle import export_bundle

        limits = self.limits
        is_exact = self.exported.workload.is_exact
        num_examples = limits.parity_examples if is_exact else limits.score_examples
        job = bundle_job(self.exported, self.name, self.limits)
        job = self._with_origin(job)
        out_dir = self.context.files.bundles_dir / self.name
        self._say_weights()
        self.context.progress.say(
            f"exporting {self.name} and comparing it with torch on at most {num_examples} "
            "validation examples"
        )
        with runtime_errors():
            manifest = export_bundle(
                job,
                build=self._builder(),
                open_bundle=opened_in_chunks(
                    self.context.family.open_bundle, self.context.progress
                ),
                examples=parity_examples(self.exported, num_examples),
                out_dir=out_dir,
            )
        if self.options.is_newest:
            note_newest(self.context.files, out_dir)
        most = self.search.limits.max_size_bytes if self.search is not None else None
        if most is not None and (taken_bytes := limited_bytes(out_dir)) > most:
            taken, limit = told_apart(byte_size, taken_bytes, most)
            self.context.progress.say(
                f"model and tokenizer of {self.name} take {taken}, more than the limit on their "
                f"size, {limit}: search again with a lower --max-size"
            )
        return ExportResult(out_dir, manifest, folder_bytes(out_dir), self.precision_choice)

    def write_format(self, name: str) -> FormatSummary:
        """Write the subnet in a format of other libraries."""
        from ..family import FormatJob

        write = self.context.family.formats[name]
        exported = self.exported
        arch = exported.arch
        out_dir = self.context.files.formats_dir / f"{self.name}-{name}"
        job = FormatJob(
            spec=exported.spec,
            arch=arch,
            weights=exported.arrays(),
            config=self.context.config,
            tokenizer_path=exported.tokenizer(),
            tokenizer_sha256=exported.tokenizer_sha256,
        )
        self._say_weights()
        write(job, out_dir)
        return FormatSummary(
            path=str(out_dir),
            format=name,
            arch=arch,
            weights=exported.chosen.weights,
            precision=exported.workload.precision,
            vocab_size=job.spec.vocab_size,
            num_parameters=job.spec.num_parameters(arch),
            size_bytes=folder_bytes(out_dir),
        )

    def _say_weights(self) -> None:
        """Say which weights are taken, and how to come to better ones."""
        options = self.options
        self.context.progress.say(self.exported.chosen.note)
        if options.weights is not None or is_trained(self.exported.state, self.exported.arch):
            return
        pick = "" if options.pick == "winner" else f" --pick {shlex.quote(options.pick)}"
        self.context.progress.say(
            f"training it alone raises its scores: run `mosdeploy finetune{pick}`, then export "
            "again; or say --weights inherited"
        )

    @property
    def name(self) -> str:
        """Name of the bundle's folder."""
        exported = self.exported
        workload = exported.workload
        name = f"{self.context.config.title}-{exported.arch.key[:8]}-{workload.precision}"
        name += workload.label + _changes(workload, self.context.config.workload)
        if exported.chosen.weights != "inherited":
            name += f"-{exported.chosen.weights}"
        if exported.vocabulary is not None:
            name += "-trimmed"
        return name + (f"-tvm-{self.device}" if self.options.runtime == "tvm" else "")

    def _builder(self) -> "ModelBuilder":
        from .runtime_selection import tvm_builder

        if self.options.runtime == "onnxruntime":
            return onnx_builder(self.exported)
        profile = run_profile(self.context.files.root, self.device)
        return tvm_builder(self.exported, profile)

    def _with_origin(self, job: "BundleJob") -> "BundleJob":
        """Say in the manifest what the bundle was made from."""
        provenance = self.exported.state.card.provenance
        card = self.exported.chosen.card
        if card is not None:
            provenance["subnet"] = card.subnet_sha256
        if self.search is not None and self.search_sha256 is not None:
            provenance["search"] = self.search_sha256
            if self.search.predictor_sha256 is not None:
                provenance["predictor"] = self.search.predictor_sha256
        origin = dataclasses.replace(job.origin, device=self.device, provenance=provenance)
        if self.search is not None:
            limits = self.search.limits
            if self.limit_ms is not None:
                limits = limits.model_copy(update={"max_latency_ms": self.limit_ms})
            origin = dataclasses.replace(origin, limits=limits, statistic=self.search.statistic)
        return dataclasses.replace(job, origin=origin)


def _picked(state: TrainedRun, options: ExportOptions, context: Context) -> Picked:
    """The subnet that is asked for; a teacher is the largest of the space, whatever the limits that
    the supernet was trained within.
    """
    if options.weights == "teacher" and options.pick == "largest":
        return Picked(context.config.space.largest, options.pick)
    return pick(state, options.pick, context.progress)


def _device_name(context: Context, options: ExportOptions, searched: str | None) -> str:
    name = context.run.device_name(options.device, searched)
    if options.device is None and searched is not None and name != searched:
        context.progress.say(
            f"searched for {searched}, and exported for {name}, the device in mosdeploy.toml: "
            f"`mosdeploy export --device {searched}` takes the other"
        )
    run_profile(context.files.root, name)  # before any work: deploy would refuse an unknown one
    return name


def _changes(workload: Workload, own: Workload) -> str:
    """In what else a bundle is for another workload than that of the run file, in its name."""
    told = {"name", "precision", "beam", "shortlist"}
    changed = (
        f"-{name.replace('_', '-')}{value}"
        for name, value in workload
        if name not in told and value != getattr(own, name)
    )
    return "".join(changed)
