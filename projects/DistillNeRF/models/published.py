"""The published network in our terms: its variants, and its parameter names.

Names are stated in docs/NETWORK.md#checkpoints; the settings live in ``configs/models/``. A
parameter differs between the two at most in singleton dimensions (a convolution over candidates is published as a
3-D one).
"""

from __future__ import annotations

import copy
import functools
import re
from pathlib import Path
from typing import Any

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
    """Keyword arguments of :class:`.network.DistillNeRF` for a published variant, read from its config."""
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
    """Our parameter name -> the published one (without its ``model.`` prefix)."""
    coarse = re.match(r'voxel_net\.coarse_layers\.(\d+)\.(.*)', name)
    if coarse:
        # The published list counts the layers of both levels through.
        index = int(coarse[1]) + layers_per_level
        return f'multi_view_pooling_octree_encoder.sparse_voxel_convnet.processing_layers.{index}.{coarse[2]}'
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return re.sub(r'\.stages\.(\d+)\.', lambda match: f'.layer{int(match[1]) + 1}.', name)
