"""The dataset loads the frames that a protocol chose, also those between keyframes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from projects.DistillNeRF.datasets.infos import load_infos, save_infos
from projects.DistillNeRF.datasets.protocol_frames import BETWEEN, frames_of
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.boxdrive import write_drive
from tests.helpers.boxworld import CAMERAS, BoxWorld
from tests.helpers.dataset import ALL_MAPS, build_dataset

# Five keyframes 0.5 s and 1 m apart, with an image in the middle: two seconds and a bit.
WORLD = BoxWorld(size=(30, 50), frames=5, lidar_frames=(0, 1, 2, 3, 4), turn=0.0)


@pytest.fixture(scope='module')
def drive(tmp_path_factory) -> Path:
    """The root; tests must not change it."""
    root = tmp_path_factory.mktemp('drive')
    write_drive(root, WORLD)
    return root


def build(root: Path, protocol: str, **options):
    return build_dataset(root, test_mode=True, protocol=protocol, image_size=(30, 50), render_size=(15, 25), **options)


def global_pose(camera: str, time: float) -> np.ndarray:
    """Pose of a camera whose image belongs to a time in frames."""
    return WORLD.ego2global(time - WORLD.lags[CAMERAS.index(camera)]) @ WORLD.cam2ego(camera)


def test_frames_between_keyframes_stand_in_order_of_time(drive):
    infos = load_infos(drive / 'infos.pkl')[1]
    frames = frames_of(infos, CAMERAS, True, 'here')
    assert [BETWEEN in frame for frame in frames] == [False, True] * 4 + [False]
    np.testing.assert_allclose([frame['timestamp'] for frame in frames], np.arange(9) * 0.25, atol=1e-9)
    assert len({frame['token'] for frame in frames}) == 9
    assert frames_of(infos, CAMERAS, False, 'here') == infos


def test_the_lidar_of_a_frame_between_is_on_the_car_at_the_nearest_image(drive):
    """The camera whose image comes last is nearest to the time of the frame: 0.05 of a frame before it."""
    frame = frames_of(load_infos(drive / 'infos.pkl')[1], CAMERAS, True, 'here')[1]
    expected = WORLD.ego2global(0.5 - 0.05) @ WORLD.lidar2ego
    np.testing.assert_allclose(frame['lidar2global'], expected, atol=1e-9)


def test_windows_of_a_drive(drive):
    """Contexts are the keyframes; the frame after each is scored, by the three cameras that look to the front."""
    dataset = build(drive, 'storm')
    assert len(dataset) == 4
    for number in range(4):
        sample = dataset[number]
        inputs, targets = sample['inputs']['input_views'], sample['inputs']['target_views']
        assert inputs.names == targets.names == ('LEFT', 'FRONT', 'RIGHT')
        assert inputs.frames == (0,) * 3 and targets.frames == (1,) * 3
        assert sample['data_samples'].token == f'box{number}'
        groups = {'novel': [[0], [1], [2]]}
        assert sample['data_samples'].protocol == {'colors': groups, 'depths': {'novel': [[0, 1, 2]]}}
        for position, camera in enumerate(targets.names):
            pose = global_pose(camera, number + 0.5)
            now, then = (views.cameras.cam2world[position].double().numpy() for views in (inputs, targets))
            expected = np.linalg.inv(global_pose(camera, number)) @ pose
            np.testing.assert_allclose(np.linalg.inv(now) @ then, expected, atol=1e-4)
            image = torch.from_numpy(WORLD.view(pose)[0]).permute(2, 0, 1) / 255
            assert (targets.images[position] - image).abs().mean() < 1e-6


def test_bins_of_a_drive_have_inputs_between_keyframes(drive):
    """0.5 m per frame: the bin of 3.2 m has frames 0 to 6, and its center 1.6 m is nearest to frame 3, 1.5 m."""
    dataset = build(drive, 'omniscene', **ALL_MAPS)
    assert len(dataset) == 1
    sample = dataset[0]
    inputs, targets = sample['inputs']['input_views'], sample['inputs']['target_views']
    assert targets.frames == (0,) * 6 + (-3,) * 6 + (3,) * 6 and targets.names == CAMERAS * 3
    assert torch.equal(targets.images[:6], inputs.images)
    for position, camera in enumerate(targets.names):
        image = WORLD.view(global_pose(camera, (1.5, 0.0, 3.0)[position // 6]))[0]
        assert (targets.images[position] - torch.from_numpy(image).permute(2, 0, 1) / 255).abs().mean() < 1e-6
    units = sample['data_samples'].protocol['colors']
    assert units['novel'] == [[position] for position in range(6, 18)] and len(units['all']) == 18
    # Of a frame between keyframes there are images alone.
    for name in ('lidar_depth', 'teacher_depth', 'true_depth', 'sky_mask', 'features'):
        known = getattr(targets, name).isfinite().flatten(1).any(1)
        assert known.tolist() == [False] * 6 + [True] * 12, name


def test_keyframe_protocols_load_keyframes(drive):
    second = build(drive, 'distillnerf')
    assert [second[0]['data_samples'].token, len(second)] == ['box1', 1]
    assert second[0]['inputs']['target_views'].frames == (1,) * 6 + (0,) * 6
    single, several = build(drive, 'drivingforward_sf'), build(drive, 'drivingforward_mf')
    assert [single.get_token(i) for i in range(len(single))] == ['box0', 'box1', 'box2', 'box3']
    assert [several.get_token(i) for i in range(len(several))] == ['box0', 'box1', 'box2']


def test_other_options_thin_out_what_a_protocol_chose(drive):
    assert [build(drive, 'storm', every_nth=2).get_token(i) for i in (0, 1)] == ['box0', 'box2']
    chosen = build(drive, 'storm', indices=[3, 1])
    assert [chosen.get_token(i) for i in (0, 1)] == ['box3', 'box1']
    subset = build(drive, 'storm').get_subset([2])
    assert subset[0]['data_samples'].token == 'box2' and subset.planned(0).position == 4
    assert build(drive, 'storm', num_camera=1)[0]['inputs']['target_views'].names == ('FRONT',)


def test_no_sample_is_an_error_and_what_is_left_out_is_told(drive, tmp_path, capsys):
    few = r'protocol storm has no sample in its 1 scenes \(1 frames after the .*, 2 windows without frames between'
    with pytest.raises(InputError, match=few):
        BoxWorld(size=(30, 50), frames=9, turn=0.0).write(tmp_path)
        build(tmp_path, 'storm')
    build(drive, 'storm')
    assert 'protocol storm leaves out 1 frames after the last whole window' in capsys.readouterr().err
    with pytest.raises(InputError, match=r'convert scenes of three keyframes or more'):
        BoxWorld(size=(30, 50), frames=2, turn=0.0).write(tmp_path / 'short')
        build(tmp_path / 'short', 'distillnerf')


def test_data_that_are_trained_on_have_no_protocol(drive):
    with pytest.raises(InputError, match=r"protocol is 'storm', but these data are trained on"):
        build_dataset(drive, protocol='storm')


def changed(drive: Path, folder: Path, change) -> list[dict]:
    metainfo, infos = load_infos(drive / 'infos.pkl')
    change(infos)
    save_infos(folder / 'infos.pkl', 'boxworld', CAMERAS, infos, categories=metainfo['categories'])
    return load_infos(folder / 'infos.pkl')[1]


def test_an_instant_that_a_camera_missed_is_no_frame(drive, tmp_path, capsys):
    infos = changed(drive, tmp_path, lambda infos: infos[2]['image_sweeps'].update(BACK=[]))
    frames = frames_of(infos, CAMERAS, True, 'here')
    assert len(frames) == 8
    assert 'here: 1 instants between keyframes lack the image of a camera' in capsys.readouterr().err
    assert len(frames_of(infos, ['FRONT', 'LEFT'], True, 'here')) == 9


def test_cameras_that_miss_an_image_keep_the_others_apart(tmp_path):
    """Three images between keyframes; the back camera lacks the second: the third is no stand-in for it."""
    write_drive(tmp_path, BoxWorld(size=(30, 50), frames=2, turn=0.0), between=3)
    infos = load_infos(tmp_path / 'infos.pkl')[1]
    images = infos[1]['image_sweeps']['BACK']
    del images[1]
    frames = frames_of(infos, CAMERAS, True, 'here')
    assert [round(frame['timestamp'], 6) for frame in frames] == [0.0, 0.125, 0.375, 0.5]
    assert [frame['images']['BACK'] for frame in frames[1:3]] == images
