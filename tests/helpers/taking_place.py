"""What a process that is killed does to a run folder: without torch, so that it starts at once."""

from pathlib import Path

from mosdeploy.folders import replace_folder
from mosdeploy.storage import disk_errors
from mosdeploy.workspace import Workspace


def take_place(root: Path) -> None:
    """Put the supernet that was trained beside another in its place."""
    files = Workspace(root)
    with disk_errors(files.supernet_dir):
        replace_folder(files.beside.supernet_dir, files.supernet_dir)
