"""The writing of bundles, with a made-up model: it answers a row of ids with that row, backwards.

The runtime's tests have bundles of real models.
"""

import contextlib
import dataclasses
import errno
import itertools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from example_spaces import SMALL_ARCH, TINY
from faults import Faults, can_exchange, fail_everywhere, faults, killed_at_rename

from mosdeploy.config.sections import ExportConfig
from mosdeploy.errors import BundleError, ExportError, MosdeployError
from mosdeploy.export.bundle import (
    BuiltModel,
    BundleJob,
    BundleOrigin,
    copy_tokenizer,
    export_bundle,
    read_manifest,
)
from mosdeploy.export.parity import ParityExamples
from mosdeploy.records import BundleManifest
from mosdeploy.spaces.spec import ModelSpec
from mosdeploy.spaces.translation import TranslationWorkload
from mosdeploy.storage import locked, sha256_file

__all__ = ["can_exchange", "faults"]

INPUT_IDS = [[4 + (7 * i + k) % 8 for k in range(1 + i % 5)] for i in range(20)]
NAMES = {"model.onnx", "tokenizer.model", "manifest.json", "README.md"}


def build(folder: Path) -> BuiltModel:
    (folder / "model.onnx").write_bytes(b"model")
    return BuiltModel("onnxruntime")


class Opened:
    """A bundle as it was when it was opened; its texts are numbers, with spaces between."""

    tokenizer = SimpleNamespace(encode=lambda text: [int(number) for number in text.split()])

    def __init__(self, folder: Path) -> None:
        self.manifest = read_manifest(folder)

    def predict_ids(self, inputs: list[list[int]]) -> list[list[int]]:
        return [ids[::-1] for ids in inputs]


def make_job(out_dir: Path, precision: str = "fp32") -> BundleJob:
    tokenizer_path = out_dir.parent / "trained.model"
    tokenizer_path.parent.mkdir(exist_ok=True)
    tokenizer_path.write_bytes(b"tokens")
    return BundleJob(
        family="translation",
        spec=ModelSpec(TINY, 40, TranslationWorkload(precision=precision)),
        arch=SMALL_ARCH,
        settings={"beam": 1, "length_penalty": 0.6},
        origin=BundleOrigin("reverser", "local", {"supernet": "0" * 64}),
        tokenizer_path=tokenizer_path,
        limits=ExportConfig(),
        readme=lambda manifest: f"# {manifest.name}: {manifest.self_test[0].input}\n",
    )


def make_examples(turn=lambda ids: ids[::-1]) -> ParityExamples:
    return ParityExamples(
        inputs=[" ".join(map(str, ids)) for ids in INPUT_IDS],
        input_ids=INPUT_IDS,
        reference=lambda inputs: [turn(ids) for ids in inputs],
        decode=lambda ids: " ".join(map(str, ids)),
        score=lambda texts: 50.0,
        metric="BLEU",
    )


def export(out_dir: Path, precision: str = "fp32", **changed: object) -> BundleManifest:
    parts = {
        "build": build,
        "open_bundle": Opened,
        "examples": make_examples(),
        "out_dir": out_dir,
        **changed,
    }
    return export_bundle(make_job(out_dir, precision), **parts)


