"""Whatever a bundle says: it is used, or refused with a BundleError, in bounded memory."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from encoder_bundles import export_encoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mosdeploy.runtime import BundleError, open_model
from mosdeploy.runtime.self_test import run_self_test
from mosdeploy.storage import sha256_bytes

FILES = {"translation": "tokenizer.model", "encoder": "tokenizer.json"}
"""By family, what splits texts."""

PATHS = [
    "../secret",
    "/etc/passwd",
    "a/../../b",
    "link",
    "folder",
    "model.onnx",
    "manifest.json",
    "a\x00b",
    "\ud800",
    "",
]
numbers = (
    st.integers()
    | st.floats()
    | st.sampled_from([2**31, 2**53, 2**64, 10**30, -1, 0, 1, 65536, True, 1e308])
)
texts = st.text(max_size=8) | st.sampled_from([*PATHS, "0" * 64, "f" * 64, "x" * 20_000])
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def change(manifest: dict[str, Any], data: st.DataObject) -> None:
    """Change one place, at any depth: another value, one more, one less, or a number or text like
    the one there.
    """
    where: Any = manifest
    while True:
        key = data.draw(
            st.sampled_from(sorted(where))
            if isinstance(where, dict)
            else st.sampled_from(range(len(where)))
        )
        inside = where[key]
        if not isinstance(inside, (dict, list)) or not inside or data.draw(st.integers(0, 3)) == 0:
            break
        where = inside
    kind = data.draw(st.sampled_from(["replace", "near", "add", "remove"]))
    if kind == "near" and type(inside) is int:
        where[key] = inside + data.draw(st.sampled_from([-1, 1, 2, 100, 10**6, -(10**6)]))
    elif kind == "near" and isinstance(inside, str):
        where[key] = data.draw(texts) + inside
    elif kind == "remove":
        del where[key]
    elif kind == "add" and isinstance(where, dict):
        where[data.draw(texts)] = data.draw(values)
    elif kind == "add":
        where.insert(key, data.draw(values))
    else:
        where[key] = data.draw(values)


def use(folder: Path) -> None:
    """Do with a bundle all that the runtime can do."""
    try:
        model = open_model(folder, threads=1)
        assert isinstance(run_self_test(model).passed, bool)
        lines = ["the cat.", "", "\u00e4rger " * 20]
        assert all(isinstance(line, str) for line in model.predict(lines))
        assert len(model.answer(lines)) == 3
    except BundleError as error:
        assert str(error)


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


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_manifest_is_used_or_refused(original: Path, folder: Path, data: st.DataObject) -> None:
    manifest = json.loads((original / "manifest.json").read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        change(manifest, data)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    use(folder)


@pytest.mark.parametrize("which", ["model", "tokenizer"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
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
