import pytest
import torch

from mosdeploy.supernet.dropout import Dropout, drop


@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_so_many_activations_are_zero_and_the_rest_are_scaled(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    x = torch.ones(401, 997, dtype=dtype)
    y = drop(x, p)
    assert y.shape == x.shape
    assert y.dtype == dtype
    is_zero = y == 0
    # six standard deviations of so many draws
    bound = 6 * (p * (1 - p) / x.numel()) ** 0.5
    assert abs(is_zero.float().mean().item() - p) < bound
    torch.testing.assert_close(y[~is_zero], torch.full_like(y[~is_zero], 1 / (1 - p)))
    # neither rows nor columns nor neighbours depend on each other
    zeros = is_zero.float() - p
    for shift, dim in ((1, 0), (1, 1), (2, 1), (4, 1)):
        alike = (zeros * zeros.roll(shift, dim)).mean().item() / (p * (1 - p))
        assert abs(alike) < 6 / x.numel() ** 0.5


def test_a_share_next_to_one_drops_all_but_few() -> None:
    torch.manual_seed(1)
    assert (drop(torch.ones(1000), 1 - 2**-18) == 0).sum() > 990


def test_the_gradient_passes_where_the_activation_did() -> None:
    torch.manual_seed(1)
    x = torch.randn(7, 5, requires_grad=True)
    y = drop(x, 0.4)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.where(y == 0, 0.0, 1 / 0.6))


def test_the_seed_gives_the_mask() -> None:
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(drop(torch.ones(64, 3), 0.5))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_a_second_mask_is_another_one() -> None:
    torch.manual_seed(1)
    assert not torch.equal(drop(torch.ones(256), 0.5), drop(torch.ones(256), 0.5))


@pytest.mark.parametrize("shape", [(), (0, 4), (1,), (3,), (2, 3, 5)])
def test_any_shape_is_kept(shape: tuple[int, ...]) -> None:
    assert drop(torch.ones(shape), 0.3).shape == shape


def test_nothing_is_dropped_in_eval_mode_or_without_a_probability() -> None:
    x = torch.randn(3, 4)
    assert Dropout(0.9).eval()(x) is x
    assert drop(x, 0.9, training=False) is x
    assert Dropout(0.0).train()(x) is x
