"""The page: templates filled with the figures of all sections, and `report.json` beside it."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .. import printable
from ..config.units import Statistic
from ..printable import (
    EMULATED,
    beside_limit,
    figure_note,
    latency,
    score,
    three_digits,
    told_apart,
)
from ..records import BundleManifest, Deployment, DeviceState, PredictorCard, ScoreTable
from ..storage import atomic_write, write_record
from ..version import __version__
from .cells import (
    NBSP,
    Cell,
    Facts,
    FamilyPage,
    Table,
    bad,
    byte_size,
    code,
    device_name,
    estimate,
    good,
    limit_verdict,
    milliseconds,
    moment,
    noted,
    wide,
)
from .charts import BAND_PERCENT, agreement_chart, front_chart
from .selection import Axis, Choice, DeviceLatency, axes_of
from .summary import (
    Agreement,
    Headline,
    LimitVerdict,
    Report,
    ReportInputs,
    delivery_of,
    profiles,
    summarise,
)

FOLDER = Path(__file__).parent


def build_report(inputs: ReportInputs, family: FamilyPage, out_dir: Path) -> Path:
    """Write `index.html` and `report.json`."""
    report = summarise(inputs)
    page = out_dir / "index.html"
    atomic_write(page, _render(inputs, report, family))
    # last: `status` takes the page for as new as this
    write_record(out_dir / "report.json", report)
    return page


def _render(inputs: ReportInputs, report: Report, family: FamilyPage) -> str:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,  # whatever a record holds is text: none of it may become a tag
        undefined=StrictUndefined,  # a misspelt name is an error, not an empty place
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["thousands"] = "{:,}".format
    environment.filters["device_name"] = device_name
    template = environment.get_template("page.html.j2")
    statistic = report.search.statistic
    points = report.agreement
    card = report.predictor
    manifest = inputs.manifest
    emulation = f", {EMULATED}" if report.headline.emulated else ""
    axes = axes_of(report.choices, report.search, emulation)
    return template.render(
        version=__version__,
        style=Markup((FOLDER / "style.css").read_text(encoding="utf-8")),
        script=Markup((FOLDER / "page.js").read_text(encoding="utf-8")),
        vega=Markup(vega()),
        family=family,
        report=report,
        has_test=inputs.has_test,
        title=headline_title(report.headline, family.task),
        tiles=headline_tiles(report.headline, family.metric_title),
        broken=[LIMITED[x.name] for x in report.headline.other_limits if x.kept is False],
        data=script_data(report, axes, figure_note(statistic) + emulation),
        axes=axes,
        is_any_enlarged=any(x.is_enlarged for x in report.choices),
        cards=cards(report, family, has_test=inputs.has_test),
        candidates=candidates_table(report.choices, statistic),
        scores=scores_table(report.scores, report.choices),
        agreement_summary=agreement_summary(points, statistic),
        agreement_table=agreement_table(points) if points else None,
        predictor_facts=predictor_facts(card) if card else None,
        is_profiled=inputs.context is not None,
        device=describe_device(inputs),
        bundle_facts=manifest and bundle_facts(manifest, inputs.bundle_size_bytes, family),
        self_test=manifest and self_test_table(manifest, family.example_header),
        deployments=deployments_table(inputs),
        is_deployed=any(x.bundle_sha256 == inputs.manifest_sha256 for x in inputs.deployments),
        fingerprints=fingerprints_table(inputs),
    )


@functools.cache
def vega() -> str:
    """Return the script that draws charts: Vega-Lite and Vega-Embed. Bundling it takes seconds."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script")


def script_data(report: Report, axes: Sequence[Axis], note: str = "") -> dict[str, Any]:
    """Return the data that the script chooses by: each axis with the limit that a choice needs."""
    agreement = agreement_chart(report.agreement, note) if report.agreement else None
    sliders = []
    for axis in axes:
        # a choice without a command cannot be delivered
        commands = zip(axis.needed, report.choices, strict=True)
        needed = tuple(None if x.command is None else most for most, x in commands)
        slider = replace(axis, needed=needed)
        names = ("name", "unit", "low", "high", "step", "decimals", "needed")
        data = {name: getattr(slider, name) for name in names}
        sliders.append({**data, "chart": _embedded(front_chart(report.choices, axis))})
    return {
        "keys": [x.arch.key for x in report.choices],
        "ranks": [x.rank for x in report.choices],
        "axes": sliders,
        "agreement": agreement and _embedded(agreement),
    }


