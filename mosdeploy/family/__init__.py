"""Family: what a kind of model offers to the pipeline, as one record of callables."""

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
