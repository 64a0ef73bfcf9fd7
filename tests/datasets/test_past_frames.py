"""The images of the keyframe before as inputs: which keyframe that is, its poses, and what is read of it."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate

from projects.DistillNeRF.datasets.availability import PAST
from projects.DistillNeRF.datasets.infos import load_infos, save_infos
from projects.DistillNeRF.geometry.views import Views, mirror_views
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.boxdrive import write_drive
from tests.helpers.boxworld import CAMERAS, BoxWorld
from tests.helpers.dataset import ALL_MAPS, PIPELINE, build_dataset


def below(folder: str, value: Any) -> Any:
    """Return a record whose paths lie below a folder."""
    if isinstance(value, dict):
        return {key: below(folder, part) for key, part in value.items()}
    if isinstance(value, list):
        return [below(folder, part) for part in value]
    return f'{folder}/{value}' if isinstance(value, str) and '/' in value else value


def inputs_of(dataset, index: int) -> Views:
    return dataset[index]['inputs']['input_views']


def test_the_keyframe_before_comes_with_the_inputs_in_the_world_of_the_sample(box_root):
    plain, dataset, world = build_dataset(box_root), build_dataset(box_root, num_past=1), BoxWorld()
    assert plain[1]['inputs']['input_views'].past is None
    for frame in (1, 2):
        past, before = inputs_of(dataset, frame).past, inputs_of(plain, frame - 1)
        assert past.names == CAMERAS and past.frames == (-1,) * 6
        assert torch.equal(past.images, before.images) and torch.equal(
            past.cameras.intrinsics, before.cameras.intrinsics
        )
        global2lidar = np.linalg.inv(world.ego2global(frame) @ world.lidar2ego)
        for number, (camera, lag) in enumerate(zip(CAMERAS, world.lags, strict=True)):
            cam2global = world.ego2global(frame - 1 - lag) @ world.cam2ego(camera)
            expected = torch.from_numpy(global2lidar @ cam2global).float()
            torch.testing.assert_close(past.cameras.cam2world[number], expected, atol=1e-4, rtol=0)
        assert past.lidar_depth is None and past.past is None
    assert dataset.availability[PAST].there == 2 and dataset.availability[PAST].total == 3


def test_the_first_keyframe_of_a_scene_has_no_past_and_says_so(box_root):
    sample = build_dataset(box_root, num_past=1)[0]
    assert sample['inputs']['input_views'].past is None
    assert sample['data_samples'].notes == ['box0: has no keyframe before it: no past']
    assert build_dataset(box_root, num_past=1)[1]['data_samples'].notes == []


def test_records_say_which_keyframe_is_before_not_their_place_in_the_file(tmp_path):
    """Two scenes whose records alternate in the file: the record before is that of the other scene."""
    metainfo, infos = load_infos(BoxWorld().write(tmp_path))
    BoxWorld().write(tmp_path / 'other')
    other = [dict(below('other', info), token=f'other{info["frame"]}', scene='other') for info in infos]
    for number, info in enumerate(other):
        info['prev'] = f'other{number - 1}' if number else None
        info['next'] = f'other{number + 1}' if number + 1 < len(other) else None
    mixed = [info for pair in zip(reversed(infos), other, strict=True) for info in pair]
    save_infos(tmp_path / 'infos.pkl', 'boxworld', CAMERAS, mixed, categories=metainfo['categories'])
    dataset = build_dataset(tmp_path, num_past=1)
    before = {}
    for index in range(len(dataset)):
        sample = dataset.get_data_info(index)
        before[sample['token']] = {view['token'] for view in sample['past_views'].values()}
    assert before == {
        **{'box0': set(), 'box1': {'box0'}, 'box2': {'box1'}},
        **{'other0': set(), 'other1': {'other0'}, 'other2': {'other1'}},
    }


def test_of_a_past_that_is_no_target_images_alone_are_read(tmp_path):
    BoxWorld().write(tmp_path)
    for folder in ('truth', 'samples_0_0_0_0_0_0', 'features', 'lidar'):
        for path in (tmp_path / folder).rglob('*0.*') if (tmp_path / folder).is_dir() else ():
            path.unlink()
    maps = {'load_teacher': True, 'load_truth': True}
    sample = build_dataset(tmp_path, num_past=1, indices=[1], **maps)
    assert inputs_of(sample, 0).past.images.shape == (6, 3, 60, 100)
    with pytest.raises(InputError, match='no such LiDAR file'):
        build_dataset(tmp_path, num_past=1, indices=[1], all_prev_frames=True, **maps)


def test_a_past_that_is_a_target_too_is_loaded_once(box_root, monkeypatch):
    dataset = build_dataset(box_root, num_past=1, all_prev_frames=True, **ALL_MAPS)
    sample = dataset.get_data_info(2)
    assert all(view is sample['views'][key] for key, view in sample['past_views'].items())
    inputs = dataset[2]['inputs']
    targets = inputs['target_views']
    assert torch.equal(inputs['input_views'].past.images, targets[targets.frames.index(-1) :].images[:6])
    assert inputs['input_views'].past.lidar_depth is None and targets.lidar_depth is not None


def test_a_missing_past_image_is_an_error(tmp_path):
    BoxWorld().write(tmp_path)
    missing = tmp_path / 'samples/FRONT/frame0.png'
    missing.unlink()
    assert len(build_dataset(tmp_path, indices=[1])) == 1
    with pytest.raises(InputError, match=f'{missing}: no such image'):
        build_dataset(tmp_path, indices=[1], num_past=1)
    build_dataset(tmp_path, indices=[1], num_past=1, cameras=['LEFT'])


def test_data_without_any_past_warn(tmp_path, caplog):
    BoxWorld(frames=1, lidar_frames=(0,)).write(tmp_path)
    build_dataset(tmp_path, num_past=1)
    assert 'num_past is 1, but no sample has a keyframe before it' in caplog.text
    with pytest.raises(InputError, match='num_past is 2; give 1'):
        build_dataset(tmp_path, num_past=2)


def test_thinned_samples_keep_their_past_and_a_reloaded_dataset_gets_one(box_root):
    dataset = build_dataset(box_root, indices=[2])
    assert inputs_of(dataset, 0).past is None
    dataset.reload(num_past=1)
    assert inputs_of(dataset, 0).past.frames == (-1,) * 6 and len(dataset) == 1
    with pytest.raises(InputError, match='num_past is 3'):
        dataset.reload(num_past=3)


@pytest.mark.parametrize('protocol', ['storm', 'omniscene'])
def test_in_a_protocol_with_images_between_keyframes_the_past_is_the_keyframe_before(tmp_path, protocol):
    """Offsets count frames, as those of the targets do; an input between keyframes has the one that it comes after."""
    world = BoxWorld(size=(12, 20), frames=6, lidar_frames=tuple(range(6)), turn=0.0, step=(2.0, 0.0))
    write_drive(tmp_path, world, between=3)
    size = {'image_size': (12, 20), 'render_size': (6, 10)}
    dataset = build_dataset(tmp_path, num_past=1, test_mode=True, protocol=protocol, **size)
    kinds = set()
    for index in range(len(dataset)):
        sample = dataset.get_data_info(index)
        number, _, part = sample['token'].removeprefix('box').partition('-')
        past = sample['past_views']
        if number == '0':
            assert not past
            continue
        kinds.add(bool(part))
        offset = -(int(part) + 1) if part else -4
        assert {(key[0], view['frame'], view['token']) for key, view in past.items()} == {
            (offset, offset, f'box{int(number) - 1}')
        }
        assert len(past) == len(dataset.cameras)
    assert (protocol == 'omniscene') in kinds


def test_a_past_comes_mirrored_with_its_sample_and_travels_with_it(box_root):
    random.seed(0)
    flipped = build_dataset(box_root, num_past=1, pipeline=[*PIPELINE, {'type': 'FlipViews', 'probability': 1.0}])
    plain = inputs_of(build_dataset(box_root, num_past=1), 2)
    past = inputs_of(flipped, 2).past
    expected = mirror_views(plain.past)
    assert torch.equal(past.images, plain.past.images.flip(-1)) and torch.equal(past.images, expected.images)
    torch.testing.assert_close(past.cameras.cam2world, expected.cameras.cam2world, atol=0, rtol=0)
    assert past.cameras.cam2world[0, 0, 3] == -plain.past.cameras.cam2world[0, 0, 3] != 0
    moved = plain.to(torch.float64)
    assert moved.past.images.dtype == moved.past.cameras.cam2world.dtype == torch.float64
    assert plain[[1, 0]].past is plain.past
    batch = pseudo_collate([build_dataset(box_root, num_past=1)[index] for index in (0, 1)])
    assert [views.past is None for views in batch['inputs']['input_views']] == [True, False]


def test_a_cache_has_the_images_of_the_past_and_no_lidar_of_it(tmp_path):
    from tests.engine.test_create_cache import make

    BoxWorld().write(tmp_path)
    options = {'indices': [2], 'num_past': 1, 'load_teacher': False, 'lidar_sweeps': 1}
    options |= dict.fromkeys(
        ('training_target_smart_sample', 'virtual_img_target_smart_sample', 'enable_upward_virtual_cam'), False
    )
    make(tmp_path, **options)
    made = {str(path.relative_to(tmp_path / 'cache')) for path in (tmp_path / 'cache').rglob('*.cache')}
    sizes = {'image_size': (30, 50), 'render_size': (15, 25), 'indices': [2], 'num_past': 1}
    past = inputs_of(build_dataset(tmp_path, cache='cache', **sizes), 0).past
    assert torch.equal(past.images, inputs_of(build_dataset(tmp_path, **sizes), 0).past.images)
    assert {path.rsplit('/', 1)[1][:6] for path in made if path.startswith('lidar')} == {'frame2'}
    assert {path.rsplit('/', 1)[1][:6] for path in made if path.startswith('images')} == {'frame1', 'frame2'}
    shutil.rmtree(tmp_path / 'cache/images_30x50/img/samples/FRONT')
    with pytest.raises(InputError, match=str(Path('img/samples/FRONT'))):
        build_dataset(tmp_path, cache='cache', **sizes)
