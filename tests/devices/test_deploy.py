"""A bundle becomes current on a device only when it works there."""

import json
from pathlib import Path

import pytest
from tiny_onnx import tiny_model

from mosdeploy.config import Workload
from mosdeploy.devices.deploy import deploy
from mosdeploy.devices.session import LocalSession
from mosdeploy.errors import CommandError, StaleInputError
from mosdeploy.records import BundleManifest, ParityReport
from mosdeploy.space import SearchSpace
from mosdeploy.workspace import sha256_bytes, sha256_file, write_record

RUNTIME = """
import json, pathlib, sys
passed = "bad" not in (pathlib.Path(sys.argv[1]) / "tokenizer.model").read_text()
print(json.dumps({"passed": passed, "failures": [] if passed else ["sentence 1: got [5], expected [6]"]}))
sys.exit(not passed)
"""


class CountingSession(LocalSession):
    def __init__(self):
        super().__init__("dev")
        self.uploads = []

    def put(self, local_path, remote_path):
        self.uploads.append(local_path.name)
        super().put(local_path, remote_path)


@pytest.fixture
def runtime_dir(tmp_path):
    folder = tmp_path / "runtime"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "__main__.py").write_text(RUNTIME)
    return folder


@pytest.fixture
def make_bundle(tmp_path):
    arch = SearchSpace(
        encoder_embed_dim=(8,),
        decoder_embed_dim=(8,),
        encoder_layers=(1,),
        decoder_layers=(1,),
        encoder_ffn_dim=(8,),
        decoder_ffn_dim=(8,),
        encoder_heads=(1,),
        decoder_self_heads=(1,),
        decoder_cross_heads=(1,),
        cross_span=(1,),
        qkv_dim=8,
    ).largest

    def make(name, tokenizer="good", width=8):
        folder = tmp_path / name
        folder.mkdir()
        contents = {"model.onnx": tiny_model(width), "tokenizer.model": tokenizer.encode()}
        for file, data in contents.items():
            (folder / file).write_bytes(data)
        manifest = BundleManifest(
            name=name,
            precision="fp32",
            beam=1,
            length_penalty=0.6,
            source_lang="en",
            target_lang="de",
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            vocab_size=50,
            max_source_len=10,
            max_decode_steps=10,
            arch=arch,
            num_parameters=1,
            workload=Workload(source_len=5, decode_steps=4),
            device=None,
            made_from={},
            parity=ParityReport(num_pairs=1, identical=1, torch_bleu=1.0, bundle_bleu=1.0),
            self_test=(),
            sha256={file: sha256_bytes(data) for file, data in contents.items()},
        )
        write_record(folder / "manifest.json", manifest)
        return folder, manifest

    return make


def test_a_bundle_is_stored_tested_timed_and_made_current(make_profile, make_bundle, runtime_dir):
    profile, session = make_profile(), CountingSession()
    folder, manifest = make_bundle("one")
    deployment = deploy(session, profile, folder, manifest, 150.0, runtime_dir)
    assert deployment.bundle_sha256 == sha256_file(folder / "manifest.json")
    assert deployment.self_test_passed
    assert deployment.limit_ms == 150.0
    assert deployment.measurement.total.median_ms > 0
    assert deployment.state.onnxruntime_version
    root = Path(profile.work_dir) / "bundles"
    assert (root / "current").resolve() == Path(deployment.remote_dir)
    assert json.loads((root / "current" / "bundle" / "manifest.json").read_text())["name"] == "one"
    assert (root / "current" / "bundle" / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    assert sorted(session.uploads) == ["__init__.py", "__main__.py", "manifest.json", "model.onnx", "tokenizer.model"]

    session.uploads.clear()
    blob = Path(profile.work_dir) / "blobs" / manifest.sha256["tokenizer.model"]
    blob.write_text("damaged on the device")
    second, changed = make_bundle("two", width=9)
    deployment = deploy(session, profile, second, changed, None, runtime_dir)
    assert sorted(session.uploads) == ["manifest.json", "model.onnx", "tokenizer.model"]
    assert (root / "current").resolve() == Path(deployment.remote_dir)
    assert (root / "current" / "bundle" / "tokenizer.model").read_text() == "good"


def test_a_failed_self_test_leaves_the_old_version_current(make_profile, make_bundle, runtime_dir):
    profile, session = make_profile(), LocalSession("dev")
    current = Path(profile.work_dir) / "bundles" / "current"
    current.parent.mkdir(parents=True)
    current.symlink_to("old")
    with pytest.raises(CommandError, match=r"self-test failed .*`current` is unchanged: sentence 1: got \[5\]"):
        deploy(session, profile, *make_bundle("one", tokenizer="bad"), None, runtime_dir)
    (runtime_dir / "__main__.py").write_text("import sentencepiece_is_missing")
    with pytest.raises(CommandError, match=r"did not run: .*No module named .*mosdeploy devices setup dev"):
        deploy(session, profile, *make_bundle("two"), None, runtime_dir)
    assert current.readlink() == Path("old")


def test_a_bundle_that_is_not_what_its_manifest_says_does_not_leave(make_profile, make_bundle, runtime_dir):
    folder, manifest = make_bundle("one")
    (folder / "tokenizer.model").write_text("another")
    with pytest.raises(StaleInputError, match=r"tokenizer\.model is missing or not what .*mosdeploy export"):
        deploy(LocalSession(), make_profile(), folder, manifest, None, runtime_dir)
    (folder.parent / "secret").write_text("x")
    outside = manifest.model_copy(update={"sha256": {"../secret": sha256_bytes(b"x")}})
    with pytest.raises(StaleInputError, match="secret"):
        deploy(LocalSession(), make_profile(), folder, outside, None, runtime_dir)
