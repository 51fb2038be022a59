"""Bundles whose runtime is a few lines, and a look at the version that is live."""

import json

from example_spaces import space_of
from tiny_onnx import tiny_model
from watching import STAGES

from mosdeploy.devices.connect import LocalSession
from mosdeploy.devices.deploy import DeploymentRequest, DeploymentSlot
from mosdeploy.devices.on_device.slots import deduplicate
from mosdeploy.records import BundleManifest, Measurement, ParityReport, Timing
from mosdeploy.spaces.translation import TranslationWorkload
from mosdeploy.storage import sha256_bytes, write_record

SLOT = DeploymentSlot("en-de", owner="pc:/en-de")
RUNTIME = """
import json, pathlib, sys
passed = "bad" not in (pathlib.Path(sys.argv[1]) / "tokenizer.model").read_text()
failures = [] if passed else ["example 1: got [5], expected [6]"]
print(json.dumps({"passed": passed, "failures": failures}))
sys.exit(not passed)
"""


def write_request(folder, runtime_dir, tokenizer="good", width=8, more=b""):
    """A bundle that passes its self-test if its tokenizer is not `bad`, as a request; `more` is the
    content of one more file.
    """
    folder.mkdir(parents=True)
    contents = {"model.onnx": tiny_model(width), "tokenizer.model": tokenizer.encode()}
    contents |= {"more.bin": more} if more else {}
    for file, data in contents.items():
        (folder / file).write_bytes(data)
    arch = space_of(embed_dim=(8,), layers=(1,), ffn_dim=(8,), heads=(1,), qkv_dim=8).largest
    manifest = BundleManifest(
        name=folder.name,
        precision="fp32",
        settings={"beam": 1},
        vocab_size=50,
        arch=arch,
        num_parameters=1,
        workload=TranslationWorkload(source_len=5, decode_steps=4),
        device=None,
        provenance={},
        parity=ParityReport(
            metric="accuracy", num_examples=1, identical=1, torch_score=1.0, bundle_score=1.0
        ),
        self_test=(),
        sha256={file: sha256_bytes(data) for file, data in contents.items()},
    )
    write_record(folder / "manifest.json", manifest)
    return DeploymentRequest(folder, manifest, STAGES, runtime_dir=runtime_dir)


def taking(ms, memory_bytes=None, **tails):
    """A measurement as a model of so many milliseconds has it."""
    usual = {"median_ms": ms, "p90_ms": ms, "p99_ms": ms, "minimum_ms": 0.5, "repeats": 1}
    total = Timing(**usual | tails)
    return Measurement(total=total, memory_bytes=memory_bytes)


def live(bundles):
    """Name in the manifest of the current version, whose files must all be there and whole."""
    version = (bundles / "current").resolve().name
    assert deduplicate(bundles, version) == {"missing": []}
    return json.loads((bundles / "current" / "bundle" / "manifest.json").read_text())["name"]


class CountingSession(LocalSession):
    """A session that remembers which files it sent."""

    def __init__(self):
        super().__init__("dev")
        self.uploads = []

    def put(self, local_path, remote_path):
        self.uploads.append(local_path.name)
        super().put(local_path, remote_path)
