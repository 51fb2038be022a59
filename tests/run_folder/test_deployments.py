"""What a run folder is called on a device."""

import platform
from pathlib import Path

import pytest
from walking import edit, make_run_folder

from mosdeploy.run_folder.bundles import deployment_slot
from mosdeploy.run_folder.run import open_run


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("en-de", "en-de"),
        ("My models (new)", "My-models-new"),
        (".en--de_", "en-de_"),
        ("Übersetzer", "bersetzer"),
        ("翻訳", "run"),
        ("a" * 63 + "-b", "a" * 63),
    ],
)
def test_the_name_is_that_of_the_folder(tmp_path: Path, folder: str, name: str) -> None:
    root = make_run_folder(tmp_path / folder)
    channel = deployment_slot(open_run(root))
    assert (channel.name, channel.is_shared) == (name, False)
    assert channel.owner == f"{platform.node()}:{root}"
    edit(root / "mosdeploy.toml", "[workload]", f'[deploy]\nname = "{name}"\n\n[workload]')
    named = deployment_slot(open_run(root))  # the names that are made up are allowed ones
    assert (named.name, named.is_shared) == (name, True)
