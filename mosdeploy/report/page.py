"""The page: templates filled with the figures of all sections, and `report.json` beside it."""

import functools
from pathlib import Path

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..storage import atomic_write, write_record
from ..version import __version__
from . import choosing, sections
from .cells import device_name
from .device import deployments_table, describe_device
from .family_page import FamilyPage
from .provenance import bundle_facts, fingerprints_table, self_test_table
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
    return template.render(
        version=__version__,
        style=Markup((FOLDER / "style.css").read_text(encoding="utf-8")),
        script=Markup((FOLDER / "page.js").read_text(encoding="utf-8")),
        vega=Markup(vega()),
        family=family,
        report=report,
        title=sections.headline_title(report.headline, family.task),
        tiles=sections.headline_tiles(report.headline, family.metric_title),
        broken=sections.broken_limits(report.headline),
        **_search_figures(report, family, has_test=inputs.has_test),
        **_bundle_figures(inputs, family),
        device=describe_device(inputs),
        deployments=deployments_table(inputs),
        is_deployed=any(x.bundle_sha256 == inputs.manifest_sha256 for x in inputs.deployments),
        has_test=inputs.has_test,
        is_profiled=inputs.context is not None,
        fingerprints=fingerprints_table(inputs),
    )


@functools.cache
def vega() -> str:
    """The script that draws charts: Vega, Vega-Lite and Vega-Embed. Bundling it takes seconds."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script")


def _search_figures(report: Report, family: FamilyPage, *, has_test: bool) -> dict[str, object]:
    points = report.agreement
    card = report.predictor
    statistic = report.search.statistic
    return {
        "data": choosing.script_data(report),
        "axes": choosing.axes(report),
        "front_cost": "size" if report.search.winner.predicted_ms is None else "latency",
        "is_any_larger": any(x.narrow_loss is not None for x in report.choices),
        "cards": choosing.cards(report, family, has_test=has_test),
        "front_summary": choosing.front_summary(report.choices),
        "candidates": sections.candidates_table(report.choices, statistic),
        "scores": sections.scores_table(report.scores, report.choices),
        "agreement_summary": sections.agreement_summary(points, statistic),
        "agreement_table": sections.agreement_table(points) if points else None,
        "predictor_facts": sections.predictor_facts(card) if card else None,
    }


def _bundle_figures(inputs: ReportInputs, family: FamilyPage) -> dict[str, object]:
    manifest = inputs.manifest
    if manifest is None:
        return {"bundle_facts": None, "self_test": None}
    return {
        "bundle_facts": bundle_facts(manifest, inputs.bundle_size_bytes, family),
        "self_test": self_test_table(manifest, family.example_header),
    }
