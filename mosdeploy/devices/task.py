"""State what is to be timed on a device, and what is called meanwhile.

In: the timing stages of a model, and how to get it. Out: frozen records, which `measure.py` and
`fleet.py` take.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..records import Runtime
from ..spaces.spec import TimingStage
from .job import AgentResult


@dataclass(frozen=True)
class MeasurementTask:
    """Many models that are timed alike, in one job.

    Attributes
    ----------
    job_id
        Names the results on the device: the same for every run that belongs to one dataset. Made of
        letters, digits, `.`, `_`, `-`.
    stages
        What is timed of each model, `total` first.
    threads
        How many threads a model runs on.
    build
        Returns the ONNX file of a key, or of `REFERENCE`, the same one in every run of the dataset;
        called only for keys that the device has not measured. A fleet calls it from several
        threads.
    weights_bytes
        Size of the `weights.bin` that the models' external data lies in; 0 for self-contained
        models.
    is_whole
        Whether the device puts these weights into each model before it is timed. It then takes the
        memory that its bundle takes; else ONNX Runtime may leave parts of the file unread.
    """

    job_id: str
    stages: tuple[TimingStage, ...]
    threads: int
    build: Callable[[str], bytes]
    weights_bytes: int = 0
    is_whole: bool = False


@dataclass(frozen=True)
class ModelTask:
    """One model that is on the device already.

    Attributes
    ----------
    remote_path
        Absolute path on the device of a self-contained ONNX file or, for TVM, of a bundle with its
        runtime beside it.
    stages, threads
        As in `MeasurementTask`.
    owner
        Who times it: what another one times there, of the same model too, is left alone.
    runtime
        What runs the model.
    """

    remote_path: str
    stages: tuple[TimingStage, ...]
    threads: int
    owner: str = ""
    runtime: Runtime = "onnxruntime"


def ignore(_: object) -> None:
    """Do nothing: the default of a hook."""


@dataclass(frozen=True)
class MeasureHooks:
    """What is called while a device measures.

    Attributes
    ----------
    notify
        Given a message of one line when timings are repeated, since the device is not stable.
    observe
        Given every result that the device holds or makes, those of the reference too, as soon as it
        is read.
    pause
        Waits so many seconds between two looks at the device; a KeyboardInterrupt that it raises
        counts as Ctrl-C.
    repeat
        Given, after that message, how many results each subnet that is measured again is to have.
    """

    notify: Callable[[str], None] = ignore
    observe: Callable[[AgentResult], None] = ignore
    pause: Callable[[float], None] = time.sleep
    repeat: Callable[[Mapping[str, int]], None] = ignore


NO_HOOKS = MeasureHooks()
