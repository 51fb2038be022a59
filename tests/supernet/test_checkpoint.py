import errno
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mosdeploy.config.sections import SupernetConfig
from mosdeploy.errors import MosdeployError, StaleInputError
from mosdeploy.families.translation.network import extract
from mosdeploy.spaces.translation import TranslationSpace
from mosdeploy.supernet.checkpoint import (
    load_subnet,
    load_supernet,
    load_training_state,
    save_subnet,
    save_supernet,
    save_training_state,
)
from mosdeploy.supernet.supernet import Supernet


@pytest.fixture
def net(space: TranslationSpace) -> Supernet:
    torch.manual_seed(0)
    return Supernet(
        space, 20, SupernetConfig(router_hidden_dim=8, num_experts=3, dropout=0.2), pad_id=0
    )


def test_a_supernet_comes_back_whole(
    tmp_path: Path, net: Supernet, src: Tensor, prev: Tensor
) -> None:
    path = tmp_path / "run" / "supernet.pt"
    save_supernet(path, net)
    again = load_supernet(path)
    assert (again.space, again.config, again.vocab_size, again.pad_id) == (
        net.space,
        net.config,
        20,
        0,
    )
    assert not again.training
    assert torch.equal(
        again(src, prev, net.space.largest), net.eval()(src, prev, net.space.largest)
    )
    assert [file.name for file in path.parent.iterdir()] == ["supernet.pt"]


def test_a_subnet_comes_back_whole_and_can_be_trained(
    tmp_path: Path, net: Supernet, src: Tensor, prev: Tensor
) -> None:
    path, subnet = tmp_path / "subnet.pt", extract(net, net.space.smallest)
    save_subnet(path, subnet)
    again = load_subnet(path, net)
    assert again.arch == net.space.smallest
    assert not again.training
    assert torch.equal(again(src, prev), subnet(src, prev))
    assert all(parameter.requires_grad for parameter in again.parameters())
    other = Supernet(net.space, 21, net.config, pad_id=0)
    with pytest.raises(
        StaleInputError, match=r"subnet\.pt is corrupt .*run `mosdeploy finetune` again"
    ):
        load_subnet(path, other)


def test_a_training_state_comes_back_whole(tmp_path: Path, net: Supernet) -> None:
    optimiser = torch.optim.Adam(net.parameters(), lr=0.1)
    sum(parameter.sum() for parameter in net.parameters()).backward()
    optimiser.step()
    state = {
        "weights": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "update": 7,
        "best": 1.25,
        "names": ["a", None, True],
        "generator": torch.get_rng_state(),
    }
    save_training_state(tmp_path / "checkpoint.pt", state)
    again = load_training_state(tmp_path / "checkpoint.pt")
    assert {k: again[k] for k in ("update", "best", "names")} == {
        "update": 7,
        "best": 1.25,
        "names": ["a", None, True],
    }
    torch.testing.assert_close(dict(again["weights"]), dict(state["weights"]), rtol=0, atol=0)
    torch.testing.assert_close(
        again["optimiser"]["state"], state["optimiser"]["state"], rtol=0, atol=0
    )
    assert torch.equal(again["generator"], state["generator"])


def test_a_missing_file_names_the_verb(tmp_path: Path) -> None:
    with pytest.raises(
        StaleInputError, match=r"supernet\.pt does not exist; run `mosdeploy train` first"
    ):
        load_supernet(tmp_path / "supernet.pt")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_cut_file_is_refused(tmp_path: Path, net: Supernet, share: float) -> None:
    path = tmp_path / "supernet.pt"
    save_supernet(path, net)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(
        StaleInputError, match=r"supernet\.pt is corrupt .*run `mosdeploy train` again"
    ):
        load_supernet(path)


def test_a_flipped_bit_is_never_read_as_a_number(tmp_path: Path) -> None:
    path, weights = tmp_path / "checkpoint.pt", torch.arange(200.0)
    save_training_state(path, {"weights": weights, "update": 3})
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
            assert state["update"] == 3
    assert refused > 0.5 * len(range(0, len(data), 11))


def test_another_kind_version_or_content_is_refused(tmp_path: Path, net: Supernet) -> None:
    path = tmp_path / "file.pt"
    save_training_state(path, {"update": 1})
    with pytest.raises(
        StaleInputError, match=r"file\.pt is a training state, version 1, where a supernet"
    ):
        load_supernet(path)
    torch.save({"kind": "supernet", "version": 99, "content": {}}, path)
    with pytest.raises(
        StaleInputError, match=r"version 99.*delete it and run `mosdeploy train` again"
    ):
        load_supernet(path)
    for content in ({}, [1, 2], {"space": {"qkv_dim": 8}}):
        torch.save({"kind": "supernet", "version": 1, "content": content}, path)
        with pytest.raises(StaleInputError, match="is corrupt"):
            load_supernet(path)
    for data in ([1, 2], "text", {"kind": "supernet"}):
        torch.save(data, path)
        with pytest.raises(StaleInputError, match="is corrupt"):
            load_supernet(path)


def test_weights_of_another_shape_are_refused(tmp_path: Path, net: Supernet) -> None:
    path = tmp_path / "supernet.pt"
    net.embed.weight = torch.nn.Parameter(torch.zeros(20, 3))
    save_supernet(path, net)
    with pytest.raises(StaleInputError, match=r"supernet\.pt is corrupt"):
        load_supernet(path)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"kind": "supernet", "version": 1, "content": Harmful()}, tmp_path / "supernet.pt")
    with pytest.raises(StaleInputError, match="is corrupt"):
        load_supernet(tmp_path / "supernet.pt")
    assert not (tmp_path / "ran").exists()


def test_a_full_disk_keeps_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save_training_state(path, {"update": 1})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MosdeployError, match=r"no space left to write .*checkpoint\.pt"):
        save_training_state(path, {"update": 2})
    monkeypatch.undo()
    assert load_training_state(path) == {"update": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_what_a_kill_left_behind_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    (tmp_path / ".checkpoint.pt.partial").write_bytes(b"half")
    save_training_state(path, {"update": 1})
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert load_training_state(path) == {"update": 1}


@pytest.mark.parametrize("routing", ["none", "layer", "neuron"])
def test_names_and_order_of_parameters_are_those_of_older_checkpoints(
    space: TranslationSpace, routing: str
) -> None:
    """Optimiser states go by the order."""
    net = Supernet(space, 20, SupernetConfig(routing=routing, router_hidden_dim=8))
    attention = [f"{name}.{kind}" for name in ("q", "k", "v", "out") for kind in ("weight", "bias")]
    norm, ffn = ["weight", "bias"], ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    routers = {"none": [], "layer": ["layer_router"], "neuron": ["fc1_router", "fc2_router"]}[
        routing
    ]
    ffn += [
        f"{name}.{part}.{kind}"
        for name in routers
        for part in ("hidden", "out")
        for kind in ("weight", "bias")
    ]
    parts = {"self_attn": attention, "self_attn_norm": norm, "ffn": ffn, "ffn_norm": norm}
    expected = [
        f"encoder_layers.0.{part}.{name}" for part, names in parts.items() for name in names
    ]
    assert [
        name for name, _ in net.named_parameters() if name.startswith("encoder_layers.0.")
    ] == expected
    assert next(net.named_parameters())[0] == "embed.weight"
