"""The published network in our terms: settings of its variants, and its parameter names.

Names and settings are stated in the parity notes, sections 4 and 6. A parameter differs between the two at most in
singleton dimensions (a convolution over candidates is published as a 3-D one).
"""

from __future__ import annotations

import re

# What every published variant shares is the defaults of the classes; these are the differences.
_PARAMETERIZED = {
    'inner_range': 50.0,
    'inner_range_z': 6.4,
    'contract_ratio': 0.8,
    'near': 0.1,
    'step': 0.2,
    'outer_step': 1.0,
    'far': 120.0,
}
_LINEAR = {**_PARAMETERIZED, 'inner_range_z': 15.0, 'contract_ratio': 0.999, 'far': 50.0}
_COLOR = {'type': 'color'}
_FEATURE = {'type': 'feature'}

PUBLISHED_VARIANTS: dict[str, dict] = {
    'model': {'space': _PARAMETERIZED, 'head': _COLOR, 'published_quirks': True},
    'model_linearspace': {'space': _LINEAR, 'head': _COLOR, 'published_quirks': True},
    'model_foundation_feature': {'space': _PARAMETERIZED, 'head': _FEATURE, 'published_quirks': True},
    'model_linearspace_foundation_feature': {'space': _LINEAR, 'head': _FEATURE, 'published_quirks': True},
    'model_400_224': {'space': _PARAMETERIZED, 'head': _COLOR, 'sampling': {'stride': 2}, 'published_quirks': True},
}

_RENAMES: tuple[tuple[str, str], ...] = (
    (r'^coarse_net\.combiner\.mix\.', 'coarse_monodepth_estimator.depth_feature_combiner.combiner.'),
    (r'^coarse_net\.combiner\.residual\.', 'coarse_monodepth_estimator.depth_feature_combiner.parameter_layer.0.'),
    (r'^coarse_net\.combiner\.final\.', 'coarse_monodepth_estimator.depth_feature_combiner.last_layer.0.'),
    (r'^coarse_net\.head\.', 'coarse_monodepth_estimator.depthnet.'),
    (r'^coarse_net\.pyramid\.', 'coarse_monodepth_estimator.'),
    (r'^fine_net\.pyramid\.', 'fine_mono_depth_estimator.'),
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
