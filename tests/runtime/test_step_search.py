from collections.abc import Callable

import numpy as np
import pytest
import torch
from bundles import EOS_ID, SPACE, VOCAB_SIZE, in_torch, lively_subnet
from networks import train_to_reverse
from torch import nn

from mosdeploy.runtime.manifest import TranslationSettings
from mosdeploy.runtime.step_search import CHUNK, largest, search

BOS_ID = 2


def settings(beam: int, max_steps: int, length_penalty: float = 0.6) -> TranslationSettings:
    return TranslationSettings(0, BOS_ID, EOS_ID, beam, length_penalty, 99, max_steps)


@pytest.fixture(scope="module")
def subnet() -> nn.Module:
    return lively_subnet(SPACE)


@pytest.fixture(scope="module")
def reverser() -> nn.Module:
    """Its sentences end."""
    return train_to_reverse()


def steps_of(subnet: nn.Module, source: list[int], beam: int) -> Callable:
    """The decode steps of a subnet in torch, as the search asks for them."""
    rows = torch.zeros(beam, dtype=torch.long)
    state = subnet.start(subnet.encode(torch.tensor([[*source, EOS_ID]]))).reorder(rows)

    def step(tokens: np.ndarray, parents: np.ndarray) -> np.ndarray:
        nonlocal state
        assert tokens.dtype == parents.dtype == np.int32
        logits, state = subnet.step(
            torch.tensor(tokens)[:, None].long(), state.reorder(torch.tensor(parents).long())
        )
        return logits.numpy()

    return step


@pytest.mark.parametrize("length_penalty", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("beam", [1, 2, 5])
@torch.inference_mode()
def test_it_finds_what_torch_finds(subnet: nn.Module, beam: int, length_penalty: float) -> None:
    rng = np.random.default_rng(beam)
    sources = [rng.integers(4, VOCAB_SIZE, length).tolist() for length in rng.integers(1, 12, 20)]
    expected = in_torch(subnet, sources, beam, max_steps=15, length_penalty=length_penalty)
    found = [
        search(steps_of(subnet, source, beam), settings(beam, 15, length_penalty))
        for source in sources
    ]
    assert found == expected
    lengths = {len(ids) for ids in expected}
    assert 15 in lengths and len(lengths) > 2, (
        "the test needs sentences that end, and some that do not"
    )


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
@torch.inference_mode()
def test_a_beam_closes_when_torch_closes_it(reverser: nn.Module, length_penalty: float) -> None:
    rng = np.random.default_rng(0)
    sources = [rng.integers(4, 12, length).tolist() for length in rng.integers(1, 6, 40)]
    expected = in_torch(reverser, sources, 3, max_steps=12, length_penalty=length_penalty)
    found = [
        search(steps_of(reverser, source, 3), settings(3, 12, length_penalty)) for source in sources
    ]
    assert found == expected
    assert 0 < sum(map(len, expected)) < 12 * len(sources), "the test needs sentences that end"


@pytest.mark.parametrize("beam", [1, 3])
def test_no_step_gives_no_ids(beam: int) -> None:
    def refuse(tokens: np.ndarray, parents: np.ndarray) -> np.ndarray:
        raise AssertionError("no step was asked for")

    assert search(refuse, settings(beam, 0)) == []


@pytest.mark.parametrize("beam", [1, 3])
def test_the_least_number_of_steps_changes_no_answer(beam: int) -> None:
    made = 0

    def step(tokens: np.ndarray, parents: np.ndarray) -> np.ndarray:
        nonlocal made
        made += 1
        logits = np.full((len(tokens), 8), -20.0, np.float32)
        logits[:, 4 if made < 3 else EOS_ID] = 0.0
        return logits

    free = search(step, settings(beam, 20))
    stopped_after = made
    made = 0
    assert search(step, settings(beam, 20), min_steps=11) == free == [4, 4]
    assert made == 11 > stopped_after


@pytest.mark.parametrize("size", [7, CHUNK, 5 * CHUNK + 3, 40 * CHUNK, 40 * CHUNK + 1])
def test_the_largest_are_those_of_a_whole_sort(size: int) -> None:
    rng = np.random.default_rng(size)
    for values in (
        rng.standard_normal(size),
        rng.integers(0, 4, size),
        np.zeros(size),
        np.arange(size),
    ):
        row = np.asarray(values, np.float32)
        row[rng.integers(0, size)] = -np.inf
        expected = np.argsort(-row, kind="stable")[:6]
        assert largest(row, 6).tolist() == expected.tolist()
