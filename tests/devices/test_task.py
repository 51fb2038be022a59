"""The records that say what is timed."""

from dataclasses import FrozenInstanceError, replace

import pytest
from watching import STAGES

from mosdeploy.devices.task import MeasurementTask, ModelTask


def test_a_task_may_be_given_another_builder_and_not_changed():
    task = MeasurementTask("job", STAGES, threads=2, build=str.encode)
    other = replace(task, build=lambda key: b"model")
    assert (other.build("a"), other.threads, other.weights_bytes) == (b"model", 2, 0)
    with pytest.raises(FrozenInstanceError):
        task.threads = 1


def test_a_deployed_model_runs_on_onnxruntime_by_default():
    assert ModelTask("/model.onnx", STAGES, threads=1).runtime == "onnxruntime"
