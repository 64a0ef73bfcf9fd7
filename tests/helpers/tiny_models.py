"""Tiny foundation models of random weights, in the formats of the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

VISION = {'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 2, 'num_attention_heads': 4}
TEXT = {**VISION, 'vocab_size': 99}


def write_model(folder: Path, kind: str, **settings: Any) -> Path:
    """Write the folder of a tiny model of a kind, with random weights.

    Args:
        folder: to write.
        kind: ``clip``, ``clip_text``, ``clip_vision``, ``dino``, ``registers``, ``siglip`` or ``siglip2``.
        settings: of its vision tower, instead of the usual ones.
    """
    transformers = pytest.importorskip('transformers')
    torch.manual_seed(0)
    vision = {**VISION, 'image_size': 40, 'patch_size': 8, **settings}
    if kind in ('clip', 'siglip', 'siglip2'):
        prefix = {'clip': 'CLIP', 'siglip': 'Siglip', 'siglip2': 'Siglip2'}[kind]
        if kind == 'siglip2':
            vision['num_patches'] = (vision.pop('image_size') // vision['patch_size']) ** 2
        more = {'projection_dim': 24} if kind == 'clip' else {}
        config = getattr(transformers, f'{prefix}Config')(vision_config=vision, text_config=TEXT, **more)
        model = getattr(transformers, f'{prefix}Model')(config)
    elif kind in ('dino', 'registers'):
        name = 'Dinov2' if kind == 'dino' else 'Dinov2WithRegisters'
        vision.pop('intermediate_size')
        model = getattr(transformers, f'{name}Model')(getattr(transformers, f'{name}Config')(**vision))
    elif kind == 'clip_vision':
        model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**vision))
    else:
        model = transformers.CLIPTextModel(transformers.CLIPTextConfig(**TEXT))
    # The spread of trained weights, rather than the tiny one of the first step.
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    return folder
