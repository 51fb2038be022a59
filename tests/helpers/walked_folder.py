import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from encoder_walking import make_encoder_folder
from power import Disk
from walking import make_run_folder, opened

from mosdeploy.records import Deployment
from mosdeploy.run_folder.bundles import deployment_slot
from mosdeploy.run_folder.run import open_run
from mosdeploy.storage import read_record, write_record


@dataclass(frozen=True)
class Walk:
    """A walked folder, and after each verb what a cut of the power would have lost."""

    root: Path
    lost: dict[str, list[str]]


@pytest.fixture(scope="session")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """A run folder after every verb from `train` to `report`; tests must not change it."""
    root = make_run_folder(tmp_path_factory.mktemp("walked"))
    run = opened(root)
    lost = {}
    verbs: dict[str, Callable[[], object]] = {
        "train": run.train,
        "profile": run.profile,
        "search": lambda: run.search("10s"),
        "evaluate": lambda: run.evaluate(("largest", "winner")),
        "export": run.export,
        "deploy": run.deploy,
        "report": run.report,
    }
    with pytest.MonkeyPatch.context() as patch:
        # locks hold nothing; a device has a disk of its own
        disk = Disk(root, ("*.lock", "device"), patch)
        for name, verb in verbs.items():
            verb()
            lost[name] = disk.lost()
    return Walk(root, lost)


@pytest.fixture(scope="session")
def walked(walk: Walk) -> Path:
    """The folder of the walk; tests must not change it."""
    return walk.root


@pytest.fixture
def folder(walked: Path, tmp_path: Path) -> Path:
    """A copy of the walked run folder that a test may spoil."""
    # all copies deploy to the same device, where each needs a name of its own
    root = Path(shutil.copytree(walked, tmp_path / f"run-{tmp_path.name[-40:]}"))
    run = open_run(root)
    path = run.workspace.deployment_path("local")
    deployment = read_record(Deployment, path, "mosdeploy deploy")
    there = PurePosixPath(deployment.remote_dir)
    # as if it had been deployed under that name
    remote_dir = there.parent.with_name(deployment_slot(run).name) / there.name
    write_record(path, deployment.model_copy(update={"remote_dir": str(remote_dir)}))
    return root


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
