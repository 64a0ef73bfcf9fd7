"""Which frames, cameras, targets and files the dataset chooses."""

from __future__ import annotations

import math
import random
import shutil

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.boxworld import CAMERAS, TEACHER_SKY, BoxWorld
from tests.helpers.dataset import ALL_MAPS, PIPELINE, build_dataset


def test_targets_are_the_current_frame_alone_by_default(box_root):
    sample = build_dataset(box_root)[1]
    targets = sample['inputs']['target_views']
    assert targets.names == CAMERAS and targets.frames == (0,) * 6
    assert torch.equal(targets.images, sample['inputs']['input_views'].images)
    assert targets.teacher_depth is None and targets.true_depth is None and targets.features is None
    meta = sample['data_samples'].metainfo
    assert (meta['token'], meta['scene'], meta['frame'], meta['sample_idx']) == ('box1', 'boxes', 1, 1)
    assert meta['timestamp'] == 0.5 and meta['notes'] == []


def test_smart_sample_puts_a_random_neighbor_of_each_camera_first(box_root):
    dataset = build_dataset(box_root, training_target_smart_sample=True)
    random.seed(3)
    drawn = [dataset[1]['inputs']['target_views'] for _ in range(6)]
    for views in drawn:
        assert views.names == CAMERAS * 2
        assert set(views.frames[:6]) <= {-1, 1} and views.frames[6:] == (0,) * 6
    assert len({views.frames for views in drawn}) > 1
    assert any(len(set(views.frames[:6])) == 2 for views in drawn), 'each camera draws for itself'
    random.seed(3)
    assert dataset[1]['inputs']['target_views'].frames == drawn[0].frames


def test_all_previous_frames_come_in_order_of_time(box_root):
    dataset = build_dataset(box_root, all_prev_frames=True)
    assert dataset[2]['inputs']['target_views'].frames == (-2,) * 6 + (-1,) * 6 + (0,) * 6
    sample = dataset[1]
    views = sample['inputs']['target_views']
    assert views.names == CAMERAS * 3 and views.frames == (0,) * 6 + (-1,) * 6 + (0,) * 6
    assert 'FRONT: frame -2 of box1 does not exist' in sample['data_samples'].metainfo['notes'][1]
    with pytest.raises(InputError, match='all_prev_frames'):
        build_dataset(box_root, all_prev_frames=True, training_target_smart_sample=True)


def test_the_last_frame_repeats_itself_and_says_so(box_root):
    dataset = build_dataset(box_root, test_mode=True, add_next_frame_for_eval=True)
    sample = dataset[2]
    views = sample['inputs']['target_views']
    assert views.frames == (0,) * 12
    assert torch.equal(views.images[:6], views.images[6:])
    notes = sample['data_samples'].metainfo['notes']
    assert len(notes) == 6 and 'FRONT: frame +1 of box2 does not exist' in notes[1]


def test_frames_without_lidar_are_unknown_and_say_so(tmp_path):
    BoxWorld(lidar_frames=(0, 2)).write(tmp_path)
    sample = build_dataset(tmp_path, test_mode=True, add_next_frame_for_eval=True)[0]
    lidar = sample['inputs']['target_views'].lidar_depth
    assert torch.isnan(lidar[:6]).all() and torch.isfinite(lidar[6:]).any()
    assert sample['data_samples'].metainfo['notes'] == ['box1: has no LiDAR']
    assert len(build_dataset(tmp_path, require_lidar=True)) == 2


def test_maps_are_loaded_when_asked_for(box_root):
    views = build_dataset(box_root, **ALL_MAPS)[1]['inputs']['target_views']
    sky = views.sky_mask == 1
    assert views.teacher_depth.shape == (6, 60, 100) and (views.teacher_depth[sky] == TEACHER_SKY).all()
    assert torch.equal(torch.isnan(views.true_depth), sky) and sky.any() and not sky.all()
    assert views.features.shape == (6, 8, 4, 6) and (views.features == 1).all()


