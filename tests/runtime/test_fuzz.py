"""Whatever a bundle says: it is used, or refused with a BundleError, in bounded memory."""

import json
import random
import shutil
from pathlib import Path

import pytest
from encoder_bundles import export_encoder
from fuzzing import change, fuzzed, only
from hypothesis import given
from hypothesis import strategies as st

from mosdeploy.runtime import BundleError, open_model
from mosdeploy.runtime.self_test import run_self_test
from mosdeploy.storage import sha256_bytes

FILES = {"translation": "tokenizer.model", "encoder": "tokenizer.json"}
"""By family, what splits texts."""


def use(folder: Path) -> None:
    """Do with a bundle all that the runtime can do."""
    with only(BundleError):
        model = open_model(folder, threads=1)
        assert isinstance(run_self_test(model).passed, bool)
        lines = ["the cat.", "", "\u00e4rger " * 20]
        assert all(isinstance(line, str) for line in model.predict(lines))
        assert len(model.answer(lines)) == 3


@pytest.fixture(scope="module", params=FILES)
def original(
    request: pytest.FixtureRequest, fp32_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    if request.param == "translation":
        return fp32_bundle
    return export_encoder(tmp_path_factory.mktemp("encoder"), "tagging")


@pytest.fixture(scope="module")
def folder(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with traps beside it and inside."""
    made = Path(shutil.copytree(original, tmp_path_factory.mktemp("fuzz") / "bundle"))
    (made.parent / "secret").write_text("secret")
    (made / "link").symlink_to("../secret")
    (made / "folder").mkdir()
    return made


@fuzzed(120)
@given(data=st.data())
def test_any_manifest_is_used_or_refused(original: Path, folder: Path, data: st.DataObject) -> None:
    manifest = json.loads((original / "manifest.json").read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        change(manifest, data)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    use(folder)


@pytest.mark.parametrize("which", ["model", "tokenizer"])
@fuzzed(60)
@given(seed=st.integers(0, 2**32))
def test_any_file_with_the_right_hash_is_used_or_refused(
    original: Path, folder: Path, which: str, seed: int
) -> None:
    rng = random.Random(seed)
    family = json.loads((original / "manifest.json").read_text())["family"]
    name = "model.onnx" if which == "model" else FILES[family]
    content = bytearray((original / name).read_bytes())
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(len(content))
        if name == "model.onnx" and rng.random() < 0.7:  # the graph, not the weights
            place = rng.choice([place % 3000, len(content) - 1 - place % 3000])
        end = place + rng.choice([0, 1, 1, 1, 4, 100])
        content[place:end] = rng.randbytes(rng.choice([1, 1, 1, 4]))
    manifest = json.loads((original / "manifest.json").read_text())
    manifest["sha256"][name] = sha256_bytes(bytes(content))
    try:
        (folder / name).write_bytes(content)
        (folder / "manifest.json").write_text(json.dumps(manifest))
        use(folder)
    finally:
        shutil.copy(original / name, folder / name)
