"""tools/test.py --eval feature query, on a town of boxes whose features are the codes of classes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from projects.DistillNeRF.datasets.infos import load_infos, save_infos
from tests.helpers.commands import run, write_town_config
from tests.helpers.ranks import run_ranks
from tests.helpers.refusals import assert_refused


@pytest.fixture(scope='module')
def config(town, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('config') / 'features.py'
    return write_town_config(path, town, 'model_wrapper_minitown_features.py', steps=2)


@pytest.fixture(scope='module')
def checkpoint(config, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('work')
    result = run('train', config, '--work-dir', folder)
    assert result.code == 0, result.err
    return folder / 'iter_2.pth'


def test_features_and_queries_stand_in_the_table_beside_the_mean_feature(config, checkpoint, tmp_path):
    out = tmp_path / 'r.json'
    arguments = (config, checkpoint, '--work-dir', tmp_path / 'work', '--out', out, '--baselines')
    result = run('test', *arguments, '--eval', 'feature', 'query', '--by', 'camera', 'motion')
    assert result.code == 0, result.err
    found = json.loads(out.read_text())
    model, others = found['model'], found['baselines']
    assert {'feature/psnr', 'feature/next/psnr', 'query/miou', 'query/next/miou', 'query/iou/road'} <= set(model)
    assert all(math.isfinite(value) for value in model.values())
    assert 0 <= model['query/miou'] <= 1 and model['query/iou/road'] >= 0
    # Code vectors have length 1: the mean squared error of the mean is below 1 / 64.
    assert others['mean_feature/feature/psnr'] > -10 * math.log10(1 / 64) and 'mean_feature/feature/next/psnr' in others
    assert {'feature/psnr@camera=CAM_FRONT', 'feature/psnr@motion=moving'} < set(found['parts'])
    assert 'psnr' not in model and 'mean_feature' in result.out


def test_features_and_queries_are_measured_without_being_asked_for(config, checkpoint, tmp_path):
    out = tmp_path / 'r.json'
    result = run('test', config, checkpoint, '--work-dir', tmp_path / 'work', '--out', out)
    assert result.code == 0, result.err
    assert {'feature/psnr', 'query/miou', 'abs_rel', 'occupancy/iou'} <= set(json.loads(out.read_text())['model'])


@pytest.mark.slow  # colors in two processes are in tests/tools/test_several_processes.py
def test_two_processes_give_the_figures_of_one(config, checkpoint, town, tmp_path):
    """On the scene for training and that for validation: a single one has no intervals."""
    (metainfo, infos), (_, more) = (load_infos(town / f'minitown_infos_{split}.pkl') for split in ('train', 'val'))
    save_infos(tmp_path / 'both.pkl', 'minitown', metainfo['cameras'], [*infos, *more])
    results = []
    for count, launcher in ((1, 'none'), (2, 'pytorch')):
        out = tmp_path / f'{count}.json'
        command = ['tools/test.py', config, checkpoint, '--launcher', launcher, '--out', out]
        command += ['--work-dir', tmp_path / f'work{count}', '--eval', 'feature', 'query', 'depth']
        command += ['--by', 'camera', 'scene', 'distance', 'motion']
        command += ['--cfg-options', f'test_dataloader.dataset.ann_file={tmp_path / "both.pkl"}']
        for process in run_ranks([*map(str, command)], count):
            assert process.returncode == 0, process.stderr[-3000:]
        results.append(json.loads(out.read_text()))
    one, two = results
    assert len(one['samples']) == 6
    for name in ('model', 'parts', 'intervals', 'samples'):
        assert one[name] == two[name]
    assert {'abs_rel@distance=10-20m', 'abs_rel@motion=moving', 'query/miou@scene=minitown-0002'} < set(one['parts'])
    assert {'query/miou', 'feature/psnr@motion=static', 'abs_rel@distance=10-20m'} < set(one['intervals'])


def test_what_a_network_or_its_data_has_not_is_refused(config, project, tmp_path):
    arguments = ('--work-dir', tmp_path, '--eval')
    assert_refused(
        run('test', project.config, 'None', *arguments, 'feature'),
        'renders no features for --eval feature; choose psnr, novel_view, depth, occupancy',
    )
    assert_refused(
        run('test', config, 'None', *arguments, 'psnr'),
        'renders no colors for --eval psnr; choose depth, feature, query, occupancy',
    )
    bare = ('--cfg-options', 'test_dataloader.dataset.pipeline=[dict(type="LoadViews"),dict(type="PackViews")]')
    refused = run('test', config, 'None', *arguments, 'feature', *bare)
    assert refused.code == 2
    no_encoder = ('--cfg-options', 'model.text_encoder=None')
    assert_refused(run('test', config, 'None', *arguments, 'query', *no_encoder), 'text encoder')
