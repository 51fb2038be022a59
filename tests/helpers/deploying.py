"""Bundles whose runtime is a few lines, and a look at the version that is live."""

import json

from example_spaces import space_of
from tiny_onnx import tiny_model

from mosdeploy.devices.on_device.versions import gather
from mosdeploy.records import BundleManifest, ParityReport
from mosdeploy.spaces.translation import TranslationWorkload
from mosdeploy.storage import sha256_bytes, write_record

RUNTIME = """
import json, pathlib, sys
passed = "bad" not in (pathlib.Path(sys.argv[1]) / "tokenizer.model").read_text()
print(json.dumps({"passed": passed, "failures": [] if passed else ["sentence 1: got [5], expected [6]"]}))
sys.exit(not passed)
"""


def write_bundle(folder, tokenizer="good", width=8, more=b""):
    """A bundle that passes its self-test if its tokenizer is not `bad`; `more` is the content of
    one more file.
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
        workload=TranslationWorkload(source_len=5, decode_steps=4),
        device=None,
        inputs_sha256={},
        parity=ParityReport(num_pairs=1, identical=1, torch_bleu=1.0, bundle_bleu=1.0),
        self_test=(),
        sha256={file: sha256_bytes(data) for file, data in contents.items()},
    )
    write_record(folder / "manifest.json", manifest)
    return folder, manifest


def live(bundles):
    """Name in the manifest of the version that is current, whose files must all be there and whole."""
    version = (bundles / "current").resolve().name
    assert gather(bundles, version) == {"missing": []}
    return json.loads((bundles / "current" / "bundle" / "manifest.json").read_text())["name"]
