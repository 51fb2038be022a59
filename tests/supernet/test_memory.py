"""What is told of a network that the memory cannot hold."""

import pytest
import torch

from mosdeploy.config import load_recipe
from mosdeploy.errors import MosdeployError
from mosdeploy.supernet.memory import memory_errors


def test_the_widths_of_a_network_without_memory_are_told() -> None:
    told = r"up to encoder_embed_dim = 128, .*qkv_dim = 128; give smaller ones: .*--dry-run"
    with pytest.raises(MosdeployError, match=told), memory_errors(load_recipe("tiny").space):
        torch.empty(2**56)


def test_other_failures_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory_errors(load_recipe("tiny").space):
        torch.empty(3).reshape(2)
