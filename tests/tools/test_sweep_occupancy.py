"""tools/sweep_occupancy.py: the figures of each setting are those of a prediction with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.datasets.infos import load_infos
from projects.DistillNeRF.datasets.teacher_files import label_map_paths
from projects.DistillNeRF.engine import sweep_occupancy
from projects.DistillNeRF.engine.builders import build_dataset
from projects.DistillNeRF.evaluation.occupancy.labels import read_prediction
from projects.DistillNeRF.semantics.occ3d import FREE
from tests.helpers.commands import CAMERAS, Project, run, write_config, write_data
from tests.helpers.grids import CAR, ROAD, block, write_labels
from tests.helpers.refusals import assert_refused

GROUND = block((0, 0, 2), (200, 200, 3), kind=ROAD)


@pytest.fixture(scope='module')
def labeled(tmp_path_factory) -> Project:
    """Two of three frames have labels; half of their voxels are seen."""
    folder = tmp_path_factory.mktemp('sweep')
    root = write_data(folder / 'data')
    seen = np.zeros_like(GROUND)
    seen[100:] = 1
    for token in ('box0', 'box2'):
        write_labels(root / 'gts/boxes' / token / 'labels.npz', GROUND, mask_camera=seen)
    return write_config(folder / 'tiny.py', root)


@pytest.fixture(scope='module')
def weights(labeled, tmp_path_factory) -> Path:
    """Trained a little, so that densities differ."""
    work = tmp_path_factory.mktemp('work')
    assert run('train', labeled.config, '--work-dir', work).code == 0
    return work / 'iter_3.pth'


def figures(result: dict, **setting: float) -> dict[str, float]:
    (row,) = [row for row in result['settings'] if all(row[name] == value for name, value in setting.items())]
    return row['figures']


def test_every_setting_has_the_figures_of_a_prediction_with_it(labeled, weights, tmp_path, monkeypatch):
    """Of a sample the network is asked once."""
    asked = []
    reconstruct = sweep_occupancy.reconstruct
    monkeypatch.setattr(sweep_occupancy, 'reconstruct', lambda *a: (asked.append(1), reconstruct(*a))[1])
    out = tmp_path / 'out'
    options = ('--min-density', 0.3, 0.1, '--lattice', 1, 2, '--dilation', 0, 1)
    result = run('sweep_occupancy', labeled.config, weights, '--out', out, *options)
    assert result.code == 0, result.err
    assert 'box1/labels.npz: no occupancy labels; 1 of 3 samples have none' in result.err and len(asked) == 2
    assert '2 samples (1 without labels left out); classes: none; mask: camera' in result.out
    found = json.loads((out / 'sweep.json').read_text())
    assert [(s['lattice'], s['dilation'], s['min_density']) for s in found['settings']] == [
        (lattice, dilation, density) for lattice in (1, 2) for dilation in (0, 1) for density in (0.1, 0.3)
    ]
    values = set()
    for lattice, density, dilation in ((1, 0.3, 0), (2, 0.1, 1)):
        predicted = tmp_path / f'{lattice}_{density}_{dilation}'
        options = ('--lattice', lattice, '--min-density', density, '--dilation', dilation)
        assert run('predict_occupancy', labeled.config, weights, '--out', predicted, *options).code == 0
        for mask, name in (('camera', 'iou'), ('none', 'all_voxels/iou')):
            scores = tmp_path / 'scores.json'
            assert run('score_occupancy', labeled.root / 'gts', predicted, '--mask', mask, '--out', scores).code == 0
            ours = figures(found, lattice=lattice, min_density=density, dilation=dilation)[name]
            assert ours == json.loads(scores.read_text())['iou']
            values.add(ours)
    assert len(values) > 2
    table = (out / 'sweep.md').read_text()
    best = max(found['settings'], key=lambda row: row['figures']['iou'])
    assert f'best IoU: {100 * best["figures"]["iou"]:.2f} % with lattice {best["lattice"]}' in table
    assert table.count('\n| 1 |') == table.count('\n| 2 |') == 4 and 'mIoU' not in table
    assert 'smallest density of an occupied voxel' in (out / 'sweep.html').read_text()


def test_the_curves_are_the_figures(labeled, weights, tmp_path):
    out = tmp_path / 'out'
    assert run('sweep_occupancy', labeled.config, weights, '--out', out, '--min-density', 0.2, 0.1).code == 0
    found = json.loads((out / 'sweep.json').read_text())
    chart = sweep_occupancy.sweep_curves(found)
    assert [line.name for line in chart.data] == ['lattice 2, dilation 0'] * 2
    for line, name in zip(chart.data, ('iou', 'all_voxels/iou'), strict=True):
        assert line.x == (0.1, 0.2)
        assert line.y == tuple(100 * figures(found, min_density=density)[name] for density in line.x)
    assert [line.visible for line in chart.data] == [True, False]
    assert [button.label for button in chart.layout.updatemenus[0].buttons] == ['IoU', 'IoU, all voxels']


def test_what_cannot_be_swept_is_refused(labeled, tmp_path):
    out = tmp_path / 'out'
    start = (labeled.config, 'None', '--out', out)
    for options, words in (
        (('--min-density', 0.1, 0), '--min-density is 0'),
        (('--min-density', 0.1, 0.1), '--min-density has 0.1 twice'),
        (('--lattice', 0), '--lattice is 0'),
        (('--dilation', -1), '--dilation is -1'),
        (('--label-set', 'occ3d'), '--label-set does nothing without --semantics labels'),
        (('--label-maps', tmp_path), '--label-maps does nothing without --semantics labels'),
    ):
        assert_refused(run('sweep_occupancy', *start, *options), words, start=words.split()[0])
    assert not out.exists()
    assert_refused(run('sweep_occupancy', *start, '--ray-iou'), '--ray-iou compares classes')
    nowhere, elsewhere = (('--cfg-options', f'test_dataloader.dataset.gts={name}') for name in (None, 'elsewhere'))
    assert_refused(run('sweep_occupancy', *start, *nowhere), 'test_dataloader.dataset.gts=DIR', start=labeled.config)
    assert_refused(
        run('sweep_occupancy', *start, *elsewhere), 'box0/labels.npz: no such file', 'correct the option gts'
    )
    assert not list(out.iterdir())


@pytest.fixture
def mapped(labeled, tmp_path) -> Path:
    """Label maps of all images: cars on the left camera's, road on the other's, as numbers of Occ3D."""
    for info in load_infos(labeled.root / 'infos.pkl')[1]:
        for camera, kind in zip(CAMERAS, (CAR, ROAD), strict=True):
            image = info['images'][camera]
            path = tmp_path / 'maps' / label_map_paths(image['teacher'])[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.full((image['height'], image['width']), kind, np.uint8))
    return tmp_path / 'maps'


def test_label_maps_give_classes_to_predictions_sweeps_and_tests(labeled, weights, mapped, tmp_path):
    out = tmp_path / 'out'
    options = ('--semantics', 'labels', '--label-maps', mapped, '--label-set', 'occ3d', '--min-density', 0.1)
    predicted = run('predict_occupancy', labeled.config, weights, '--out', out, *options)
    assert predicted.code == 0, predicted.err
    assert 'classes: labels (occ3d)' in predicted.out and 'only IoU' not in predicted.err
    grid = read_prediction(out / 'boxes/box0.npz')
    assert {ROAD, FREE} <= set(np.unique(grid)) <= {CAR, ROAD, FREE}
    result = run('sweep_occupancy', labeled.config, weights, '--out', tmp_path / 'sweep', *options, '--ray-iou')
    assert result.code == 0, result.err
    swept = json.loads((tmp_path / 'sweep/sweep.json').read_text())['settings'][0]['figures']
    scores = tmp_path / 'scores.json'
    assert run('score_occupancy', labeled.root / 'gts', out, '--out', scores).code == 0
    assert swept['miou'] == json.loads(scores.read_text())['miou'] and 'ray_iou' in swept
    evaluator = "[dict(type='OccupancyMetric', semantics='labels', label_set='occ3d', min_density=0.1)]"
    config = tmp_path / 'labels.py'
    config.write_text(f'_base_ = [{str(labeled.config)!r}]\ntest_evaluator = {evaluator}\n')
    names = ('--cfg-options', f'test_dataloader.dataset.label_maps={mapped}')
    tested = run(
        'test', config, weights, '--eval', 'occupancy', '--work-dir', tmp_path / 'work', '--out', scores, *names
    )
    assert tested.code == 0, tested.err
    assert json.loads(scores.read_text())['model']['occupancy/miou'] == pytest.approx(swept['miou'])


def test_missing_label_maps_are_refused_or_counted(labeled, weights, mapped, tmp_path):
    out = tmp_path / 'out'
    options = ('--out', out, '--semantics', 'labels', '--label-maps', mapped, '--label-set', 'occ3d')
    gone = sorted(mapped.rglob('*.npy'))[0]
    kept = gone.rename(tmp_path / 'kept.npy')
    refused = run('predict_occupancy', labeled.config, weights, *options)
    assert_refused(refused, 'no such label map', '0 more of 6', 'skip_missing=True', start=gone.with_suffix('.png'))
    skip = ('--cfg-options', 'test_dataloader.dataset.skip_missing=True')
    result = run('predict_occupancy', labeled.config, weights, *options, *skip)
    assert result.code == 0 and '1 of 6 label maps are missing, such as ' in result.err
    shutil.copy(kept, gone)
    shutil.copy(kept, gone.with_suffix('.png'))
    refused = run('predict_occupancy', labeled.config, weights, *options)
    assert_refused(refused, f'{gone} is a label map of the same image', start=gone.with_suffix('.png'))
    shutil.rmtree(mapped)
    refused = run('predict_occupancy', labeled.config, weights, *options, *skip)
    assert_refused(refused, 'no such label map', 'correct the dataset option label_maps')
    without = run('predict_occupancy', labeled.config, weights, *(options[:4]), '--label-set', 'occ3d')
    assert_refused(without, 'needs label maps', start=labeled.config)


def test_a_sample_knows_the_label_maps_of_its_images(labeled, mapped):
    option = {'test_dataloader.dataset.label_maps': str(mapped)}
    dataset = build_dataset(load_config(labeled.config, option), 'test')
    records = dataset[1]['data_samples'].label_maps
    assert [record.path.parent.name for record in records] == list(CAMERAS)
    assert {record.path.stem for record in records} == {'frame1'} and (records[0].height, records[0].width) == (32, 64)
    assert records == dataset.label_maps_of(1)
    assert build_dataset(load_config(labeled.config), 'test').label_maps_of(1) is None
    assert torch.is_tensor(dataset[1]['inputs']['input_views'].images)
