"""The page: templates filled with the figures of all sections, and `report.json` beside it."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..printable import EMULATED, figure_note, score
from ..storage import atomic_write, write_record
from ..version import __version__
from . import sections
from .cells import Facts, Table, byte_size, device_name, estimate, milliseconds, noted
from .charts import agreement_chart, front_chart
from .family_page import FamilyPage
from .selection import Axis, Choice, DeviceLatency, axes_of
from .summary import Report, ReportInputs, summarise

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
        title=sections.headline_title(report.headline, family.task),
        tiles=sections.headline_tiles(report.headline, family.metric_title),
        broken=[sections.LIMITED[x.name] for x in report.headline.other_limits if x.kept is False],
        data=script_data(report, axes, figure_note(statistic) + emulation),
        axes=axes,
        is_any_enlarged=any(x.is_enlarged for x in report.choices),
        cards=cards(report, family, has_test=inputs.has_test),
        candidates=sections.candidates_table(report.choices, statistic),
        scores=sections.scores_table(report.scores, report.choices),
        agreement_summary=sections.agreement_summary(points, statistic),
        agreement_table=sections.agreement_table(points) if points else None,
        predictor_facts=sections.predictor_facts(card) if card else None,
        is_profiled=inputs.context is not None,
        device=sections.describe_device(inputs),
        bundle_facts=manifest and sections.bundle_facts(manifest, inputs.bundle_size_bytes, family),
        self_test=manifest and sections.self_test_table(manifest, family.example_header),
        deployments=sections.deployments_table(inputs),
        is_deployed=any(x.bundle_sha256 == inputs.manifest_sha256 for x in inputs.deployments),
        fingerprints=sections.fingerprints_table(inputs),
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