def _embedded(chart: Any) -> dict[str, Any]:
    """Return a chart as wide as its place, without the address of a schema."""
    spec: dict[str, Any] = chart.to_dict(validate=False)
    left_out = ("$schema", "config")
    return {"width": "container"} | {key: x for key, x in spec.items() if key not in left_out}


@dataclass(frozen=True)
class Card:
    """One subnet with all that is known of it; `answer` says the most of it in a sentence."""

    title: str
    answer: str
    facts: Facts
    command: str | None
    finetune_command: str | None
    drawing: Markup
    layers: Table
    shown: bool


def cards(report: Report, family: FamilyPage, *, has_test: bool = True) -> tuple[Card, ...]:
    """Make a card for each choice; the winner's is the one that is shown first."""
    figure = figure_note(report.search.statistic)
    metric_title = family.metric_title if has_test else None
    found = []
    for choice in report.choices:
        is_winner = choice.role == "winner"
        title = f"Number {choice.number} of the front" if choice.number else "Beside the front"
        title += ", the winner" if is_winner else ""
        card = Card(
            title=title,
            answer=f"{title}: {_answer(choice, figure)}.",
            facts=_facts(choice, metric_title, figure),
            command=choice.command,
            finetune_command=choice.finetune_command,
            drawing=family.draw(choice.arch),
            layers=Table(family.layer_header, family.layer_rows(choice.arch)),
            shown=is_winner,
        )
        found.append(card)
    return tuple(found)


def _answer(choice: Choice, figure: str) -> str:
    words = [f"loss {choice.loss:.4f}"]
    for x in _known(choice):
        time = f"{milliseconds(x.measured_ms)} measured"
        if x.measured_ms is None:
            time = f"{estimate(x.predicted_ms, x.error_percent)} predicted"
        words.append(f"{time} on {device_name(x.device)}{figure}")
    words += [f"{choice.num_parameters:,} parameters", byte_size(choice.size_bytes)]
    if choice.measured_memory_bytes is not None:
        words.append(f"{byte_size(choice.measured_memory_bytes)} of memory measured")
    return ", ".join(words)


def _known(choice: Choice) -> list[DeviceLatency]:
    """List the devices on which something is known; without a predictor only of finalists."""
    return [x for x in choice.latencies if x.predicted_ms or x.measured_ms]


def _facts(choice: Choice, metric_title: str | None, figure: str) -> Facts:
    scores = [
        (f"{metric}, {weights}", score(value))
        for weights, metrics in choice.scores.items()
        for metric, value in metrics.items()
    ]
    name = "winner" if choice.role == "winner" else choice.number
    missing = None
    if not scores and name is not None and metric_title:
        missing = Markup("<code>mosdeploy evaluate --pick {}</code>").format(name)
    predicted_memory = measured_memory = None
    if choice.memory_bytes is not None:
        predicted_memory = noted(byte_size(choice.memory_bytes), "weights and activations")
    if choice.measured_memory_bytes is not None:
        measured_memory = noted(byte_size(choice.measured_memory_bytes), "the process, in a search")
    times = ((f"On {device_name(x.device)}{figure}", _time(x)) for x in _known(choice))
    return (
        ("Validation loss", f"{choice.loss:.4f}"),
        *scores,
        (metric_title or "", missing),
        *times,
        ("Parameters", noted(f"{choice.num_parameters / 1e6:.2f} M", f"{choice.num_parameters:,}")),
        ("Size", noted(byte_size(choice.size_bytes), "model and tokenizer")),
        ("Memory", predicted_memory),
        ("Memory, measured", measured_memory),
    )


def _time(latency: DeviceLatency) -> Markup:
    predicted = estimate(latency.predicted_ms, latency.error_percent)
    if latency.measured_ms is None:
        return noted(predicted, "predicted, not measured")
    note = "measured in a search"
    if latency.predicted_ms is not None:
        note += f"; {predicted} predicted"
    return noted(milliseconds(latency.measured_ms), note)


LIMITED = {
    "max_size_bytes": "size",
    "max_memory_bytes": "memory",
}
"""Fields of `Limits` in words."""


# the headline


