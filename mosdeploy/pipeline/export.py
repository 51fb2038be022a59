"""The verb `export`: build the bundle of a subnet, after checking that it answers as torch does."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from ..config.sections import ExportConfig
from ..errors import ConfigError
from ..printable import byte_size, told_apart
from ..record import parse
from ..records import NO_LIMITS, PrecisionChoice, Runtime
from ..run_folder.bundles import folder_bytes, limited_bytes, note_newest
from ..run_folder.context import Context
from ..run_folder.devices import run_profile
from ..run_folder.options import ExportOptions
from ..run_folder.subnets import pick, select_subnet
from ..run_folder.summaries import FormatSummary
from ..run_folder.trained_run import trained_run
from ..storage import sha256_file
from .chunked import opened_in_chunks
from .exporting.export_job import (
    ExportResult,
    ExportSource,
    bundle_job,
    onnx_builder,
    parity_examples,
    runtime_errors,
    say_weights,
    smaller_vocabulary,
    tvm_builder,
)
from .exporting.precision import PrecisionTask, choose_precision
from .exporting.runtime import select_runtime

if TYPE_CHECKING:
    from ..export.bundle import BundleOrigin, ModelBuilder


def export(
    context: Context, options: ExportOptions | None = None, *, is_newest: bool = True
) -> ExportResult:
    """Write the bundle of a subnet, after checking that it answers as torch does."""
    from ..export.bundle import export_bundle

    options = options or ExportOptions()
    known = (*get_args(Runtime), "auto")
    if options.runtime not in known:
        raise ConfigError(f"unknown runtime '{options.runtime}'; known: {', '.join(known)}")
    if options.runtime == "auto":
        state = trained_run(context.run, context.progress)
        device = _device_name(context, options, state.searched_device)
        return select_runtime(context, dataclasses.replace(options, device=device), export)
    plan = _plan(context, options)
    source = plan.source
    name = plan.origin.name
    limits = plan.limits
    num_examples = limits.parity_examples if source.workload.is_exact else limits.score_examples
    out_dir = context.files.bundles_dir / name
    say_weights(context, options, source)
    context.progress.say(
        f"exporting {name} and comparing it with torch on at most {num_examples} validation "
        "examples"
    )
    with runtime_errors():
        manifest = export_bundle(
            bundle_job(source, plan.origin, limits),
            build=plan.build,
            open_bundle=opened_in_chunks(context.family.open_bundle, context.progress),
            examples=parity_examples(source, num_examples),
            out_dir=out_dir,
        )
    if is_newest:
        note_newest(context.files, out_dir)
    most = (plan.origin.limits or NO_LIMITS).max_size_bytes
    if most is not None and (taken_bytes := limited_bytes(out_dir)) > most:
        taken, limit = told_apart(byte_size, taken_bytes, most)
        context.progress.say(
            f"model and tokenizer of {name} take {taken}, more than the limit on their size, "
            f"{limit}: search again with a lower --max-size"
        )
    return ExportResult(out_dir, manifest, folder_bytes(out_dir), plan.precision_choice)


def export_format(context: Context, options: ExportOptions) -> FormatSummary:
    """Write a subnet as a folder that other libraries load; its answers are not compared."""
    from ..family import FormatJob

    name = options.format or ""
    family = context.family
    if name not in family.formats:
        known = ", ".join(family.formats) or "none"
        raise ConfigError(
            f"'{family.name}' has no format '{name}'; its formats: {known}. Without --format, "
            "export writes a bundle"
        )
    if options.runtime != "onnxruntime" or options.max_score_drop is not None:
        raise ConfigError(
            "--runtime and --max-score-drop are about bundles; leave them out, or leave --format "
            "out"
        )
    source = _plan(context, options).source
    job = FormatJob(
        spec=source.spec,
        arch=source.arch,
        weights=source.arrays(),
        config=context.config,
        tokenizer_path=source.tokenizer(),
        tokenizer_sha256=source.tokenizer_sha256,
    )
    out_dir = context.files.formats_dir / f"{source.name}-{name}"
    say_weights(context, options, source)
    family.formats[name](job, out_dir)
    return FormatSummary(
        path=str(out_dir),
        format=name,
        arch=source.arch,
        weights=source.chosen.weights,
        precision=source.workload.precision,
        vocab_size=job.spec.vocab_size,
        num_parameters=job.spec.num_parameters(source.arch),
        size_bytes=folder_bytes(out_dir),
    )


@dataclass(frozen=True)
class _Plan:
    """What is exported for which device, once all is decided that the options leave open."""

    source: ExportSource
    limits: ExportConfig
    origin: "BundleOrigin"
    build: "ModelBuilder"
    precision_choice: PrecisionChoice | None


def _plan(context: Context, options: ExportOptions) -> _Plan:
    """Decide which subnet is exported, with which weights, at which precision."""
    from ..export.bundle import BundleOrigin

    config = context.config
    precision = options.precision or config.export.precision
    if precision == "auto" and options.runtime == "tvm":
        raise ConfigError(
            "precisions are compared as ONNX Runtime runs them, which says nothing of TVM: "
            "name one with --precision, or leave --runtime tvm out"
        )
    named = None if precision == "auto" else precision
    asked = {"precision": named, "beam": options.beam, "shortlist": options.shortlist}
    asked |= options.workload or {}
    workload = config.workload.changed({**config.export.workload_changes, **asked})
    asked = {name: getattr(options, name) for name in ("max_score_drop", "trim_vocabulary")}
    given = {name: value for name, value in asked.items() if value is not None}
    limits = parse(type(config.export), {**config.export.model_dump(), **given}, "export")
    state = trained_run(context.run, context.progress)
    picked = pick(state, str(options.pick), context.progress)
    search = state.search_of(picked.arch.key)
    provenance = dict(state.card.provenance)
    limits_held = None
    statistic = config.search.statistic
    if search is not None:
        limits_held = search.limits
        statistic = search.statistic
        if picked.limit_ms is not None:
            limits_held = limits_held.model_copy(update={"max_latency_ms": picked.limit_ms})
        # now: another search may end while this one's subnet is exported
        provenance["search"] = sha256_file(context.files.search_result_path)
        if search.predictor_sha256 is not None:
            provenance["predictor"] = search.predictor_sha256
    chosen = select_subnet(state, picked.arch, options.weights)
    if chosen.card is not None:
        provenance["subnet"] = chosen.card.subnet_sha256
    source = ExportSource(state, chosen, workload, smaller_vocabulary(state, limits))
    device = _device_name(context, options, state.searched_device)
    choice = None
    if precision == "auto":
        target = run_profile(context.files.root, device).timed_for(statistic)
        choice = choose_precision(PrecisionTask(context, source, target, limits, statistic))
        source = source.at(choice.precision)
    name = source.name
    build = onnx_builder(source)
    if options.runtime == "tvm":
        name += f"-tvm-{device}"
        build = tvm_builder(source, run_profile(context.files.root, device))
    origin = BundleOrigin(name, device, provenance, chosen.weights, limits_held, statistic)
    return _Plan(source, limits, origin, build, choice)


def _device_name(context: Context, options: ExportOptions, searched: str | None) -> str:
    name = context.run.device_name(options.device, searched)
    if options.device is None and searched is not None and name != searched:
        context.progress.say(
            f"searched for {searched}, and exported for {name}, the device in mosdeploy.toml: "
            f"`mosdeploy export --device {searched}` takes the other"
        )
    run_profile(context.files.root, name)  # before any work: deploy would refuse an unknown one
    return name
