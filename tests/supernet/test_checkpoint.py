import errno
import json
import os
import resource
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from faults import UNREADABLE
from supernet_fixtures import toy_ids, toy_supernet
from toy_family.network import fresh_supernet
from toy_family.words import CipherSpace

from mosdeploy.errors import MosdeployError, StaleInputError
from mosdeploy.supernet.checkpoint import (
    load_subnet,
    load_supernet,
    load_training_state,
    save_subnet,
    save_supernet,
    save_training_state,
)
from mosdeploy.supernet.supernet import Supernet, extract
from mosdeploy.training.trainer import EagerAdam


@pytest.fixture
def net() -> Supernet:
    return toy_supernet(num_experts=3, dropout=0.2)


def test_a_supernet_comes_back_whole(tmp_path: Path, net: Supernet) -> None:
    path = tmp_path / "run" / "supernet.safetensors"
    save_supernet(path, net)
    again = load_supernet(path, CipherSpace, fresh_supernet)
    assert (again.space, again.config, again.vocab_size) == (net.space, net.config, 9)
    assert not again.training
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), net.parameters(), strict=True))
    largest = net.space.largest
    assert torch.equal(again((toy_ids(),), largest), net.eval()((toy_ids(),), largest))
    assert [file.name for file in path.parent.iterdir()] == ["supernet.safetensors"]


def test_a_subnet_comes_back_whole_and_can_be_trained(tmp_path: Path, net: Supernet) -> None:
    path = tmp_path / "subnet.safetensors"
    subnet = extract(net, net.space.smallest)
    save_subnet(path, subnet)
    again = load_subnet(path, net.space, net.skeleton)
    assert again.arch == net.space.smallest
    assert not again.training
    assert torch.equal(again(toy_ids()), subnet(toy_ids()))
    again(toy_ids()).sum().backward()
    with torch.no_grad():
        next(again.parameters()).zero_()
    assert torch.equal(load_subnet(path, net.space, net.skeleton)(toy_ids()), subnet(toy_ids()))
    other = fresh_supernet(net.space, 10, net.config, seed=0)
    message = r"subnet\.safetensors is corrupt .*run `mosdeploy finetune` again"
    with pytest.raises(StaleInputError, match=message):
        load_subnet(path, other.space, other.skeleton)


def test_a_training_state_comes_back_whole(tmp_path: Path, net: Supernet) -> None:
    optimiser = EagerAdam(net.parameters(), lr=0.1)
    sum(parameter.sum() for parameter in net.parameters()).backward()
    optimiser.step()
    plain = {"step": 7, "best": 1.25, "names": ["a", None, True]}
    state = {
        "weights": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "generator": torch.get_rng_state(),
        **plain,
    }
    save_training_state(tmp_path / "checkpoint.pt", state)
    again = load_training_state(tmp_path / "checkpoint.pt")
    assert {name: again[name] for name in plain} == plain
    torch.testing.assert_close(dict(again["weights"]), dict(state["weights"]), rtol=0, atol=0)
    theirs = again["optimiser"]["state"]
    torch.testing.assert_close(theirs, state["optimiser"]["state"], rtol=0, atol=0)
    assert torch.equal(again["generator"], state["generator"])


def test_a_missing_file_names_the_verb(tmp_path: Path, net: Supernet) -> None:
    with pytest.raises(StaleInputError, match=r"x does not exist; run `mosdeploy train` first"):
        load_supernet(tmp_path / "x", CipherSpace, fresh_supernet)
    with pytest.raises(StaleInputError, match=r"x does not exist; run `mosdeploy finetune` first"):
        load_subnet(tmp_path / "x", net.space, net.skeleton)
    with pytest.raises(StaleInputError, match=r"x does not exist; run the same command first"):
        load_training_state(tmp_path / "x")


@pytest.mark.parametrize(
    ("target", "reason"), [(UNREADABLE, "Input/output error"), ("/", "Is a directory")]
)
def test_what_cannot_be_read_is_not_called_corrupt(
    tmp_path: Path, net: Supernet, target: str, reason: str
) -> None:
    path = tmp_path / "file"
    path.symlink_to(target)
    loads = (
        lambda: load_supernet(path, CipherSpace, fresh_supernet),
        lambda: load_subnet(path, net.space, net.skeleton),
        lambda: load_training_state(path),
    )
    for load in loads:
        with pytest.raises(StaleInputError, match=rf"file cannot be read: {reason}$"):
            load()


def test_a_lack_of_memory_is_not_called_damage(tmp_path: Path, net: Supernet) -> None:
    save_supernet(tmp_path / "supernet", net)

    def build(*arguments: Any) -> Supernet:
        torch.empty(2**60, dtype=torch.uint8)
        return fresh_supernet(*arguments)

    with pytest.raises(RuntimeError, match="allocate memory"):
        load_supernet(tmp_path / "supernet", CipherSpace, build)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_cut_file_is_refused(tmp_path: Path, net: Supernet, share: float) -> None:
    path = tmp_path / "supernet.safetensors"
    save_supernet(path, net)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    message = r"supernet\.safetensors is corrupt .*run `mosdeploy train` again"
    with pytest.raises(StaleInputError, match=message):
        load_supernet(path, CipherSpace, fresh_supernet)