def test_nothing_is_read_that_is_not_used(tmp_path):
    BoxWorld().write(tmp_path)
    for folder in ('truth', 'samples_0_0_0_0_0_0', 'lidar', 'samples/BACK'):
        shutil.rmtree(tmp_path / folder)
    dataset = build_dataset(tmp_path, load_lidar=False, cameras=['RIGHT', 'LEFT'], indices=[1], every_nth=1)
    sample = dataset[0]
    assert sample['inputs']['input_views'].names == ('RIGHT', 'LEFT')
    assert sample['inputs']['input_views'].lidar_depth is None


def test_a_missing_map_is_nan_with_skip_missing(tmp_path, caplog):
    BoxWorld(frames=1, lidar_frames=(0,)).write(tmp_path)
    missing = tmp_path / 'samples_0_0_0_0_0_0/depths/FRONT/frame0.npy'
    missing.unlink()
    with pytest.raises(InputError, match=f'{missing}.*data_prefix.teacher'):
        build_dataset(tmp_path, load_teacher=True)
    views = build_dataset(tmp_path, load_teacher=True, skip_missing=True)[0]['inputs']['input_views']
    front = CAMERAS.index('FRONT')
    assert torch.isnan(views.teacher_depth[front]).all()
    assert torch.isfinite(views.teacher_depth[:front]).all() and torch.isfinite(views.sky_mask).all()


def test_the_published_spelling_of_skip_missing_is_accepted(box_root):
    assert build_dataset(box_root).skip_missing is False
    for options in ({'skip_missing': True}, {'SKIP_MISSING': True}, {'skip_missing': True, 'SKIP_MISSING': True}):
        assert build_dataset(box_root, **options).skip_missing is True
    with pytest.raises(InputError, match=r'skip_missing is False, and SKIP_MISSING .*True; leave one'):
        build_dataset(box_root, skip_missing=False, SKIP_MISSING=True)


def test_options_choose_the_samples(box_root):
    assert len(build_dataset(box_root)) == 3
    assert len(build_dataset(box_root, every_nth=2)) == 2
    assert len(build_dataset(box_root, indices=1)) == 1
    second = build_dataset(box_root, test_mode=True, test_samples='second_of_scene', add_next_frame_for_eval=True)
    assert len(second) == 1 and second[0]['data_samples'].token == 'box1'
    assert second[-1]['inputs']['target_views'].frames[0] == 1, 'frames outside the choice stay targets'
    subset = build_dataset(box_root).get_subset([2, 0])
    assert [subset[i]['data_samples'].token for i in range(len(subset))] == ['box2', 'box0']


def test_world_is_the_lidar_frame_of_the_current_keyframe(box_root):
    world = BoxWorld()
    for frame in range(3):
        cameras = build_dataset(box_root)[frame]['inputs']['input_views'].cameras
        lidar2global = world.ego2global(frame) @ world.lidar2ego
        for index, camera in enumerate(CAMERAS):
            cam2global = world.ego2global(frame - world.lags[index]) @ world.cam2ego(camera)
            assert np.allclose(cameras.cam2world[index], np.linalg.inv(lidar2global) @ cam2global, atol=1e-4)


def test_batches_are_lists_also_from_worker_processes(box_root):
    dataset = build_dataset(box_root, training_target_smart_sample=True)
    loader = DataLoader(dataset, batch_size=2, num_workers=1, collate_fn=pseudo_collate)
    batch = next(iter(loader))
    assert [type(views) for views in batch['inputs']['target_views']] == [Views, Views]
    assert len(batch['data_samples']) == 2


