"""Family: what a kind of model offers to the pipeline, as one record of callables.

In: nothing. Out: the type. A family fills it in `families/NAME/__init__.py`; the pipeline hands
single callables to the rooms, so that no room knows a family. A callable enters here only where two
families differ.
"""

from .bundles import BundleModel, FormatJob, SmallerVocabulary
from .examples import ScoredExamples, TaskData, Tokenizer
from .plan import DataRequest, DataSizes, RunPlan, Setting
from .record import Family, deferred
from .teachers import OutputTeacher, Teacher, TeacherTask

__all__ = [
    "BundleModel",
    "DataRequest",
    "DataSizes",
    "Family",
    "FormatJob",
    "OutputTeacher",
    "RunPlan",
    "ScoredExamples",
    "Setting",
    "SmallerVocabulary",
    "TaskData",
    "Teacher",
    "TeacherTask",
    "Tokenizer",
    "deferred",
]
