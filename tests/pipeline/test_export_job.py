"""The parts of a bundle that all ways of exporting share."""

from pathlib import Path

import pytest

from mosdeploy.pipeline.export_job import bundle_job, onnx_builder, parity_examples
from mosdeploy.pipeline.run import open_run
from mosdeploy.pipeline.subnets import SelectedSubnet, select_subnet
from mosdeploy.pipeline.trained_run import TrainedRun, trained_run
from mosdeploy.pipeline.workloads import changed_workload


@pytest.fixture
def state(walked: Path) -> TrainedRun:
    return trained_run(open_run(walked))


@pytest.fixture
def chosen(state: TrainedRun) -> SelectedSubnet:
    return select_subnet(state, state.config.space.smallest, "inherited")


def test_a_job_is_about_the_workload_that_it_is_given(
    state: TrainedRun, chosen: SelectedSubnet
) -> None:
    workload = changed_workload(state.config.workload, "int8", beam=3)
    job = bundle_job(state, chosen, workload, "name", state.config.export)
    assert (job.family, job.origin.name, job.origin.weights) == ("translation", "name", "inherited")
    assert (job.spec.workload, job.spec.vocab_size) == (workload, 44)
    assert job.settings["beam"] == 3
    assert job.tokenizer_path == state.files.tokenizer_path


def test_the_builder_writes_a_smaller_file_in_int8(
    state: TrainedRun, chosen: SelectedSubnet, tmp_path: Path
) -> None:
    sizes = []
    for precision in ("fp32", "int8"):
        workload = changed_workload(state.config.workload, precision)
        assert onnx_builder(state, chosen, workload)(tmp_path).runtime == "onnxruntime"
        sizes.append((tmp_path / "model.onnx").stat().st_size)
    assert sizes[1] < sizes[0]


def test_torch_agrees_with_itself_on_the_examples(
    state: TrainedRun, chosen: SelectedSubnet
) -> None:
    examples = parity_examples(state, chosen, state.config.workload, 5)
    assert (len(examples.inputs), len(examples.input_ids), examples.metric) == (5, 5, "BLEU")
    answers = examples.reference([list(ids) for ids in examples.input_ids])
    assert len(answers) == 5
    assert 0.0 <= examples.score_answers(answers) <= 100.0
    assert examples.score(list(examples.inputs)) != 100.0  # no source is its own translation
