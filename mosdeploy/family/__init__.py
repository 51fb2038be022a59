"""Family: what a kind of model offers to the pipeline, as one record of callables."""

from .bundles import BundleModel, FormatJob, SmallerVocabulary, num_cores
from .examples import ScoredExamples, TaskData, Tokenizer
from .plan import DataRequest, DataSizes, RunPlan, Setting
from .record import Family, deferred
from .teachers import Teacher, TeacherTask

__all__ = [
    "BundleModel",
    "DataRequest",
    "DataSizes",
    "Family",
    "FormatJob",
    "RunPlan",
    "ScoredExamples",
    "Setting",
    "SmallerVocabulary",
    "TaskData",
    "Teacher",
    "TeacherTask",
    "Tokenizer",
    "deferred",
    "num_cores",
]
