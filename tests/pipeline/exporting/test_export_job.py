"""The parts of a bundle that all ways of exporting share."""

from dataclasses import replace
from pathlib import Path

import pytest

from mosdeploy.export.bundle import BundleOrigin
from mosdeploy.pipeline.exporting.export_job import (
    ExportSource,
    bundle_job,
    onnx_builder,
    parity_examples,
)
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.subnets import select_subnet
from mosdeploy.run_folder.trained_run import TrainedRun, trained_run


@pytest.fixture
def state(walked: Path) -> TrainedRun:
    return trained_run(open_run(walked))


@pytest.fixture
def source(state: TrainedRun) -> ExportSource:
    chosen = select_subnet(state, state.config.space.smallest, "inherited")
    return ExportSource(state, chosen, state.config.workload)


def test_a_job_is_about_the_workload_that_it_is_given(
    state: TrainedRun, source: ExportSource
) -> None:
    workload = state.config.workload.changed({"precision": "int8", "beam": 3})
    job = bundle_job(
        replace(source, workload=workload), BundleOrigin("name", None, {}), state.config.export
    )
    assert (job.family, job.origin.name) == ("translation", "name")
    assert (job.spec.workload, job.spec.vocab_size) == (workload, 44)
    assert job.settings["beam"] == 3
    assert job.tokenizer_path == state.files.tokenizer_path


def test_the_builder_writes_a_smaller_file_in_int8(source: ExportSource, tmp_path: Path) -> None:
    sizes = []
    for precision in ("fp32", "int8"):
        assert onnx_builder(source.at(precision))(tmp_path).runtime == "onnxruntime"
        sizes.append((tmp_path / "model.onnx").stat().st_size)
    assert sizes[1] < sizes[0]


def test_torch_agrees_with_itself_on_the_examples(source: ExportSource) -> None:
    examples = parity_examples(source, 5)
    assert (len(examples.inputs), len(examples.input_ids), examples.metric) == (5, 5, "BLEU")
    answers = examples.reference([list(ids) for ids in examples.input_ids])
    assert len(answers) == 5
    assert 0.0 <= examples.score_answers(answers) <= 100.0
    assert examples.score(list(examples.inputs)) != 100.0  # no source is its own translation
