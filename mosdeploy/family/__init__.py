"""Family: what a kind of model offers to the pipeline, as one record of callables."""

from .plan import DataRequest, DataSizes, RunPlan, Setting
from .record import (
    BundleModel,
    Family,
    FormatJob,
    ScoredExamples,
    SmallerVocabulary,
    TaskData,
    Teacher,
    TeacherTask,
    Tokenizer,
    deferred,
    num_cores,
)

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
