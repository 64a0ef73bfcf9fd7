"""Mixed precision without a GPU."""

from __future__ import annotations

import torch
from mmengine.optim import OptimWrapper

from projects.DistillNeRF.engine.runner import BFloat16OptimWrapper


def test_the_forward_pass_alone_is_in_half_precision():
    model = torch.nn.Linear(2, 2)
    wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    assert isinstance(wrapper, OptimWrapper)
    with wrapper.optim_context(model):
        assert model(torch.ones(1, 2)).dtype == torch.bfloat16
    assert model(torch.ones(1, 2)).dtype == torch.float32
    assert model.weight.dtype == torch.float32