def headline_title(line: Headline, task: str) -> str:
    """Say the outcome in a line; `task` is a verb phrase for one run of the model."""
    device = device_name(line.device)
    if line.emulated:
        return f"The winner for {device}, an emulated device: its times are no latencies."
    if line.measured_ms is None:
        how = "" if line.predicted_ms is None else ", by prediction"
        return f"The winner for {device}{how}: nothing was measured."
    what = "deployed bundle" if line.measured == "bundle" else "winner"
    taken = milliseconds(line.measured_ms)
    end = ""
    if line.limit_kept is not None and line.limit_ms is not None:
        exact, limit = told_apart(latency, line.measured_ms, line.limit_ms)
        if not line.limit_kept and taken == milliseconds(line.limit_ms):
            taken = exact  # with three digits it would be the limit itself
        end = f", {'within' if line.limit_kept else 'which breaks'} the limit of {limit}"
    title = f"On {device}, the {what} {task} in {taken}{figure_note(line.statistic)}{end}."
    return title.replace(" ms", f"{NBSP}ms")


def headline_tiles(line: Headline, metric_title: str) -> Facts:
    """Give each figure of the headline with a note."""
    figure = figure_note(line.statistic)
    tiles: list[tuple[str, Cell | None]] = []
    note = f"test set, {line.scored}".removesuffix(", ")
    for name, value in line.metrics.items():
        tiles.append((name, noted(score(value), note)))
    if not line.metrics:
        tiles.append((metric_title, noted("not yet", line.unscored)))
    if line.predicted_ms is not None:
        note = EMULATED if line.emulated else "before measuring"
        tiles.append(("Predicted", noted(f"{milliseconds(line.predicted_ms)}{figure}", note)))
    source = {
        "bundle": "the bundle, deployed",
        "candidate": "during the search",
        "nothing": f"run mosdeploy {'deploy' if line.predicted_ms is None else 'search'}",
    }
    note = EMULATED if line.emulated else source[line.measured]
    is_measured = line.measured_ms is not None
    taken = f"{milliseconds(line.measured_ms)}{figure}" if is_measured else "not yet"
    tiles.append(("Measured", noted(taken, note)))
    if line.limit_ms is not None:
        tiles.append(("Limit", limit_verdict(f"{latency(line.limit_ms)}{figure}", line.limit_kept)))
    for limit in line.other_limits:
        taken, most = _told(limit)
        verdict = noted(limit_verdict(most, limit.kept), taken)
        tiles.append((f"Limit on {LIMITED[limit.name]}", verdict))
    parameters = noted(f"{line.num_parameters / 1e6:.2f} M", f"{line.num_parameters:,}")
    on_disk = "on disk, all files" if line.measured == "bundle" else "estimated"
    return (
        *tiles,
        ("Parameters", parameters),
        ("Size", noted(byte_size(line.size_bytes), on_disk)),
    )


def _told(limit: LimitVerdict) -> tuple[str, str]:
    """Spell what was taken, and the limit; no line ends between a number and its unit."""
    if limit.taken is None:
        return "not known", printable.byte_size(limit.most, 6)
    taken, most = beside_limit(limit.taken, limit.most)
    taken, most = taken.replace(" ", NBSP), most.replace(" ", NBSP)
    return f"{taken} {limit.counted}".strip(), most


# the search, the scores and the predictor


def candidates_table(choices: Sequence[Choice], statistic: Statistic) -> Table:
    """List the front, the finalists and the winner with their costs, the best first."""
    ordered = sorted(choices, key=lambda x: x.rank)
    columns: dict[str, list[str]] = {}
    for i, device in enumerate(choices[0].latencies):
        for how in ("predicted", "measured"):
            times_ms = [getattr(x.latencies[i], f"{how}_ms") for x in ordered]
            if any(times_ms):  # no column of dashes: the last one needs the room
                name = f"{device_name(device.device)}, {how}{figure_note(statistic)}"
                columns[name] = [milliseconds(x) for x in times_ms]
    columns["parameters"] = [f"{x.num_parameters:,}" for x in ordered]
    columns["size"] = [byte_size(x.size_bytes) for x in ordered]
    measured = [x.measured_memory_bytes for x in ordered]
    name = "memory, predicted" if any(measured) else "memory"
    columns[name] = [byte_size(x.memory_bytes) for x in ordered]
    if any(measured):
        columns["memory, measured"] = [byte_size(x) for x in measured]
    rows: list[tuple[Cell, ...]] = []
    for i, x in enumerate(ordered):
        loss = f"{x.loss:.4f}{'*' if x.is_enlarged else ''}"
        costs = (column[i] for column in columns.values())
        rows.append((x.number or "-", x.role, loss, *costs, wide(f"{x.arch.key}: {x.arch}")))
    return Table(("number", "role", "loss", *columns, "architecture"), tuple(rows))


