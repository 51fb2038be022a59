import shutil
from pathlib import Path

import pytest
from encoder_walking import make_encoder_folder
from walking import make_run_folder, opened


@pytest.fixture(scope="session")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder after every verb from `train` to `report`; tests must not change it."""
    root = make_run_folder(tmp_path_factory.mktemp("walked"))
    run = opened(root)
    run.train()
    run.profile()
    run.search("10s")
    run.evaluate(("largest", "winner"))
    run.export()
    run.deploy()
    run.report()
    return root


@pytest.fixture
def folder(walked: Path, tmp_path: Path) -> Path:
    """A copy of the walked run folder that a test may spoil."""
    # all copies deploy to the same device, where each needs a name of its own
    return Path(shutil.copytree(walked, tmp_path / f"run-{tmp_path.name[-40:]}"))


@pytest.fixture(scope="session")
def trained_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of an encoder after `train`; tests must not change it."""
    root = make_encoder_folder(tmp_path_factory.mktemp("encoder") / "run", "classification")
    opened(root).train()
    return root


@pytest.fixture
def encoder_folder(trained_encoder: Path, tmp_path: Path) -> Path:
    """A copy of the trained run folder that a test may spoil."""
    return Path(shutil.copytree(trained_encoder, tmp_path / "encoder"))
