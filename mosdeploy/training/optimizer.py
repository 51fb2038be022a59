"""The optimiser of a training: Adam, or AdamW where weights decay."""

import inspect

import torch
from torch import nn

from ..config.sections import TrainingConfig


class EagerAdam(torch.optim.Adam):
    """PyTorch's Adam without the wrappers by which `torch.compile` knows its methods."""

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)


def make_optimizer(net: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba, 2015); with `weight_decay` AdamW (Loshchilov & Hutter, 2019), whose decay
    is apart from the gradient.
    """
    lr = config.learning_rate
    betas = config.adam_betas
    if not config.weight_decay:
        return EagerAdam(net.parameters(), lr=lr, betas=betas, fused=True)
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for name, parameter in net.named_parameters():
        # the biases of experts are matrices too, (m, O)
        is_vector = parameter.ndim < 2 or name.endswith("bias")
        (vectors if is_vector else matrices).append(parameter)
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return EagerAdam(groups, lr=lr, betas=betas, fused=True, decoupled_weight_decay=True)
