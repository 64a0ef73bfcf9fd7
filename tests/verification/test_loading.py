"""The benchmark of loading runs on data of its own, plain and cached."""

from __future__ import annotations

import json
import sys

import pytest

from projects.DistillNeRF.datasets.dataset import DistillNeRFDataset
from tests.helpers.commands import ROOT, run
from verification.benchmark import loading
from verification.benchmark.loading_data import make

CONFIG = ROOT / 'projects/DistillNeRF/configs/model_wrapper/model_wrapper_sweeplidar.py'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp('random'), keyframes=2, sweeps=2, teacher_size=(90, 160))


def test_the_command_prints_what_each_part_costs(folder, tmp_path, monkeypatch, capsys):
    options = ('--cfg-options', f'data_root={folder}', 'cache=cache')
    made = run('create_data', 'cache', CONFIG, *options)
    assert made.code == 0, made.err
    file = tmp_path / 'figures.json'
    arguments = [str(CONFIG), '--repetitions', '1', '--json', str(file), *options]
    arguments.append('train_dataloader.dataset.resize_teacher=True')
    monkeypatch.setattr(sys, 'argv', ['loading.py', *arguments])
    loading.main()
    printed = capsys.readouterr().out
    for word in (
        '2 samples, 12 target views of 128x228',
        'cached CPU ms',
        'LoadLidarDepth',
        'resize_teacher',
        'images_',
    ):
        assert word in printed
    figures = json.loads(file.read_text())
    plain, cached = figures['costs']['plain'], figures['costs']['cached']
    assert plain['seconds'].keys() == cached['seconds'].keys()
    # 18 views: images, LiDAR, teacher depth and sky at 64x114, and the two matrices of the camera.
    pixels, cells = 128 * 228 * 3 * 4, 64 * 114
    assert plain['handed'] == cached['handed'] == 18 * (pixels + cells * (4 + 4 + 4) + 4 * (9 + 16))
    assert figures['bytes of a cached file']['images_128x228'] > 128 * 228 * 3


def test_the_data_are_a_valid_data_set(folder, recwarn):
    dataset = DistillNeRFDataset('nuscenes_infos_train.pkl', str(folder), image_size=(8, 8), render_size=(4, 4))
    assert len(dataset) == 2 and not recwarn.list
    assert len(list((folder / 'samples').rglob('*.jpg'))) == 12