@pytest.mark.parametrize('name', ['minitown', 'pandaset', 'nuscenes'])
def test_config_fragments_build(repo_root, box_root, name):
    config = Config.fromfile(repo_root / f'projects/DistillNeRF/configs/datasets/{name}.py')
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        options = dict(config[key].dataset)
        options.update(ann_file='infos.pkl', data_root=str(box_root), data_prefix={}, render_size=(20, 30))
        sample = build_dataset(box_root, **options)[0]
        assert sample['inputs']['input_views'].images.shape[-2:] == tuple(options['image_size'])
        assert tuple(config[key].dataset.render_size) == tuple(side // 2 for side in options['image_size'])
        neighbors = options.get('training_target_smart_sample') or options.get('add_next_frame_for_eval')
        assert len(sample['inputs']['target_views']) == (12 if neighbors else 6)


def test_virtual_views_are_what_shifted_cameras_see(box_root):
    dataset = build_dataset(
        box_root,
        load_teacher=True,
        training_target_smart_sample=True,
        virtual_img_target_smart_sample=True,
        enable_upward_virtual_cam=True,
    )
    world, seen = BoxWorld(), set()
    lidar2global = world.ego2global(1) @ world.lidar2ego
    random.seed(0)
    for _ in range(3):
        views = dataset[1]['inputs']['target_views']
        assert len(views) == 18 and views.names[:6] == views.names[12:] == CAMERAS
        for position in range(6, 12):
            camera, name = views.names[position].split()
            assert camera == CAMERAS[position - 6] and views.frames[position] == 0
            seen.add(name)
            image, depth = world.view(lidar2global @ views.cameras.cam2world[position].double().numpy())
            ours = views.images[position].permute(1, 2, 0).numpy() * 255
            # JPEG blurs the borders of the boxes.
            assert (np.abs(ours - image) < 12).mean() > 0.9
            known = ~np.isnan(depth)
            near = np.abs(views.teacher_depth[position].numpy() - depth)[known] < 0.01 * depth[known] + 0.02
            assert near.mean() > 0.99
            assert torch.isnan(views.lidar_depth[position]).all()
    assert seen == {'-1_0_0', '1_0_0', '0_-1_0'}
    sideways = build_dataset(box_root, virtual_img_target_smart_sample=True)
    names = {name.split()[1] for _ in range(4) for name in sideways[0]['inputs']['target_views'].names[:6]}
    assert names == {'-1_0_0', '1_0_0'}
    testing = build_dataset(box_root, virtual_img_target_smart_sample=True, test_mode=True)
    assert len(testing[0]['inputs']['target_views']) == 6


def test_one_new_view_of_each_camera(box_root):
    both = {'training_target_smart_sample': True, 'virtual_img_target_smart_sample': True}
    dataset = build_dataset(box_root, **both, one_new_view_each=True)
    seen = set()
    for _ in range(8):
        views = dataset[1]['inputs']['target_views']
        assert len(views) == 12 and views.names[6:] == dataset.cameras
        assert sorted(name.split()[0] for name in views.names[:6]) == sorted(dataset.cameras)
        places = zip(views.names, views.frames, strict=True)
        seen |= {name.split()[1] if ' ' in name else frame for name, frame in places}
    assert {'-1_0_0', '1_0_0', 0} < seen and seen & {-1, 1}
    assert len(build_dataset(box_root, **both)[1]['inputs']['target_views']) == 18
    assert (
        len(build_dataset(box_root, **both, one_new_view_each=True, test_mode=True)[1]['inputs']['target_views']) == 6
    )
    with pytest.raises(InputError, match='training_target_smart_sample and virtual'):
        build_dataset(box_root, virtual_img_target_smart_sample=True, one_new_view_each=True)


def test_a_smaller_virtual_view_has_the_same_field_of_view(tmp_path):
    BoxWorld(frames=1, lidar_frames=(0,)).write(tmp_path)
    for path in tmp_path.glob('samples_*_0_0_0_0/rgbs/*/*.jpg'):
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (50, 30)))
    views = build_dataset(tmp_path, virtual_img_target_smart_sample=True)[0]['inputs']['target_views']
    torch.testing.assert_close(views.cameras.intrinsics[:6], views.cameras.intrinsics[6:])
    for path in tmp_path.glob('samples_*_0_0_0_0/rgbs/*/*.jpg'):
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (50, 50)))
    with pytest.raises(InputError, match='not the shape'):
        build_dataset(tmp_path, virtual_img_target_smart_sample=True)[0]


def test_missing_virtual_views_are_refused_or_left_out(tmp_path):
    BoxWorld(frames=1, lidar_frames=(0,)).write(tmp_path)
    missing = tmp_path / 'samples_1_0_0_0_0_0/rgbs/FRONT/frame0.jpg'
    missing.unlink()
    with pytest.raises(InputError, match=f'{missing}.*data_prefix.teacher'):
        build_dataset(tmp_path, virtual_img_target_smart_sample=True)
    dataset = build_dataset(tmp_path, virtual_img_target_smart_sample=True, SKIP_MISSING=True)
    assert {dataset[0]['inputs']['target_views'].names[1] for _ in range(8)} == {'FRONT -1_0_0'}
    (tmp_path / 'samples_-1_0_0_0_0_0/rgbs/FRONT/frame0.jpg').unlink()
    sample = dataset[0]
    assert len(sample['inputs']['target_views']) == 11
    assert 'FRONT: the teacher has no virtual view of box0' in sample['data_samples'].notes
    with pytest.raises(InputError, match='enable_upward'):
        build_dataset(tmp_path, enable_upward_virtual_cam=True)


