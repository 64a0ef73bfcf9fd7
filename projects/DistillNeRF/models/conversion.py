"""Convert published checkpoints: names, shapes, and entries that are left out (docs/NETWORK.md#checkpoints)."""

from __future__ import annotations

import copy
import functools
import pickle
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..utils.errors import InputError
from ..utils.torch_files import load_torch, refused_object
from .checkpoint import PREFIX, is_ours, is_published
from .network import DistillNeRF
from .weights import find_weights, in_words, shortened

HINT = 'give a checkpoint of the published code, with its entries under state_dict'
WRAPPER_PREFIX = 'model.'

# Prefix of a name -> why the entry is left out. The first that matches counts.
FROZEN = (
    ('seg_model.', 'frozen segmentation network'),
    ('lpips_loss.', 'frozen LPIPS network'),
    ('model.mono_depth_pretained_model.', 'frozen depth network'),
)
BUFFERS = ('model.dx', 'model.bx', 'model.nx', 'model.frustum', 'model.render_frust')
BUFFER, UNUSED_DECODER = 'buffer that the settings determine', 'decoder, which feature variants do not use'


@dataclass(frozen=True)
class Converted:
    """A converted checkpoint.

    Attributes:
        variants: the published variants whose settings fit the weights.
        weights: our names -> float32 tensors.
        dropped: reason -> number of entries that were left out.
    """

    variants: list[str]
    weights: dict[str, Tensor]
    dropped: Counter[str]


def read_published(path: str | Path, unsafe_pickle: bool = False) -> dict[str, Tensor]:
    """Read the ``state_dict`` of a published checkpoint.

    Args:
        path: the file.
        unsafe_pickle: run any code that the file holds; only for files from a trusted source.

    Raises:
        InputError: missing, truncated, no checkpoint, or one that needs ``unsafe_pickle``.
    """
    try:
        content: Any = load_torch(path, 'checkpoint', HINT, unsafe_pickle)
    except pickle.UnpicklingError as error:
        raise InputError(
            f'{path}: holds Python objects beside tensors{refused_object(error)}; if you trust where it comes from, '
            'add --unsafe-pickle, which runs the code in it'
        ) from error
    if isinstance(content, torch.nn.Module):
        content = content.state_dict()
    state = find_weights(content)
    if state is None:
        raise InputError(f'{path}: holds no state_dict of tensors; {HINT}')
    if is_ours(state) and not is_published(state):
        raise InputError(f'{path}: is a checkpoint of ours already; give it to the tools as it is')
    if not any(name.startswith(WRAPPER_PREFIX) for name in state):
        # The network was saved without the model around it.
        return {WRAPPER_PREFIX + name: value for name, value in state.items()}
    return state


def convert(state: Mapping[str, Tensor], source: str | Path) -> Converted:
    """Rename the trained weights of a published checkpoint.

    Args:
        state: its ``state_dict``.
        source: name for messages.

    Raises:
        InputError: names entries that are unknown, missing, of another shape, NaN or infinite.
    """
    kept, dropped = _without_frozen(state)
    problems = {}
    fitting = []
    for variant in PUBLISHED_VARIANTS:
        expected = _expected(variant)
        used = {name: value for name, value in kept.items() if not _unused(name, variant)}
        problems[variant] = _problems(expected, used)
        if not any(problems[variant]):
            fitting.append(variant)
    if not fitting:
        variant = min(problems, key=lambda name: sum(map(len, problems[name])))
        raise InputError(f'{source}: closest to {variant}, but: {in_words(*problems[variant])}; {HINT}')
    expected = _expected(fitting[0])
    if whole := [name for name in expected if not kept[name].is_floating_point()]:
        raise InputError(
            f'{source}: {kept[whole[0]].dtype} rather than floating-point weights in {", ".join(whole)}; give the '
            'checkpoint as it was trained'
        )
    weights = {ours: kept[name].reshape(shape).float().clone() for name, (ours, shape) in expected.items()}
    if bad := [name for name, (ours, _) in expected.items() if not weights[ours].isfinite().all()]:
        raise InputError(f'{source}: NaN or infinite weights in {shortened(bad)}; give an undamaged checkpoint')
    dropped.update(UNUSED_DECODER for name in kept if _unused(name, fitting[0]))
    return Converted(fitting, weights, dropped)


def as_checkpoint(converted: Converted, source: str) -> dict[str, Any]:
    """Return the contents of a file that :func:`.checkpoint.load_weights` reads."""
    meta = {'converted_from': source, 'variants': converted.variants}
    return {'meta': meta, 'state_dict': {PREFIX + name: value for name, value in converted.weights.items()}}


def _without_frozen(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Counter[str]]:
    """Split off frozen entries: trained ones by their names without the prefix, and reason -> count of the others."""
    kept: dict[str, Tensor] = {}
    dropped: Counter[str] = Counter()
    for name, value in state.items():
        reason = next((reason for start, reason in FROZEN if name.startswith(start)), None)
        if reason is None and (name in BUFFERS or name.endswith('.kernel_vectors')):
            reason = BUFFER
        if reason is None:
            kept[name.removeprefix(WRAPPER_PREFIX)] = value
        else:
            dropped[reason] += 1
    return kept, dropped


