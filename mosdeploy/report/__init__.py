"""The report: what came out of a run, on one page that opens anywhere.

In: `ReportInputs`, records of the other rooms. Out: `index.html` (no script, no outside resource)
and `report.json` in a folder. This room measures and decides nothing.
"""

from pathlib import Path

from .. import __version__
from ..storage import atomic_write, write_record
from .markup import Markup, element
from .provenance import bundle_section, device_section, provenance_section
from .sections import architecture_section, headline_section, predictor_section, quality_section
from .summary import Report, ReportInputs, summarise

__all__ = ["Report", "ReportInputs", "build_report"]


def build_report(inputs: ReportInputs, out_dir: Path) -> Path:
    """Write `index.html` and `report.json`.

    Parameters
    ----------
    inputs
        The search result, and what else there is; the page says which command makes what is
        missing.
    out_dir
        Made if it does not exist; older files of the same names are replaced.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    MosdeployError
        If the disk is full or read-only.
    ValueError
        If `inputs.predicted_ms` and `inputs.records` differ in length.
    """
    report = summarise(inputs)
    write_record(out_dir / "report.json", report)
    page = out_dir / "index.html"
    atomic_write(page, "<!doctype html>\n" + _page(inputs, report) + "\n")
    return page


def _page(inputs: ReportInputs, report: Report) -> Markup:
    style = Markup(Path(__file__).with_name("style.css").read_text(encoding="utf-8"))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"mosdeploy: {inputs.search.winner.arch.key} on {inputs.search.device}"),
        element("style", style),
    )
    main = element(
        "main",
        quality_section(report),
        predictor_section(report),
        architecture_section(inputs),
        device_section(inputs),
        bundle_section(inputs),
        provenance_section(inputs),
    )
    footer = element(
        "footer",
        f"Written by mosdeploy {__version__}. The same records lie in report.json beside this page.",
    )
    return element("html", head, element("body", headline_section(report), main, footer), lang="en")
