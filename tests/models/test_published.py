"""Names of the published checkpoints, written out."""

from __future__ import annotations

import pytest

from projects.DistillNeRF.models.conversion import PUBLISHED_VARIANTS, published_name, published_settings

COARSE, FINE = 'coarse_monodepth_estimator', 'fine_mono_depth_estimator'
SPARSE = 'multi_view_pooling_octree_encoder.sparse_voxel_convnet'


@pytest.mark.parametrize(
    ('ours', 'published'),
    [
        ('coarse_net.pyramid.stem.weight', f'{COARSE}.conv1.weight'),
        ('coarse_net.pyramid.stages.0.1.conv2.weight', f'{COARSE}.layer1.1.conv2.weight'),
        ('coarse_net.pyramid.stages.4.0.shortcut.weight', f'{COARSE}.layer5.0.shortcut.0.weight'),
        ('coarse_net.pyramid.top.bias', f'{COARSE}.toplayer.bias'),
        ('coarse_net.pyramid.laterals.3.bias', f'{COARSE}.latlayer3.0.bias'),
        ('coarse_net.pyramid.final.bias', f'{COARSE}.feat_final.0.bias'),
        ('coarse_net.combiner.mix.0.conv1.weight', f'{COARSE}.depth_feature_combiner.combiner.0.conv1.weight'),
        ('coarse_net.combiner.residual.bias', f'{COARSE}.depth_feature_combiner.parameter_layer.0.bias'),
        ('coarse_net.combiner.final.bias', f'{COARSE}.depth_feature_combiner.last_layer.0.bias'),
        ('coarse_net.head.2.bias', f'{COARSE}.depthnet.2.bias'),
        ('fine_net.pyramid.stem.weight', f'{FINE}.conv1.weight'),
        ('fine_net.combiner.0.bias', f'{FINE}.combiner.0.bias'),
        ('fine_net.combiner.2.bias', f'{FINE}.combiner.3.bias'),
        ('fine_net.feature_head.2.bias', f'{FINE}.featnet.2.bias'),
        ('fine_net.depth_head.0.bias', f'{FINE}.depthnet.0.bias'),
        ('fine_net.scorer.expand.weight', f'{FINE}.depth_expander.0.weight'),
        ('fine_net.scorer.expand_norm.weight', f'{FINE}.depth_expander.1.weight'),
        ('fine_net.scorer.feature_norm.bias', f'{FINE}.depth_feat_normalize.bias'),
        ('fine_net.scorer.conv1.weight', f'{FINE}.feature_predictor.0.weight'),
        ('fine_net.scorer.conv2.weight', f'{FINE}.feature_predictor.3.weight'),
        ('fine_net.scorer.conv3.weight', f'{FINE}.feature_predictor.6.weight'),
        ('voxel_net.fine_in.weight', f'{SPARSE}.init_conv.0.conv.weight'),
        ('voxel_net.coarse_in.weight', f'{SPARSE}.init_conv.1.conv.weight'),
        ('voxel_net.down.bias', f'{SPARSE}.downsample_layers.0.conv.bias'),
        ('voxel_net.out.bias', f'{SPARSE}.output_head.conv.bias'),
        ('voxel_net.fine_layers.1.conv.weight', f'{SPARSE}.processing_layers.1.conv.weight'),
        # The list counts the layers of both levels through.
        ('voxel_net.coarse_layers.0.norm.bias', f'{SPARSE}.processing_layers.2.norm.bias'),
        ('voxel_net.coarse_layers.1.conv.weight', f'{SPARSE}.processing_layers.3.conv.weight'),
        ('head.decoder.styles.weight', 'decoder.cam_emb.weight'),
        ('head.decoder.first.weight', 'decoder.conv1.0.weight'),
        ('head.decoder.convs.3.conv.bias', 'decoder.convs.3.0.bias'),
        ('head.decoder.convs.3.style.bias', 'decoder.convs.3.1.style.bias'),
        ('head.decoder.last.weight', 'decoder.last_conv.weight'),
        ('head.net.4.bias', 'projector.volume_renderer.net.4.bias'),
    ],
)
def test_names(ours, published):
    assert published_name(ours) == published


def test_other_numbers_of_layers_are_counted_through():
    name = published_name('voxel_net.coarse_layers.1.conv.weight', layers_per_level=3)
    assert name == f'{SPARSE}.processing_layers.4.conv.weight'


def test_settings_are_a_copy_that_may_be_changed():
    first = published_settings('model')
    first['space']['inner_range'] = 1.0
    assert published_settings('model')['space']['inner_range'] == 50
    assert len(PUBLISHED_VARIANTS) == 9
