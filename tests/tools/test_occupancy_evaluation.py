"""tools/test.py --eval occupancy, on the box world with labels of its ground."""

from __future__ import annotations

import json

import numpy as np
import pytest

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.datasets.infos import load_infos
from projects.DistillNeRF.engine.builders import build_dataset
from projects.DistillNeRF.engine.occupancy_baselines import lidar_points
from projects.DistillNeRF.semantics.occ3d import FREE
from tests.helpers.commands import Project, run, write_config, write_data
from tests.helpers.grids import ROAD, block, write_labels
from tests.helpers.refusals import assert_refused

# Its voxels are from -0.2 to 0.2 m high; the ground is at 0.
GROUND = block((0, 0, 2), (200, 200, 3), kind=ROAD)


@pytest.fixture(scope='module')
def labeled(tmp_path_factory) -> Project:
    """Two of three frames have labels; the config names their folder, as that of MiniTown does."""
    folder = tmp_path_factory.mktemp('labeled')
    root = write_data(folder / 'data')
    for token in ('box0', 'box2'):
        write_labels(root / 'gts/boxes' / token / 'labels.npz', GROUND)
    return write_config(folder / 'tiny.py', root)


def test_occupancy_stands_in_the_table_beside_baselines(labeled, tmp_path):
    out = tmp_path / 'figures.json'
    arguments = (labeled.config, 'None', '--baselines', '--work-dir', tmp_path / 'work', '--out', out)
    result = run('test', *arguments, '--eval', 'psnr', 'occupancy')
    assert result.code == 0, result.err
    assert '1 of 3 samples have no occupancy labels, such as ' in result.err
    assert 'gts/boxes/box1/labels.npz: no occupancy labels; 1 of 3 samples have none and do not count' in result.err
    figures = json.loads(out.read_text())
    model, others = figures['model'], figures['baselines']
    names = ('occupancy/iou', 'occupancy/all_voxels/iou')
    assert set(model) == {'psnr', 'ssim', 'ssim_gaussian', *names}
    share = (GROUND != FREE).mean()
    for name in names:
        assert 0 <= model[name] <= 1
        assert (others[f'oracle/{name}'], others[f'nothing/{name}']) == (1, 0)
        assert others[f'everything/{name}'] == share
        assert 0.01 < others[f'lidar_points/{name}'] < 1
    header = next(line for line in result.out.splitlines() if line.startswith('metric')).split()
    guesses = ('nothing', 'everything', 'lidar_points', 'oracle')
    assert set(guesses) < set(header)
    row = next(line for line in result.out.splitlines() if line.startswith('occupancy/iou')).split()
    expected = {name: f'{others[f"{name}/occupancy/iou"]:.3f}' for name in sorted(guesses, key=header.index)}
    assert row[2:] == list(expected.values()) and expected['everything'] == f'{share:.3f}'


def test_a_sample_says_where_its_labels_are_and_where_its_lidar_was(labeled):
    dataset = build_dataset(load_config(labeled.config), 'test')
    assert (dataset.availability['occupancy labels'].there, dataset.availability['occupancy labels'].total) == (2, 3)
    infos = load_infos(labeled.root / 'infos.pkl')[1]
    mount = np.asarray(infos[1]['lidar_points']['lidar2ego'])
    record = dataset[1]['data_samples'].occupancy
    assert record.labels == labeled.root / 'gts/boxes/box1/labels.npz'
    assert np.allclose(record.ego2lidar @ mount, np.eye(4), atol=1e-6)
    global2ego = np.linalg.inv(infos[1]['ego2global'])
    along = [(global2ego @ np.asarray(info['lidar2global']))[:3, 3] for info in infos]
    assert np.allclose(record.origins, along, atol=1e-6) and np.allclose(record.origins[1], mount[:3, 3])
    points = lidar_points(dataset.get_data_info(1))
    raw = np.fromfile(labeled.root / 'lidar/1.bin', np.float32).reshape(-1, 5)
    assert np.allclose(points, raw[:, :3] @ mount[:3, :3].T + mount[:3, 3], atol=1e-4)
    assert np.abs(points[raw[:, 3] == -1, 2]).max() < 1e-3


def test_occupancy_without_labels_is_refused_if_asked_for_and_left_out_if_not(labeled, tmp_path):
    arguments = (labeled.config, 'None', '--work-dir', tmp_path / 'work')
    gts = 'test_dataloader.dataset.gts='
    asked = run('test', *arguments, '--eval', 'occupancy', '--cfg-options', f'{gts}elsewhere')
    assert_refused(
        asked, '--eval occupancy is asked for', f'labels.npz in {labeled.root}/elsewhere; correct {gts[:-1]}'
    )
    asked = run('test', *arguments, '--eval', 'occupancy', '--cfg-options', f'{gts}None')
    assert_refused(asked, 'its data names no labels', f'set {gts[:-1]} to the folder')
    result = run('test', *arguments, '--cfg-options', f'{gts}elsewhere')
    assert result.code == 0 and 'no evaluation occupancy' in result.err and 'occupancy/' not in result.out
    validated = tmp_path / 'validated.py'
    text = "val_evaluator = [dict(type='OccupancyMetric')]\ndefault_hooks = dict(checkpoint=dict(save_best='iou'))\n"
    validated.write_text(f'_base_ = [{str(labeled.config)!r}]\n{text}')
    options = ('--cfg-options', 'val_dataloader.dataset.gts=elsewhere')
    refused = run('train', validated, '--work-dir', tmp_path / 'train', *options)
    assert_refused(refused, 'val_evaluator asks for OccupancyMetric', 'correct val_dataloader.dataset.gts')


def test_labels_do_nothing_while_training(labeled, tmp_path):
    option = ('--cfg-options', 'train_dataloader.dataset.gts=gts')
    refused = run('train', labeled.config, '--work-dir', tmp_path / 'out', *option)
    assert_refused(refused, 'train_dataloader.dataset.gts does nothing with test_mode=False')
