import shutil
from pathlib import Path

import pytest
from walking import Silent, make_run_folder


@pytest.fixture(scope="session")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that was walked from train to report on this machine; tests must not change it."""
    from mosdeploy import pipeline
    from mosdeploy.records import Limits

    root = make_run_folder(tmp_path_factory.mktemp("walked"))
    run, ssh_config, progress = pipeline.open_run(root), root / "no-ssh-config", Silent()
    pipeline.train(run, progress)
    pipeline.profile(run, None, None, ssh_config, progress)
    pipeline.search(run, None, Limits(max_latency_ms=10_000.0), True, ssh_config, progress)
    pipeline.evaluate(run, ("largest", "winner"), None, progress)
    pipeline.export(run, "winner", None, None, progress)
    pipeline.deploy(run, None, None, ssh_config, progress)
    pipeline.report(run)
    return root


@pytest.fixture
def folder(walked: Path, tmp_path: Path) -> Path:
    """A copy of the walked run folder that a test may spoil."""
    return Path(shutil.copytree(walked, tmp_path / "run"))
