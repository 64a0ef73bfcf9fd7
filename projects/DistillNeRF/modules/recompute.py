"""Activation checkpointing: less memory in a training step for another forward pass of some blocks."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Recomputable(nn.Module):
    """A block that can keep its inputs alone and compute everything between again in the backward pass."""

    recompute = False

    def __call__(self, *inputs: Any) -> Any:
        if self.recompute and torch.is_grad_enabled():
            # No block draws random numbers.
            return checkpoint(super().__call__, *inputs, use_reentrant=False, preserve_rng_state=False)
        return super().__call__(*inputs)


def recompute_blocks(network: nn.Module, recompute: bool) -> None:
    """Switch it on or off in all blocks of a network."""
    for module in network.modules():
        if isinstance(module, Recomputable):
            module.recompute = recompute