def test_a_flipped_bit_of_a_network_is_refused(tmp_path: Path, net: Supernet) -> None:
    """Wherever it is: in the header, the metadata or the weights."""
    path = tmp_path / "supernet.safetensors"
    save_supernet(path, net)
    data = path.read_bytes()
    for position in range(0, len(data), 23):
        path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        try:
            again = load_supernet(path, CipherSpace, fresh_supernet)
        except StaleInputError:
            continue
        # spaces that fill up the header carry nothing
        assert data[position : position + 1] == b" "
        pairs = zip(again.parameters(), net.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_a_flipped_bit_is_never_read_as_a_number(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    weights = torch.arange(200.0)
    save_training_state(path, {"weights": weights, "step": 3})
    data = path.read_bytes()
    refused = 0
    for position in range(0, len(data), 11):
        path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        try:
            state = load_training_state(path)
        except StaleInputError:
            refused += 1
        else:  # dates and padding of the archive carry nothing
            assert torch.equal(state["weights"], weights)
            assert state["step"] == 3
    assert refused > 0.5 * len(range(0, len(data), 11))


def test_another_kind_is_refused(tmp_path: Path, net: Supernet) -> None:
    path = tmp_path / "file"
    save_subnet(path, extract(net, net.space.smallest))
    with pytest.raises(StaleInputError, match=r"file is a subnet, version 2, where a supernet, v"):
        load_supernet(path, CipherSpace, fresh_supernet)
    save_training_state(path, {"step": 1})
    with pytest.raises(StaleInputError, match=r"file is corrupt .*run `mosdeploy train` again"):
        load_supernet(path, CipherSpace, fresh_supernet)
    save_supernet(path, net)
    with pytest.raises(StaleInputError, match=r"file is corrupt .*run the same command again"):
        load_training_state(path)


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    metadata = {"mosdeploy": json.dumps({"kind": "supernet", "version": "99"})}
    safetensors.torch.save_file({"x": torch.ones(1)}, path, metadata)
    message = r"version 99, where .*delete it and run `mosdeploy train` again"
    with pytest.raises(StaleInputError, match=message):
        load_supernet(path, CipherSpace, fresh_supernet)
    torch.save({"kind": "training state", "version": 1, "content": {}}, path)
    with pytest.raises(StaleInputError, match=r"a training state, version 1, where a training"):
        load_training_state(path)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "no JSON",
        '{"kind": "supernet", "version": "2"}',
        '{"kind": "supernet", "version": "2", "sha256": 3}',
    ],
)
def test_a_foreign_safetensors_file_is_refused(tmp_path: Path, entry: str | None) -> None:
    path = tmp_path / "file"
    metadata = None if entry is None else {"mosdeploy": entry}
    safetensors.torch.save_file({"x": torch.ones(1)}, path, metadata)
    with pytest.raises(StaleInputError, match="is corrupt"):
        load_supernet(path, CipherSpace, fresh_supernet)


def test_a_pickle_that_runs_code_does_not_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)

    path = tmp_path / "state.pt"
    torch.save({"kind": "training state", "version": 2, "content": Harmful()}, path)
    with pytest.raises(StaleInputError, match="is corrupt"):
        load_training_state(path)
    assert not (tmp_path / "ran").exists()


def test_a_full_disk_keeps_the_older_file(
    tmp_path: Path, net: Supernet, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_training_state(tmp_path / "checkpoint.pt", {"step": 1})
    save_supernet(tmp_path / "supernet", net)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MosdeployError, match=r"no space left to write .*checkpoint\.pt"):
        save_training_state(tmp_path / "checkpoint.pt", {"step": 2})
    with pytest.raises(MosdeployError, match=r"no space left to write .*supernet"):
        save_supernet(tmp_path / "supernet", toy_supernet(seed=1))
    monkeypatch.undo()
    assert load_training_state(tmp_path / "checkpoint.pt") == {"step": 1}
    assert load_supernet(tmp_path / "supernet", CipherSpace, fresh_supernet).config == net.config
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint.pt", "supernet"]


@pytest.mark.parametrize("max_bytes", [1, 10_000, 1_000_000, 1_000_800])
def test_a_disk_that_fails_in_the_middle_is_named(tmp_path: Path, max_bytes: int) -> None:
    path = tmp_path / "checkpoint.pt"
    save_training_state(path, {"step": 1})
    state = {"weights": torch.zeros(249_900), "step": 2}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, hard))
    try:
        with pytest.raises(MosdeployError, match=r"cannot write .*checkpoint\.pt: File too large"):
            save_training_state(path, state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load_training_state(path) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]
    save_training_state(path, state)
    assert path.stat().st_size > 1_000_800


def test_a_training_state_is_written_without_a_copy_of_it(tmp_path: Path) -> None:
    state = {"weights": {str(i): torch.zeros(250_000) for i in range(8)}}  # 8 MB
    tracemalloc.start()
    try:
        save_training_state(tmp_path / "checkpoint.pt", state)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1_000_000


def test_the_same_network_is_the_same_file(tmp_path: Path) -> None:
    net = toy_supernet()
    files = [tmp_path / str(i) for i in range(8)]
    for path in files:
        save_supernet(path, net)
    assert len({path.read_bytes() for path in files}) == 1