def scores_table(scores: ScoreTable | None, choices: Sequence[Choice]) -> Table | None:
    """List the scores of each subnet, one column a metric; None where nothing was evaluated."""
    if scores is None or not scores.subnets:
        return None
    now = {name: x.arch for x in choices for name in (x.role, f"front {x.number}")}
    metrics = list(dict.fromkeys(name for x in scores.subnets.values() for name in x.metrics))
    rows: list[tuple[Cell, ...]] = []
    for name, x in scores.subnets.items():
        # "winner" or "front 3" may be those of an earlier search
        is_earlier = now.get(name.partition(",")[0], x.arch) != x.arch
        figures = (score(x.metrics.get(metric)) for metric in metrics)
        about = (f"{x.loss:.3f}", f"{x.num_parameters:,}", x.num_examples, x.setup or "-")
        rows.append((f"earlier {name}" if is_earlier else name, *figures, *about))
    return Table(
        ("subnet", *metrics, "validation loss", "parameters", "examples", "setup"),
        tuple(rows),
        "Subnets on the test examples; weights are inherited unless the name says otherwise",
    )


def agreement_summary(points: tuple[Agreement, ...], statistic: Statistic) -> str:
    """Say how many predictions lie within the band."""
    num_near = sum(
        abs(x.predicted_ms - x.measured_ms) <= BAND_PERCENT / 100 * x.measured_ms for x in points
    )
    return (
        f"{num_near} of {len(points)} subnets were predicted within {BAND_PERCENT:g}% of what was "
        f"measured{figure_note(statistic)}."
    )


def agreement_table(points: tuple[Agreement, ...]) -> Table:
    """List the points of the chart with their relative errors."""
    rows = tuple(
        (
            code(x.key),
            "no" if x.fitted else "yes",
            three_digits(x.predicted_ms),
            three_digits(x.measured_ms),
            f"{(x.predicted_ms / x.measured_ms - 1) * 100:+.1f}%",
        )
        for x in points
    )
    return Table(("subnet", "new to the predictor", "predicted, ms", "measured, ms", "error"), rows)


def predictor_facts(card: PredictorCard) -> Facts:
    """Give the predictor's errors in cross-validation and what it was fitted on."""
    boards = []
    for x in card.boards:
        ratio = "unknown" if x.time_ratio is None else f"{x.time_ratio:.3f}"
        boards.append(f"{x.host} {ratio}")
    older = [f"{x.started_at} {x.time_ratio:.3f}" for x in card.rescaled_sessions]
    return (
        ("Mean relative error", f"{card.mape_percent:.2f}%"),
        ("Within 5%", f"{card.within_5_percent:.0f}%"),
        ("Within 10%", f"{card.within_10_percent:.0f}%"),
        ("Kendall tau", f"{card.kendall_tau:.3f}"),
        ("Subnets", card.num_samples),
        ("Rejected", card.num_rejected),
        ("Boards, time ratio", ", ".join(boards) or None),
        ("Older sessions, time ratio", ", ".join(older) or None),
        ("Model", "regression and MLP" if card.uses_mlp else "regression"),
        ("Source", card.source or None),
        ("Licence", card.licence or None),
    )


# the device and the deployments


def describe_device(inputs: ReportInputs) -> tuple[Markup, Facts] | None:
    """Describe the device in a line and in facts, as it last measured; None if it never did."""
    name = inputs.search.device
    states = [(x.started_at, x.state, x.host or device_name(name)) for x in inputs.sessions]
    for x in inputs.deployments:
        if x.device.name == name:
            board = x.device.host_alias if x.device.kind == "ssh" else device_name(name)
            states.append((x.deployed_at, x.state, board))
    if not states:
        return None
    taken_at, state, board = max(states, key=lambda item: item[0])
    known = profiles(inputs)
    description = known[-1].description if known else ""
    line = Markup("{} State of {}, {}.").format(description, board, moment(taken_at))
    return line, _state_facts(state)


def _state_facts(state: DeviceState) -> Facts:
    memory = None if state.memory_bytes is None else byte_size(state.memory_bytes)
    if memory and state.memory_available_bytes is not None:
        memory += f", {byte_size(state.memory_available_bytes)} free"
    # "CPU, CUDA": the full names are wider than a column
    providers = ", ".join(x.removesuffix("ExecutionProvider") for x in state.providers)
    return (
        ("Processor", state.cpu_model),
        ("Machine", state.machine),
        ("Cores", state.cores),
        ("Memory", memory),
        ("Disk free", None if state.disk_free_bytes is None else byte_size(state.disk_free_bytes)),
        ("Governor", state.governor),
        ("Frequency", None if state.frequency_mhz is None else f"{state.frequency_mhz:.0f} MHz"),
        ("Temperature", None if state.temperature_c is None else f"{state.temperature_c:.0f} °C"),
        ("Throttled", state.throttled),
        ("Load, one minute", None if state.load_1min is None else f"{state.load_1min:.2f}"),
        ("Python", state.python_version),
        *state.packages.items(),
        ("Execution providers", providers or None),
    )


