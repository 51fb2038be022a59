"""Cross-entropy, against PyTorch's."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mosdeploy.data.cross_entropy import cross_entropy

IGNORED = -100


def examples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(40, 7, generator=generator, dtype=torch.float64)
    targets = torch.randint(7, (40,), generator=generator)
    targets[::5] = IGNORED
    return logits.requires_grad_(), targets


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
def test_losses_and_gradients_are_those_of_torch(label_smoothing: float) -> None:
    logits, targets = examples()
    wanted = F.cross_entropy(
        logits, targets, ignore_index=IGNORED, label_smoothing=label_smoothing, reduction="none"
    )
    found = cross_entropy(logits, targets, IGNORED, label_smoothing)
    torch.testing.assert_close(found, wanted)
    # each loss has a weight of its own
    weights = torch.rand(len(targets), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * wanted).sum(), logits)
    (own,) = torch.autograd.grad((weights * found).sum(), logits)
    torch.testing.assert_close(own, gradient)
    assert not own[targets == IGNORED].any()


def test_an_unlikely_target_has_a_finite_loss() -> None:
    logits = torch.tensor([[0.0, 1000.0]], requires_grad=True)
    found = cross_entropy(logits, torch.tensor([0]), IGNORED)
    assert found.item() == 1000
    torch.autograd.backward([found.sum()])
    assert logits.grad is not None
    assert logits.grad.tolist() == [[-1.0, 1.0]]


def test_a_gradient_is_taken_once() -> None:
    logits, targets = examples()
    loss = cross_entropy(logits, targets, IGNORED).sum()
    torch.autograd.backward([loss], retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward([loss])
