"""The verb `report`."""

from .options import Common


def report(common: Common) -> None:
    """Write the report: one offline HTML page and a JSON."""
    from ..pipeline.report import report as write

    written = write(common.context())
    json_path = written.page.with_name("report.json")
    common.show(written.report, f"wrote {written.page} and {json_path}")
