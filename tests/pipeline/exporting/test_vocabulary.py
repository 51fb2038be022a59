"""A bundle with the part of the vocabulary that the examples use answers as the whole one."""

import json
from pathlib import Path

import pytest
from walking import edit, opened

from mosdeploy.errors import ConfigError, ExportError, StaleInputError
from mosdeploy.export.bundle import BundleOrigin, build_draft
from mosdeploy.pipeline.exporting.export_job import (
    ExportSource,
    bundle_job,
    onnx_builder,
    smaller_vocabulary,
)
from mosdeploy.run_folder.run import open_run
from mosdeploy.run_folder.subnets import select_subnet
from mosdeploy.run_folder.trained_run import trained_run
from mosdeploy.runtime import open_model
from mosdeploy.runtime.self_test import run_self_test

LINES = ["the film is bright", "it was dull and long", "a warm story\tthe cold one", ""]


def pieces(tokenizer: Path) -> list[str]:
    return list(json.loads(tokenizer.read_text())["model"]["vocab"])


def test_a_trimmed_bundle_answers_as_the_whole_one(encoder_folder: Path) -> None:
    run = opened(encoder_folder)
    whole = run.export("largest", precision="fp32")
    trimmed = run.export("largest", precision="fp32", trim_vocabulary=True)
    size = trimmed.manifest.vocab_size
    assert size == len(pieces(trimmed.path / "tokenizer.json")) < whole.manifest.vocab_size
    lost = (whole.manifest.vocab_size - size) * 16  # the width of the table
    assert trimmed.manifest.num_parameters == whole.manifest.num_parameters - lost
    assert trimmed.manifest.parity.identical == trimmed.manifest.parity.num_examples > 0
    assert trimmed.path.name == f"{whole.path.name}-trimmed"
    scores = [open_model(x.path, threads=1).answer(LINES) for x in (whole, trimmed)]
    assert scores[0] == scores[1]
    assert run_self_test(open_model(trimmed.path, threads=1)).passed


def test_the_tokenizer_of_another_export_is_refused(encoder_folder: Path, tmp_path: Path) -> None:
    state = trained_run(open_run(encoder_folder))
    whole = select_subnet(state, state.config.space.smallest, "inherited")
    limits = state.config.export.model_copy(update={"trim_vocabulary": True})
    smaller = smaller_vocabulary(state, limits)
    source = ExportSource(state, whole, state.config.workload, smaller)
    job = bundle_job(source, BundleOrigin("name", None, {}), limits)
    build = onnx_builder(source)
    build_draft(job, build, state.family.open_bundle, tmp_path / "own")
    # as one that keeps other texts writes it meanwhile
    job.tokenizer_path.write_bytes(state.files.tokenizer_path.read_bytes())
    with pytest.raises(ExportError, match="the part of it that this export keeps; run the same"):
        build_draft(job, build, state.family.open_bundle, tmp_path / "other")


def test_only_the_tokenizer_of_the_supernet_is_trimmed(encoder_folder: Path) -> None:
    state = trained_run(open_run(encoder_folder))
    limits = state.config.export.model_copy(update={"trim_vocabulary": True})
    # as a training that ends meanwhile writes it
    path = state.files.tokenizer_path
    path.write_text(path.read_text() + "\n")
    with pytest.raises(StaleInputError, match="has changed while this command ran"):
        smaller_vocabulary(state, limits)


def test_further_texts_keep_their_pieces(encoder_folder: Path) -> None:
    tokenizer = encoder_folder / "supernet" / "tokenizer.model"
    run = opened(encoder_folder)
    few = pieces(run.export("largest", trim_vocabulary=True).path / "tokenizer.json")
    lost = next(x for x in pieces(tokenizer) if x not in few and not x.startswith("##"))
    (encoder_folder / "more.txt").write_text(f"the film\t{lost}\n")
    edit(
        encoder_folder / "mosdeploy.toml",
        "[export]\n",
        '[export]\ntrim_vocabulary = true\nvocabulary_texts = "more.txt"\n',
    )
    again = opened(encoder_folder).export("largest")
    assert set(pieces(again.path / "tokenizer.json")) == {*few, lost}
    (encoder_folder / "more.txt").unlink()
    with pytest.raises(ConfigError, match=r"more\.txt: cannot be read"):
        opened(encoder_folder).export("largest")


def test_a_family_that_cannot_says_so(walked: Path) -> None:
    with pytest.raises(ConfigError, match="the vocabulary of a translation cannot be trimmed"):
        opened(walked).export("largest", trim_vocabulary=True)
