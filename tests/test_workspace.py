import inspect
from pathlib import Path

from mosdeploy.workspace import Workspace, tokens_path


def test_every_file_has_a_place_of_its_own_in_the_run_folder(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    paths = [
        getattr(workspace, name)
        for name, kind in vars(Workspace).items()
        if type(kind).__name__ == "_Named"
    ]
    for name, method in inspect.getmembers(workspace, inspect.ismethod):
        if name.endswith("_path"):
            arguments = list(inspect.signature(method).parameters)
            paths.append(method(*arguments))
    paths.append(workspace.deployment_path("device"))
    assert len(paths) > 20
    assert len(set(paths)) == len(paths)
    assert all(path.is_relative_to(tmp_path) for path in paths)


def test_paths_by_hand(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert workspace.latency_path("rpi", "short") == tmp_path / "predictors/rpi-short/latency.jsonl"
    assert workspace.deployment_path("rpi", "pi2") == tmp_path / "deployments/rpi@pi2.json"
    subnet = workspace.subnet_path("0123", "finetuned")
    assert subnet.parent == tmp_path / "subnets/0123-finetuned"
    assert tokens_path(subnet.parent, "train").parent == subnet.parent


def test_deployments_tell_the_boards_of_a_kind_apart(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert workspace.deployed_to() == []
    boards = [("local", None), ("rpi", None), ("rpi", "pi2")]
    for device, host in boards:
        path = workspace.deployment_path(device, host)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert workspace.deployed_to() == boards


def test_what_is_trained_beside_another_has_folders_of_its_own(tmp_path: Path) -> None:
    files = Workspace(tmp_path)
    assert files.beside.supernet_path == tmp_path / "supernet-new" / "supernet.safetensors"
    assert files.beside.search_result_path == files.search_result_path