def deployments_table(inputs: ReportInputs) -> Table | None:
    """List every deployment, first that of the headline; None where there is none."""
    if not inputs.deployments:
        return None
    first = delivery_of(inputs).deployment
    ordered = sorted(inputs.deployments, key=lambda x: (x is not first, x.device.name))
    times = ("median", "p90", "p99", "minimum")
    header = ("device", "bundle", "self-test", *times, "limit", "load", "peak memory", "when")
    rows = tuple(_deployment(x) for x in ordered)
    return Table(header, rows, "Each measured there, as deployed")


def _deployment(deployment: Deployment) -> tuple[Cell, ...]:
    measurement = deployment.measurement
    total = measurement.total
    times: tuple[Cell, ...] = (bad(measurement.error or "not timed"), "-", "-", "-")
    if total is not None:
        figures_ms = (total.median_ms, total.p90_ms, total.of("p99"), total.minimum_ms)
        times = tuple(milliseconds(x) for x in figures_ms)
    device = deployment.device
    name = device.name
    if device.host_alias != name:
        name += f" ({device.host_alias})"
    if device.emulated:
        name += f" ({EMULATED})"
    limits = []
    if deployment.limit_ms is not None:
        text = f"{latency(deployment.limit_ms)}{figure_note(deployment.statistic)}"
        limits.append(limit_verdict(text, deployment.limit_kept))
    if deployment.max_memory_bytes is not None:
        text = printable.byte_size(deployment.max_memory_bytes, 6)
        if measurement.memory_bytes is not None:
            text = f"{printable.byte_size(measurement.memory_bytes, 6)} of {text}"
        limits.append(limit_verdict(text, deployment.memory_kept))
    return (
        name,
        deployment.bundle,
        good("passed") if deployment.self_test_passed else bad("failed"),
        *times,
        Markup(", ").join(limits) or "none",
        milliseconds(measurement.load_ms),
        byte_size(measurement.peak_memory_bytes),
        moment(deployment.deployed_at),
    )


# the bundle, and what everything was made from


def bundle_facts(manifest: BundleManifest, size_bytes: int | None, family: FamilyPage) -> Facts:
    """Give the bundle's name, weights, costs and parity, and the family's settings."""
    parity = manifest.parity
    scores = f"{score(parity.torch_score)}, {score(parity.bundle_score)}"
    return (
        ("Name", manifest.name),
        ("Weights", manifest.weights),
        ("Precision", manifest.precision),
        ("Size", None if size_bytes is None else byte_size(size_bytes)),
        ("Parameters", f"{manifest.num_parameters:,}"),
        *family.bundle_facts,
        ("Same as trained", f"{parity.identical} of {parity.num_examples} examples"),
        (f"{parity.metric} trained, bundle", scores),
    )


def self_test_table(manifest: BundleManifest, header: tuple[str, str]) -> Table | None:
    """List the examples of the self-test with their outputs; None where it has none."""
    rows = tuple((example.input, example.output) for example in manifest.self_test)
    caption = "What its self-test must answer"
    return Table(header, rows, caption, is_stacked=True) if rows else None


def fingerprints_table(inputs: ReportInputs) -> Table:
    """List the SHA-256 of all that went in, as far as its records are there."""
    search = inputs.search
    digests = {"search space": search.space_sha256, "supernet": search.supernet_sha256}
    if search.predictor_sha256:
        digests["latency predictor"] = search.predictor_sha256
    if inputs.supernet:
        digests["training data"] = inputs.supernet.data_sha256
        digests["tokenizer"] = inputs.supernet.tokenizer_sha256
    if inputs.card:
        digests["latency dataset"] = inputs.card.dataset_sha256
    if inputs.manifest:
        digests |= {f"bundle: {name}": x for name, x in inputs.manifest.provenance.items()}
        digests |= {f"bundle file {name}": x for name, x in inputs.manifest.sha256.items()}
    rows = tuple((name, code(digest)) for name, digest in digests.items())
    return Table(("what", "SHA-256"), rows, is_stacked=True)
