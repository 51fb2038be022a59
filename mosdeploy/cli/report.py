"""The verb `report`."""

from .options import Common


def report(common: Common) -> None:
    """Write the report: one offline HTML page and a JSON."""
    from ..pipeline.report import report as write

    context = common.context()
    written = write(context)
    common.show(written.report, f"wrote {written.page} and {context.files.report_path}")
