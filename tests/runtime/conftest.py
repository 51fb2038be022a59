import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import export
from encoder_bundles import export_encoder

from mosdeploy.storage import sha256_file


@pytest.fixture(scope="session")
def fp32_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("fp32"), "fp32")


@pytest.fixture(scope="session")
def int8_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("int8"), "int8")


@pytest.fixture
def bundle(fp32_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(fp32_bundle, tmp_path / "bundle"))


@pytest.fixture
def edit(bundle: Path) -> Callable[..., None]:
    """Change the manifest by a function of its data, and bring the hashes up to date first if
    asked.
    """

    def change(function: Callable[[dict], object], rehash: bool = False) -> None:
        path = bundle / "manifest.json"
        data = json.loads(path.read_text())
        if rehash:
            data["sha256"] = {name: sha256_file(bundle / name) for name in data["sha256"]}
        function(data)
        path.write_text(json.dumps(data))

    return change


@pytest.fixture
def replace(bundle: Path, edit: Callable) -> Callable[[str, bytes], None]:
    """Put another file in place, with a manifest that agrees: hashes prove nothing about who wrote
    both.
    """

    def put(name: str, content: bytes) -> None:
        (bundle / name).write_bytes(content)
        edit(lambda data: None, rehash=True)

    return put


@pytest.fixture
def encoder_bundle(tmp_path: Path) -> Path:
    return export_encoder(tmp_path, "classification")
