"""Two copies of a run folder on one device: neither ends what the other measures there, nor removes
what it has deployed.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, MOSDEPLOY
from walking import edit, opened
from watching import is_alive, wait_for

from mosdeploy.errors import DeviceBusyError
from mosdeploy.export.bundle import read_manifest
from mosdeploy.run_folder.devices import clean_device, run_profile
from mosdeploy.workspace import Workspace

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def stopped_agent(root: Path, device: Path, *words: str) -> Iterator[int]:
    """Run a verb whose agent stands still for as long as the context lasts, and is then to end
    well: the agent's pid.
    """
    process = subprocess.Popen(
        [*MOSDEPLOY, *words],
        cwd=root,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: process.poll() is not None or list(device.glob("jobs/*/pid")))
    (path,) = device.glob("jobs/*/pid")
    pid = int(path.read_text())
    os.killpg(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGCONT)
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors


@pytest.mark.parametrize(
    ("verb", "name"),
    [("profile", "run"), ("deploy", "run"), ("deploy", "both"), ("compare", "run")],
)
def test_a_copy_leaves_the_agent_and_the_bundles_of_the_other(
    walked: Path, tmp_path: Path, verb: str, name: str
) -> None:
    device = tmp_path / "device"
    first = Path(
        shutil.copytree(walked, tmp_path / "one" / "run", ignore=shutil.ignore_patterns("device"))
    )
    edit(first / "device_profiles" / "local.toml", str(walked / "device"), str(device))
    if name != "run":
        edit(first / "mosdeploy.toml", "[workload]", f'[deploy]\nname = "{name}"\n[workload]')
    latencies = Workspace(first).latency_path("local", "sentence")
    latencies.write_bytes(b"".join(latencies.read_bytes().splitlines(keepends=True)[:-2]))
    opened(first).deploy()
    shutil.rmtree(device / "jobs")
    opened(first).export(precision="int8")
    second = opened(Path(shutil.copytree(first, tmp_path / "two" / "run")))
    bundles = sorted(x.name for x in (first / "bundles").iterdir() if (x / "model.onnx").exists())
    profile = run_profile(second.root, "local")
    disturbances: tuple[Callable[[], object], ...] = (
        second.deploy,
        second.profile,
        lambda: second.compare(bundles),
        lambda: clean_device(profile, remove=True),
    )
    # only a deployment depends on the name
    num_disturbances = len(disturbances) if name == "run" else 1
    with stopped_agent(first, device, verb, *(bundles if verb == "compare" else ())) as pid:
        for disturb in disturbances[:num_disturbances]:
            with pytest.raises(DeviceBusyError, match=f"pid {pid}"):
                disturb()
            assert is_alive(pid)
    clean_device(profile, remove=True)
    read_manifest(device / "bundles" / name / "current" / "bundle")
