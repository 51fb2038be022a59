"""What a process that is killed does to a run folder: without torch, so that it starts at once."""

from pathlib import Path

from mosdeploy.folders import replace_folder
from mosdeploy.workspace import Workspace


def take_place(root: Path) -> None:
    """Put the supernet that was trained beside another in its place."""
    files = Workspace(root)
    replace_folder(files.beside.supernet_dir, files.supernet_dir)