def test_more_sweeps_know_more_pixels(box_root):
    one, three = (
        build_dataset(box_root, lidar_sweeps=sweeps)[1]['inputs']['input_views'].lidar_depth for sweeps in (1, 3)
    )
    known = torch.isfinite(one)
    assert torch.isfinite(three)[known].all()
    assert torch.isfinite(three).sum() > 1.05 * known.sum(), 'the LiDAR of the box world is dense already'
    assert (three[known] <= one[known]).all()
    truth = build_dataset(box_root, load_truth=True)[1]['inputs']['input_views'].true_depth
    low = -torch.nn.functional.max_pool2d(-truth.nan_to_num(nan=1e3), 5, 2, 2)
    both = torch.isfinite(three)
    assert (three[both] > 0.9 * low[both]).float().mean() > 0.99, 'the world stands still: sweeps agree with it'


def test_the_most_frontal_cameras_are_kept(box_root):
    for count, expected in ((1, ('FRONT',)), (3, ('LEFT', 'FRONT', 'RIGHT')), (6, CAMERAS)):
        assert build_dataset(box_root, num_camera=count)[0]['inputs']['input_views'].names == expected
    for wrong in (0, 7, 1.5):
        with pytest.raises(InputError, match='num_camera'):
            build_dataset(box_root, num_camera=wrong)


def test_points_beyond_the_lidar_range_are_left_out(box_root):
    near = build_dataset(box_root, lidar_range=6.0)[1]['inputs']['input_views'].lidar_depth
    assert near[torch.isfinite(near)].max() < 6


def test_flips_mirror_inputs_and_targets(box_root):
    plain = build_dataset(box_root)[1]
    flip = [*PIPELINE, {'type': 'FlipViews', 'probability': 1.0}]
    flipped = build_dataset(box_root, pipeline=flip)[1]
    for name in ('input_views', 'target_views'):
        ours, expected = flipped['inputs'][name], plain['inputs'][name]
        assert torch.equal(ours.images, expected.images.flip(-1))
        torch.testing.assert_close(ours.lidar_depth, expected.lidar_depth.flip(-1), rtol=0, atol=0, equal_nan=True)


def test_sizes_may_be_lists_of_whole_numbers(box_root):
    dataset = build_dataset(box_root, image_size=[30.0, 50.0], render_size=[15, 25])
    assert dataset.image_size == (30, 50)
    assert dataset[0]['inputs']['input_views'].images.shape[-2:] == (30, 50)


@pytest.mark.parametrize('size', ['3050', 30, (30.5, 50), (math.nan, 50), None])
def test_wrong_sizes_are_refused(box_root, size):
    with pytest.raises(InputError, match=r'image_size is .*; give \(height, width\) in pixels'):
        build_dataset(box_root, image_size=size)


def test_folders_may_begin_at_home(box_root, monkeypatch):
    monkeypatch.setenv('HOME', str(box_root.parent))
    dataset = build_dataset(f'~/{box_root.name}/', data_prefix={'img': f'~/{box_root.name}/'}, load_lidar=False)
    assert dataset[0]['inputs']['input_views'].images.isfinite().all()


def test_the_brightness_of_the_first_sample_is_looked_at(box_root, tmp_path, capsys):
    build_dataset(box_root)
    assert 'nearly black' not in capsys.readouterr().err
    shutil.copytree(box_root, tmp_path / 'dark')
    path = tmp_path / 'dark/samples/FRONT/frame0.png'
    cv2.imwrite(str(path), cv2.imread(str(path)) // 32)
    build_dataset(tmp_path / 'dark')
    [line] = [line for line in capsys.readouterr().err.splitlines() if 'nearly black' in line]
    assert f'1 of 6 images that were looked at are nearly black, first {path}' in line
