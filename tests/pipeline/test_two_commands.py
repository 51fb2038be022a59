"""Two commands of one run folder at once: none ends what the other times on a device."""

from pathlib import Path

import pytest
from walking import opened

from mosdeploy.errors import DeviceBusyError
from mosdeploy.pipeline.exporting.runtime import select_fastest
from mosdeploy.run_folder.context import Context
from mosdeploy.run_folder.devices import resolve_profile, sole_deployment
from mosdeploy.run_folder.run import open_run


@pytest.mark.slow
def test_another_command_of_the_folder_keeps_the_device(folder: Path) -> None:
    context = Context(open_run(folder))
    device = resolve_profile(folder, "local", None)
    run = opened(folder)
    built = {"onnxruntime": run.export()}
    deployed = sorted((folder / "deployments").glob("*.json"))
    with sole_deployment(context, device):
        for verb in (run.deploy, run.verify, lambda: select_fastest(context, device, built, {})):
            with pytest.raises(DeviceBusyError, match=f"another command of {folder} tests"):
                verb()
        with pytest.raises(DeviceBusyError, match=f"another command of {folder} tests"):
            run.deploy("local", rollback=True)
    assert sorted((folder / "deployments").glob("*.json")) == deployed
    assert run.deploy().self_test_passed


def test_a_board_has_one_lock_under_all_its_names(folder: Path) -> None:
    profiles = folder / "device_profiles"
    for name in ("pi", "kitchen"):
        (profiles / f"{name}.toml").write_text(f'name = "{name}"\nkind = "ssh"\nhost = "pi1"\n')
    context = Context(open_run(folder))
    first, same, other = (
        resolve_profile(folder, *board)
        for board in (("pi", None), ("kitchen", "pi1"), ("pi", "pi2"))
    )
    with (
        sole_deployment(context, first),
        sole_deployment(context, other),
        pytest.raises(DeviceBusyError),
        sole_deployment(context, same),
    ):
        pass
