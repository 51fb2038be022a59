"""The report: what came out of a run, on one page that opens anywhere."""

from .cells import FamilyPage
from .page import build_report
from .selection import Choice
from .summary import Report, ReportInputs

__all__ = ["Choice", "FamilyPage", "Report", "ReportInputs", "build_report"]