def beside(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def test_a_bundle_holds_what_its_manifest_says(tmp_path: Path) -> None:
    folder = tmp_path / "bundles" / "b"
    manifest = export(folder, "int8")
    assert {path.name for path in folder.iterdir()} == NAMES
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["b"]
    assert read_manifest(folder) == manifest
    hashes = {name: sha256_file(folder / name) for name in NAMES - {"manifest.json"}}
    assert manifest.sha256 == hashes
    job = make_job(folder)
    assert (manifest.family, manifest.precision, manifest.vocab_size) == ("translation", "int8", 40)
    assert manifest.settings == job.settings and manifest.provenance == job.origin.provenance
    assert manifest.num_parameters == job.spec.num_parameters(SMALL_ARCH)
    assert manifest.parity.metric == "BLEU" and manifest.parity.identical == 20
    assert (folder / "README.md").read_text() == f"# reverser: {manifest.self_test[0].input}\n"


def test_the_self_test_is_what_the_model_answers(tmp_path: Path) -> None:
    tests = export(tmp_path / "b").self_test
    assert sorted(len(test.input_ids) for test in tests) == [1, 3, 5]
    for test in tests:
        assert list(test.input_ids) in INPUT_IDS
        assert test.answer == test.input_ids[::-1]
        assert test.output == " ".join(map(str, test.answer))


def test_a_library_for_elsewhere_is_checked_by_its_twin(tmp_path: Path) -> None:
    opened: list[Path] = []

    def build_both(folder: Path) -> BuiltModel:
        twin = folder.with_name("twin")
        twin.mkdir()
        for place, content in ((folder, b"aarch64"), (twin, b"x86_64")):
            (place / "model.so").write_bytes(content)
            (place / "weights.bin").touch()
        return BuiltModel("tvm", "aarch64 cortex-a72", twin)

    def open_bundle(folder: Path) -> Opened:
        opened.append(folder)
        assert (folder / "model.so").read_bytes() == b"x86_64"
        return Opened(folder)

    manifest = export(tmp_path / "b", build=build_both, open_bundle=open_bundle)
    assert len(opened) == 1
    assert (manifest.runtime, manifest.processor) == ("tvm", "aarch64 cortex-a72")
    assert (tmp_path / "b" / "model.so").read_bytes() == b"aarch64"
    assert beside(tmp_path) == {"b", "trained.model"}


# -- bad input -------------------------------------------------------------------------------------


def test_a_failed_check_leaves_what_was_there(tmp_path: Path) -> None:
    other = make_examples(turn=lambda ids: [5])
    with pytest.raises(ExportError, match="differently from torch"):
        export(tmp_path / "b", examples=other)
    assert beside(tmp_path) == {"trained.model"}
    manifest = export(tmp_path / "b")
    with pytest.raises(ExportError, match="differently from torch"):
        export(tmp_path / "b", examples=other)
    assert read_manifest(tmp_path / "b") == manifest
    assert beside(tmp_path) == {"b", "trained.model"}


def test_a_tokenizer_that_splits_differently_is_refused(tmp_path: Path) -> None:
    class Another(Opened):
        tokenizer = SimpleNamespace(encode=lambda text: [*Opened.tokenizer.encode(text), 5])

    with pytest.raises(ExportError, match=r"splits '4' .*: from token 2 on \[5\], not \[\]"):
        export(tmp_path / "b", open_bundle=Another)
    assert not (tmp_path / "b").exists()


def export_another(root: Path) -> None:
    def build_more(folder: Path) -> BuiltModel:
        (folder / "model.onnx").write_bytes(b"another model")
        return BuiltModel("onnxruntime")

    job = make_job(root.parent / "job" / "b")
    export_bundle(job, build_more, Opened, make_examples(), root / "bundles" / "b")


def check_whole(root: Path) -> None:
    folder = root / "bundles" / "b"
    read_manifest(folder)
    assert (folder / "model.onnx").read_bytes() in (b"model", b"another model")
    assert [x.name for x in folder.parent.iterdir() if x.is_dir()] == ["b"]


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A folder with a bundle."""
    root = tmp_path / "before"
    job = make_job(tmp_path / "job" / "b")
    export_bundle(job, build, Opened, make_examples(), root / "bundles" / "b")
    return root


@pytest.mark.usefixtures("can_exchange")
def test_a_disk_that_fails_anywhere_leaves_a_whole_bundle(before: Path, faults: Faults) -> None:
    assert fail_everywhere(faults, before, export_another, check_whole) > 10


@pytest.mark.parametrize("opens", [False, True], ids=["open", "read"])
def test_a_disk_that_cannot_be_read_leaves_a_whole_bundle(
    before: Path, faults: Faults, opens: bool
) -> None:
    def check(root: Path) -> None:
        read_manifest(root / "bundles" / "b")
        export_another(root)  # which removes what could not be listed
        check_whole(root)

    num_failures = fail_everywhere(faults, before, export_another, check, reads=True, opens=opens)
    assert num_failures >= 5


@pytest.mark.usefixtures("can_exchange")
def test_ctrl_c_anywhere_leaves_a_whole_bundle_and_nothing_beside_it(
    before: Path, faults: Faults
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    for number in itertools.count(1):
        root = Path(shutil.copytree(before, before.with_name(f"run-{number}")))
        with faults.before(number, root, interrupt), contextlib.suppress(KeyboardInterrupt):
            export_another(root)
        check_whole(root)
        export_another(root)
        assert (root / "bundles" / "b" / "model.onnx").read_bytes() == b"another model"
        if not faults.failed:
            break
    assert number > 10


@pytest.mark.slow
def test_a_bundle_whose_replacement_is_killed_is_there_after_the_next_export(before: Path) -> None:
    code = "from test_bundle import export_another; export_another(root)"
    for number in (1, 2, 3, 4):
        root = Path(shutil.copytree(before, before.with_name(f"run-{number}")))
        assert killed_at_rename(number, code, root) == (number < 4)

        def fails(folder: Path) -> BuiltModel:
            raise OSError(errno.EIO, "the disk fails before there is a new one")

        with pytest.raises(MosdeployError, match="the disk fails"):
            export(root / "bundles" / "b", build=fails)
        check_whole(root)


def test_what_a_killed_export_left_goes_with_the_next(tmp_path: Path) -> None:
    out_dir = tmp_path / "bundles" / "b"
    export(out_dir)
    (out_dir.parent / ".b.killed" / "new").mkdir(parents=True)
    (out_dir.parent / ".bc.other").mkdir()
    export(out_dir)
    assert {x.name for x in out_dir.parent.iterdir() if x.is_dir()} == {"b", ".bc.other"}


def test_two_exports_of_one_bundle_at_once_are_refused(tmp_path: Path) -> None:
    out_dir = tmp_path / "bundles" / "b"
    job = make_job(tmp_path / "job" / "b")
    with (
        locked(out_dir, MosdeployError("held by the test")),
        pytest.raises(MosdeployError, match="another `mosdeploy export` writes"),
    ):
        export_bundle(job, build, Opened, make_examples(), out_dir)


def test_the_hash_is_that_of_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that ends meanwhile replaces the source: before it is copied, or after."""
    source = tmp_path / "trained.model"
    copied = shutil.copyfile

    def replaced_after(source: Path, target: Path) -> None:
        copied(source, target)
        source.write_bytes(b"another")

    def replaced_before(source: Path, target: Path) -> None:
        target.write_bytes(b"another")

    source.write_bytes(b"tokens")
    sha256 = sha256_file(source)
    monkeypatch.setattr(shutil, "copyfile", replaced_after)
    copy_tokenizer(source, tmp_path / "copy", sha256)
    assert (tmp_path / "copy").read_bytes() == b"tokens"
    source.write_bytes(b"tokens")
    monkeypatch.setattr(shutil, "copyfile", replaced_before)
    with pytest.raises(ExportError, match="is not the tokenizer that the network"):
        copy_tokenizer(source, tmp_path / "copy", sha256)


def test_a_folder_that_is_no_bundle_is_not_replaced(tmp_path: Path) -> None:
    empty = dataclasses.replace(make_examples(), inputs=[], input_ids=[])
    with pytest.raises(ExportError, match="no validation example"):
        export(tmp_path / "b", examples=empty)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").touch()
    with pytest.raises(ExportError, match="is not a bundle"):
        export(tmp_path / "b")
    assert (tmp_path / "b" / "thesis.tex").exists()


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_corrupt_bundle_names_the_file(tmp_path: Path, name: str) -> None:
    export(tmp_path / "b")
    path = tmp_path / "b" / name
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(BundleError, match=name):
        read_manifest(tmp_path / "b")
    path.unlink()
    with pytest.raises(BundleError, match=name):
        read_manifest(tmp_path / "b")


def test_a_manifest_that_names_a_file_elsewhere(tmp_path: Path) -> None:
    export(tmp_path / "b")
    path = tmp_path / "b" / "manifest.json"
    data = json.loads(path.read_text())
    data["sha256"]["../trained.model"] = sha256_file(tmp_path / "trained.model")
    path.write_text(json.dumps(data))
    with pytest.raises(BundleError, match=r"\.\./trained\.model"):
        read_manifest(tmp_path / "b")
