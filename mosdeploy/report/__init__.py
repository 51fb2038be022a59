"""The report: what came out of a run, on one page that opens anywhere.

In: `ReportInputs`, records of the other rooms, and `FamilyPage`, the parts that a family describes.
Out: `index.html`, which fetches nothing, and `report.json` in a folder. This room measures and
decides nothing.
"""

from .choices import Choice
from .family_page import FamilyPage
from .page import build_report
from .summary import Report, ReportInputs

__all__ = ["Choice", "FamilyPage", "Report", "ReportInputs", "build_report"]
