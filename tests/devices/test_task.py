"""The records that say what is timed."""

from dataclasses import FrozenInstanceError, replace

import pytest
from watching import STAGES

from mosdeploy.devices.job import AgentResult
from mosdeploy.devices.task import NO_HOOKS, MeasurementTask, ModelTask
from mosdeploy.records import Measurement


def test_a_task_may_be_given_another_builder_and_not_changed():
    task = MeasurementTask("job", STAGES, threads=2, build=str.encode)
    other = replace(task, build=lambda key: b"model")
    assert (other.build("a"), other.threads, other.weights_bytes) == (b"model", 2, 0)
    with pytest.raises(FrozenInstanceError):
        task.threads = 1


def test_a_deployed_model_runs_on_onnxruntime_by_default():
    assert ModelTask("/model.onnx", STAGES, threads=1).runtime == "onnxruntime"


def test_hooks_do_nothing_by_default():
    NO_HOOKS.notify("message")
    NO_HOOKS.observe(AgentResult(key="a", measurement=Measurement(error="no")))
    NO_HOOKS.pause(0.0)
    NO_HOOKS.repeat({"a": 2})
