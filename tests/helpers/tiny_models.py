"""Tiny foundation models of random weights, in the formats of the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

VISION = {'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 2, 'num_attention_heads': 4}
TEXT = {**VISION, 'vocab_size': 99}


def write_model(folder: Path, kind: str, even: bool = False, **settings: Any) -> Path:
    """Write the folder of a tiny model of a kind, with random weights.

    Args:
        folder: to write.
        kind: ``clip``, ``clip_text``, ``clip_vision``, ``dino``, ``registers``, ``siglip`` or ``siglip2``.
        even: every patch is seen as its mean color, so that nothing but geometry says where a thing is.
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
    for name, parameter in model.named_parameters() if even else ():
        if 'patch_embedding' in name and name.endswith('weight'):
            colors = parameter.data.reshape(len(parameter), -1, 3) if parameter.ndim == 2 else parameter.data.flatten(2)
            mean = colors.mean(1 if parameter.ndim == 2 else 2, keepdim=True)
            parameter.data = mean.expand_as(colors).reshape(parameter.shape).contiguous()
    model.save_pretrained(folder)
    return folder


def pooling_onnx(
    path: Path, size: tuple[int, int] | None = None, channels_last: bool = False, batch: int | None = 1
) -> Path:
    """Write an ONNX model of two outputs: the means of 8 x 8 pixels, three channels, and the mean of the image.

    Args:
        path: to write.
        size: height and width of its input; None: free.
        channels_last: whether images and maps are (N, H, W, C).
        batch: of its input; None: free.
    """
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    make, number = onnx.helper, onnx.TensorProto.FLOAT
    height, width = size or ('height', 'width')
    first = batch or 'batch'
    shape = [first, height, width, 3] if channels_last else [first, 3, height, width]
    image, found = ('turned', 'pooled') if channels_last else ('image', 'map')
    nodes = [make.make_node('AveragePool', [image], [found], kernel_shape=[8, 8], strides=[8, 8])]
    if channels_last:
        nodes.insert(0, make.make_node('Transpose', ['image'], ['turned'], perm=[0, 3, 1, 2]))
        nodes.append(make.make_node('Transpose', ['pooled'], ['map'], perm=[0, 2, 3, 1]))
    nodes.append(make.make_node('ReduceMean', ['image'], ['mean'], axes=[1, 2, 3], keepdims=0))
    outputs = [
        make.make_tensor_value_info('mean', number, [first]),
        make.make_tensor_value_info('map', number, [None] * 4),
    ]
    graph = make.make_graph(nodes, 'pool', [make.make_tensor_value_info('image', number, shape)], outputs)
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid('', 13)], ir_version=8), path)
    return path
