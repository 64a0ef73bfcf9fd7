"""A checkpoint written as the published file is, by the weights rule, and every way in which one can be wrong."""

from __future__ import annotations

from argparse import Namespace

import pytest
import torch

from projects.DistillNeRF.models.checkpoint import load_weights
from projects.DistillNeRF.models.conversion import convert, published_settings
from projects.DistillNeRF.models.network import DistillNeRF
from tests.helpers.commands import run
from tests.helpers.data import frozen_extractor_entries, published_checkpoint
from tests.helpers.files import truncate
from tests.helpers.refusals import assert_refused
from verification.parity.weights import rule_network, rule_weight


def published_state(variant: str) -> dict[str, torch.Tensor]:
    """All entries that the published wrapper saves: weights, buffers, frozen networks."""
    state = {}
    for name, (shape, dtype, kind) in published_checkpoint(variant)[0].items():
        if kind == 'P':
            state[name] = torch.from_numpy(rule_weight(name.removeprefix('model.'), tuple(shape)))
        else:
            state[name] = torch.zeros(shape, dtype=torch.int16 if 'kernel_vectors' in name else getattr(torch, dtype))
    for name, (_, dtype) in frozen_extractor_entries().items():
        state[name] = torch.zeros(1, dtype=getattr(torch, dtype))
    state['seg_model.backbone.weight'] = torch.zeros(1)
    state['lpips_loss.lpips.net.weight'] = torch.zeros(1)
    return state


@pytest.mark.parametrize('variant', ['model', 'model_linearspace', 'model_linearspace_foundation_feature'])
def test_published_weights_become_ours(tmp_path, variant):
    published, ours = tmp_path / 'published.pth', tmp_path / 'ours.pth'
    torch.save({'meta': {'epoch': 3}, 'state_dict': published_state(variant)}, published)
    result = run('convert_checkpoint', published, ours)
    assert result.code == 0, result.err
    assert variant in result.out
    for words in (
        '239 of the frozen depth network',
        '1 of the frozen segmentation',
        '1 of the frozen LPIPS',
        '13 of the buffer',
    ):
        assert words in result.out
    network = DistillNeRF(**published_settings(variant))
    load_weights(network, ours)
    expected = rule_network(variant, torch.float32).state_dict()
    for name, value in network.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_entries_that_do_not_fit_are_all_listed(tmp_path):
    state = published_state('model')
    del state['model.decoder.last_conv.bias']
    state['model.decoder.extra.weight'] = torch.zeros(2)
    name = 'model.coarse_monodepth_estimator.conv1.weight'
    state[name] = state[name][:5]
    path, out = tmp_path / 'published.pth', tmp_path / 'ours.pth'
    torch.save({'state_dict': state}, path)
    result = run('convert_checkpoint', path, out)
    words = ('decoder.last_conv.bias is missing', 'decoder.extra.weight is unknown', 'conv1.weight is (5, 3, 3, 3)')
    assert_refused(result, path, *words)
    assert not out.exists()


def test_weights_that_are_nan_or_infinite_are_refused(tmp_path):
    state = published_state('model')
    state['model.decoder.last_conv.bias'][1] = torch.nan
    torch.save({'state_dict': state}, tmp_path / 'published.pth')
    assert_refused(
        run('convert_checkpoint', tmp_path / 'published.pth', tmp_path / 'ours.pth'), 'NaN', 'decoder.last_conv.bias'
    )


def test_files_that_are_no_checkpoints_are_refused(tmp_path):
    path, out = tmp_path / 'published.pth', tmp_path / 'ours.pth'
    out.write_text('here already')
    assert_refused(run('convert_checkpoint', path, out), path, 'no such file')
    torch.save([1, 2], path)
    assert_refused(run('convert_checkpoint', path, out), path, 'holds no state_dict')
    torch.save({'state_dict': {'a': torch.zeros(1000)}}, path)
    truncate(path)
    assert_refused(run('convert_checkpoint', path, out), path, 'not a readable checkpoint')
    assert out.read_text() == 'here already'


def test_pickles_need_an_option_of_trust(tmp_path):
    path, out = tmp_path / 'published.pth', tmp_path / 'ours.pth'
    torch.save({'meta': Namespace(seed=0), 'state_dict': published_state('model')}, path)
    assert_refused(run('convert_checkpoint', path, out), path, '--unsafe-pickle')
    assert not out.exists()
    assert run('convert_checkpoint', path, out, '--unsafe-pickle').code == 0
    assert out.exists()


def test_variants_that_share_their_weights_are_all_named():
    variants = convert(published_state('model'), 'x').variants
    assert variants == ['model', 'model_400_224', 'model_228_128', 'model_waymo']
