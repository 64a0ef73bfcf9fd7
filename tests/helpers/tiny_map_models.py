"""Tiny networks that make maps of images, in the formats of the real ones: random weights, or known functions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from projects.DistillNeRF.semantics.label_sets import LABEL_SETS

CITYSCAPES = tuple(name for name, _ in LABEL_SETS['cityscapes'])
PREPROCESSOR = {
    'do_resize': True,
    'do_rescale': True,
    'do_normalize': True,
    'rescale_factor': 1 / 255,
    'image_mean': [0.485, 0.456, 0.406],
    'image_std': [0.229, 0.224, 0.225],
    'resample': 2,
}


def write_segmenter(folder: Path, kind: str, names: Sequence[str] = CITYSCAPES, size: Any = None) -> Path:
    """Write the folder of a tiny SegFormer or Mask2Former of random weights."""
    transformers = pytest.importorskip('transformers')
    torch.manual_seed(0)
    labels = {'id2label': dict(enumerate(names)), 'label2id': {name: number for number, name in enumerate(names)}}
    if kind == 'segformer':
        config = transformers.SegformerConfig(
            depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=16,
            **labels,
        )  # fmt: skip
        model = transformers.SegformerForSemanticSegmentation(config)
    else:
        backbone = transformers.SwinConfig(
            embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4, image_size=64,
            out_features=['stage1', 'stage2', 'stage3', 'stage4'],
        )  # fmt: skip
        config = transformers.Mask2FormerConfig(
            backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16,
            dim_feedforward=16, num_attention_heads=2, encoder_layers=1, decoder_layers=2, num_queries=7, **labels,
        )  # fmt: skip
        model = transformers.Mask2FormerForUniversalSegmentation(config)
    _spread(model)
    return _save(folder, model, size or {'height': 64, 'width': 96})


def write_bright_sky(folder: Path, names: Sequence[str] = CITYSCAPES, size: Any = None) -> Path:
    """Write the folder of a SegFormer that takes what is bright for sky and all else for road.

    Cell i of its first stage has the mean brightness of its own 4 x 4 pixels; all else is left out.
    """
    write_segmenter(folder, 'segformer', names, size)
    transformers = pytest.importorskip('transformers')
    model = transformers.SegformerForSemanticSegmentation.from_pretrained(folder)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    for module in model.modules():
        if isinstance(module, (torch.nn.LayerNorm, torch.nn.BatchNorm2d)):
            torch.nn.init.ones_(module.weight)
    embedding, head = model.segformer.stages[0].patch_embeddings.proj, model.decode_head
    with torch.no_grad():
        # Half of the channels are brighter than the middle, the others darker: the norm leaves their sign.
        signs = torch.tensor([1.0, -1.0]).repeat(len(embedding.weight) // 2)
        embedding.weight[:, :, 3:7, 3:7] = signs[:, None, None, None] / 48
        head.linear_projections[0].proj.weight[0] = signs / len(signs)
        last = head.linear_fuse.in_channels - head.linear_projections[0].proj.out_features
        head.linear_fuse.weight[0, last] = 1.0
        head.linear_fuse.weight[1, last] = -1.0
        for channel, name in enumerate(('sky', 'road')):
            if name in names:
                head.classifier.weight[names.index(name), channel] = 1.0
        head.classifier.bias -= torch.tensor([0.0 if name in ('sky', 'road') else 1.0 for name in names])
    return _save(folder, model, size or {'height': 64, 'width': 96})


def write_depth_anything(folder: Path, metric: bool, max_depth: float = 80, size: Any = None) -> Path:
    """Write the folder of a tiny Depth Anything 2 of random weights."""
    transformers = pytest.importorskip('transformers')
    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14,
        out_features=['stage1', 'stage2', 'stage3', 'stage4'], reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=8,
        head_hidden_size=8, depth_estimation_type='metric' if metric else 'relative',
        max_depth=max_depth if metric else 1,
    )  # fmt: skip
    model = transformers.DepthAnythingForDepthEstimation(config)
    _spread(model)
    return _save(folder, model, size or {'height': 56, 'width': 56}, keep_aspect_ratio=True, ensure_multiple_of=14)


def _spread(model: torch.nn.Module) -> None:
    """Draw weights of the spread of trained ones, rather than the tiny one of the first step."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)


def _save(folder: Path, model: torch.nn.Module, size: Any, **more: Any) -> Path:
    model.save_pretrained(folder)
    (folder / 'preprocessor_config.json').write_text(json.dumps({**PREPROCESSOR, 'size': size, **more}))
    return folder


def write_onnx(
    path: Path, weights: np.ndarray, bias: Sequence[float], size: Sequence[int | str] = (30, 50), step: int = 1
) -> Path:
    """Write an ONNX model of one convolution of 1 x 1 without a normalization of its own.

    Args:
        path: the file.
        weights: ``(C, 3)`` of RGB.
        bias: ``(C,)``.
        size: (height, width) of its input; names for free axes.
        step: it looks at the mean of blocks of so many pixels.
    """
    onnx = pytest.importorskip('onnx')
    from onnx import TensorProto, helper, numpy_helper

    kernel = np.repeat(np.repeat(np.asarray(weights, np.float32)[:, :, None, None], step, 2), step, 3) / step**2
    free = [side if isinstance(side, str) else side // step for side in size]
    out = [f'{side}_out' if isinstance(side, str) else side for side in free]
    graph = helper.make_graph(
        [helper.make_node('Conv', ['image', 'kernel', 'bias'], ['scores'], strides=[step, step])],
        'map',
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, ['n', 3, *size])],
        [helper.make_tensor_value_info('scores', TensorProto.FLOAT, ['n', len(kernel), *out])],
        [numpy_helper.from_array(kernel, 'kernel'), numpy_helper.from_array(np.asarray(bias, np.float32), 'bias')],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, str(path))
    return path
