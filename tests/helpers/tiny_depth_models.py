"""Depth-Anything of transformers in a tiny size with random weights, saved as on the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

# What images are enlarged to where a test has no need for 518 pixels: 4 patches.
SHORTER_SIDE = 56
# Channels of its features.
CHANNELS = 12
V1, V2 = (2, 3, 4, 5), (1, 2, 4, 5)


def tiny_depth_model(stages: Sequence[int] = V1, seed: int = 0, **backbone: Any) -> DepthAnythingForDepthEstimation:
    """Make a model of five blocks.

    Args:
        stages: the blocks whose tokens the head reads, counted from 1; v1 reads the last ones, v2 others.
        seed: of the weights, none of which is 0 or 1 for all channels.
        backbone: other settings of the transformer.
    """
    sizes = {'hidden_size': 24, 'num_hidden_layers': 5, 'num_attention_heads': 2, 'image_size': 518}
    shape = {**sizes, 'patch_size': 14, 'out_indices': list(stages), 'reshape_hidden_states': False, **backbone}
    config = DepthAnythingConfig(
        backbone_config=Dinov2Config(**shape),
        reassemble_hidden_size=24,
        neck_hidden_sizes=[4, 6, 8, 10],
        fusion_hidden_size=CHANNELS,
    )
    model = DepthAnythingForDepthEstimation(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def save_tiny_depth_model(folder: Path, stages: Sequence[int] = V1, seed: int = 0, **options: Any) -> Path:
    """Save such a model; return its folder. ``options`` are those of ``save_pretrained``."""
    tiny_depth_model(stages, seed).save_pretrained(folder, **options)
    return folder
