"""Keep geometry out of autocast: coordinates, cells and transmittance are computed in float32 or wider."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> Tensor:
    """float16 and bfloat16 become float32; float32 and float64 stay as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def exact_einsum(equation: str, *tensors: Tensor) -> Tensor:
    """``torch.einsum`` in the dtype of the tensors, under autocast as well: half precision would bend the rays."""
    with torch.autocast(tensors[0].device.type, enabled=False):
        return torch.einsum(equation, *tensors)
