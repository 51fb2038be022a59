"""State what is to be timed on a device, and what is called meanwhile."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..records import Runtime
from ..spaces.spec import TimingStage
from .job import AgentResult


@dataclass(frozen=True)
class MeasurementTask:
    """Many models that are timed alike, in one job."""

    job_id: str
    stages: tuple[TimingStage, ...]
    threads: int
    build: Callable[[str], bytes]
    weights_bytes: int = 0


@dataclass(frozen=True)
class ModelTask:
    """One model that is on the device already."""

    remote_path: str
    stages: tuple[TimingStage, ...]
    threads: int
    owner: str = ""
    runtime: Runtime = "onnxruntime"


def ignore(_: object) -> None:
    """Do nothing: the default of a hook."""


@dataclass(frozen=True)
class MeasureHooks:
    """What is called while a device measures."""

    notify: Callable[[str], None] = ignore
    observe: Callable[[AgentResult], None] = ignore
    pause: Callable[[float], None] = time.sleep
    repeat: Callable[[Mapping[str, int]], None] = ignore


NO_HOOKS = MeasureHooks()