def _expected(variant: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return published name -> our name and shape."""
    state = DistillNeRF(**published_settings(variant)).state_dict()
    return {published_name(name): (name, tuple(value.shape)) for name, value in state.items()}


def _unused(name: str, variant: str) -> bool:
    return published_settings(variant)['head']['type'] == 'feature' and name.startswith('decoder.')


def _problems(
    expected: Mapping[str, tuple[str, tuple[int, ...]]], weights: Mapping[str, Tensor]
) -> tuple[list[str], list[str], list[str]]:
    """List missing names, unknown names, and remarks on other shapes."""
    # A convolution over candidates was published as a 3-D one: its shape has ones that ours has not.
    shapes = [
        f'{name} is {tuple(weights[name].shape)}, not {shape}'
        for name, (_, shape) in expected.items()
        if name in weights and _without_ones(weights[name].shape) != _without_ones(shape)
    ]
    missing = [name for name in expected if name not in weights]
    return missing, [name for name in weights if name not in expected], shapes


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [size for size in shape if size != 1]


# Names of the published settings files, and of ours under ``configs/models/``.
PUBLISHED_VARIANTS = (
    'model',
    'model_linearspace',
    'model_foundation_feature',
    'model_linearspace_foundation_feature',
    'model_400_224',
    'model_400_224_foundation_feature',
    'model_228_128',
    'model_waymo',
    'model_linearspace_waymo',
)
CONFIGS = Path(__file__).resolve().parents[1] / 'configs/models'


def published_settings(variant: str) -> dict[str, Any]:
    """Return the keyword arguments of :class:`.network.DistillNeRF` for a published variant, read from its config."""
    return copy.deepcopy(_settings(variant))


@functools.lru_cache
def _settings(variant: str) -> dict[str, Any]:
    from mmengine.config import Config

    return Config.fromfile(str(CONFIGS / f'{variant}.py')).model.network.to_dict()


_RENAMES: tuple[tuple[str, str], ...] = (
    (r'^coarse_net\.combiner\.mix\.', 'coarse_monodepth_estimator.depth_feature_combiner.combiner.'),
    (r'^coarse_net\.combiner\.residual\.', 'coarse_monodepth_estimator.depth_feature_combiner.parameter_layer.0.'),
    (r'^coarse_net\.combiner\.final\.', 'coarse_monodepth_estimator.depth_feature_combiner.last_layer.0.'),
    (r'^coarse_net\.head\.', 'coarse_monodepth_estimator.depthnet.'),
    (r'^coarse_net\.pyramid\.', 'coarse_monodepth_estimator.'),
    (r'^fine_net\.pyramid\.', 'fine_mono_depth_estimator.'),
    (r'^fine_net\.combiner\.2\.', 'fine_mono_depth_estimator.combiner.3.'),
    (r'^fine_net\.combiner\.', 'fine_mono_depth_estimator.combiner.'),
    (r'^fine_net\.feature_head\.', 'fine_mono_depth_estimator.featnet.'),
    (r'^fine_net\.depth_head\.', 'fine_mono_depth_estimator.depthnet.'),
    (r'^fine_net\.scorer\.expand\.', 'fine_mono_depth_estimator.depth_expander.0.'),
    (r'^fine_net\.scorer\.expand_norm\.', 'fine_mono_depth_estimator.depth_expander.1.'),
    (r'^fine_net\.scorer\.feature_norm\.', 'fine_mono_depth_estimator.depth_feat_normalize.'),
    (r'^fine_net\.scorer\.conv1\.', 'fine_mono_depth_estimator.feature_predictor.0.'),
    (r'^fine_net\.scorer\.conv2\.', 'fine_mono_depth_estimator.feature_predictor.3.'),
    (r'^fine_net\.scorer\.conv3\.', 'fine_mono_depth_estimator.feature_predictor.6.'),
    (r'^voxel_net\.fine_in\.', 'multi_view_pooling_octree_encoder.sparse_voxel_convnet.init_conv.0.conv.'),
    (r'^voxel_net\.coarse_in\.', 'multi_view_pooling_octree_encoder.sparse_voxel_convnet.init_conv.1.conv.'),
    (r'^voxel_net\.down\.', 'multi_view_pooling_octree_encoder.sparse_voxel_convnet.downsample_layers.0.conv.'),
    (r'^voxel_net\.out\.', 'multi_view_pooling_octree_encoder.sparse_voxel_convnet.output_head.conv.'),
    (r'^voxel_net\.fine_layers\.', 'multi_view_pooling_octree_encoder.sparse_voxel_convnet.processing_layers.'),
    (r'^head\.decoder\.styles\.', 'decoder.cam_emb.'),
    (r'^head\.decoder\.first\.', 'decoder.conv1.0.'),
    (r'^head\.decoder\.convs\.(\d+)\.conv\.', r'decoder.convs.\1.0.'),
    (r'^head\.decoder\.convs\.(\d+)\.style\.', r'decoder.convs.\1.1.style.'),
    (r'^head\.decoder\.last\.', 'decoder.last_conv.'),
    (r'^head\.net\.', 'projector.volume_renderer.net.'),
    # Inside the pyramids.
    (r'\.stem\.', '.conv1.'),
    (r'\.top\.', '.toplayer.'),
    (r'\.laterals\.(\d+)\.', r'.latlayer\1.0.'),
    (r'\.final\.', '.feat_final.0.'),
    (r'\.shortcut\.', '.shortcut.0.'),
)


def published_name(name: str, layers_per_level: int = 2) -> str:
    """Map our parameter name to the published one (without its ``model.`` prefix)."""
    coarse = re.match(r'voxel_net\.coarse_layers\.(\d+)\.(.*)', name)
    if coarse:
        # The published list counts the layers of both levels through.
        index = int(coarse[1]) + layers_per_level
        return f'multi_view_pooling_octree_encoder.sparse_voxel_convnet.processing_layers.{index}.{coarse[2]}'
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return re.sub(r'\.stages\.(\d+)\.', lambda match: f'.layer{int(match[1]) + 1}.', name)
