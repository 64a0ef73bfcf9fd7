"""MiniTown through its converter and the dataset: its LiDAR, its truth and its cameras must agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from projects.DistillNeRF.datasets.infos import load_infos
from projects.DistillNeRF.engine import create_minitown as converter
from projects.DistillNeRF.semantics.classes import code_book
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.boxworld import BoxWorld
from tests.helpers.dataset import build_dataset
from tests.helpers.rawdata import write_nuscenes
from tools.create_data import main


def test_lidar_truth_and_teacher_agree(town):
    options = {'load_teacher': True, 'load_truth': True, 'test_mode': True, 'add_next_frame_for_eval': True}
    dataset = build_dataset(
        town,
        ann_file='minitown_infos_val.pkl',
        data_prefix={'teacher': '../town_emernerf'},
        image_size=(56, 100),
        render_size=(28, 50),
        **options,
    )
    assert len(dataset) == 3
    views = dataset[1]['inputs']['target_views']
    assert views.frames == (1,) * 6 + (0,) * 6
    assert torch.equal(torch.isnan(views.true_depth), views.sky_mask == 1)
    known = torch.isfinite(views.true_depth)
    assert torch.equal(views.teacher_depth[known], views.true_depth[known])
    blocks = views.true_depth.nan_to_num(nan=1e3).unfold(1, 2, 2).unfold(2, 2, 2).flatten(3)
    lidar = views.lidar_depth
    fits = (lidar > 0.95 * blocks.amin(-1)) & (lidar < 1.05 * blocks.amax(-1))
    measured = torch.isfinite(lidar).flatten(1)
    assert (measured.float().mean(dim=1) > 0.05).all()
    assert ((fits.flatten(1) & measured).sum(dim=1) / measured.sum(dim=1) > 0.9).all()


def test_what_moves_is_what_has_a_velocity(town):
    """The boxes of this town in the order of their numbers: the first and the third drive."""
    options = {'load_truth': True, 'test_mode': True, 'add_next_frame_for_eval': True, 'load_lidar': False}
    sizes = {'image_size': (28, 50), 'render_size': (14, 25)}
    dataset = build_dataset(town, ann_file='minitown_infos_val.pkl', **options, **sizes)
    # The second keyframe: objects have one before and one after.
    views = dataset[1]['inputs']['target_views']
    assert views.moving.shape == (12, 28, 50) and views[6:].frames == (0,) * 6
    shown = 0
    for number, name in enumerate(views.names[6:], 6):
        path = sorted((town / 'truth/instances' / name).glob('minitown-0002__*.png'))[1]
        numbers = np.array(Image.open(path))[1::2, 1::2]
        assert np.array_equal(views.moving[number].numpy(), np.isin(numbers, (1, 3)))
        shown += len(np.unique(numbers))
    assert 0 < views.moving[6:].mean() < 0.5 and shown > 8
    infos = load_infos(town / 'minitown_infos_val.pkl')[1]
    speeds = np.array([info['instance_speeds'] for info in infos])
    np.testing.assert_allclose(speeds, [[2, 0, 2, 0]] * 3, atol=0.01)


def test_features_of_the_code_book_are_those_of_the_true_classes(town):
    pipeline = [{'type': name} for name in ('LoadViews', 'CodeBookFeatures', 'PackViews')]
    sizes = {'image_size': (28, 50), 'render_size': (14, 25)}
    options = {'ann_file': 'minitown_infos_val.pkl', 'load_lidar': False, 'pipeline': pipeline, **sizes}
    dataset = build_dataset(town, load_truth=True, **options)
    views = dataset[1]['inputs']['input_views']
    assert views.features.shape == (6, 64, 14, 25)
    classes = torch.einsum('vchw,kc->vkhw', views.features, torch.from_numpy(code_book())).argmax(1)
    for number, name in enumerate(views.names):
        path = sorted((town / 'truth/classes' / name).glob('minitown-0002__*.png'))[1]
        true = np.array(Image.open(path))
        # Images were halved; rendered pixels span them corner to corner.
        rows, columns = ((np.arange(n) * (m - 1) / (n - 1) * 2 + 1).astype(int) for n, m in ((14, 28), (25, 50)))
        assert np.array_equal(classes[number].numpy(), true[rows[:, None], columns])
    assert len(classes.unique()) > 3
    with pytest.raises(InputError, match=r'no class map.*load_truth=True'):
        build_dataset(town, **options)[1]


def test_command_passes_its_options_on(tmp_path, monkeypatch):
    seen = {}

    def fake(root, workers, progress, **settings):
        seen.update(settings, workers=workers)
        write_nuscenes(BoxWorld(), root, {'train': ['minitown-0001'], 'val': ['minitown-0002']})
        progress(2, 2)

    monkeypatch.setattr(converter, 'generate', fake)
    root = tmp_path / 'town'
    root.mkdir()
    main(['minitown', '--root-path', str(root), '--scenes', '2', '--seed', '5', '--workers', '3', '--extra-tag', 'mt'])
    assert seen == {'scenes': 2, 'seed': 5, 'workers': 3, 'keyframes': 8, 'height': 112, 'width': 200}
    metainfo, infos = load_infos(root / 'mt_infos_val.pkl')
    assert metainfo['dataset'] == 'minitown'
    image = infos[0]['images']['CAM_FRONT']
    stem = Path(image['img_path']).stem
    assert image['truth']['depth'] == f'truth/depth/CAM_FRONT/{stem}.npy'
    assert image['teacher']['sky_mask'] == f'samples_0_0_0_0_0_0/gt_sky_masks/CAM_FRONT/{stem}.npy'
