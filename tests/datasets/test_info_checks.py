"""What no car can have done: refused in every converter and at every loading of an info file, or said."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import numpy as np
import pytest
from pyquaternion import Quaternion

from projects.DistillNeRF.datasets.infos import check_infos, load_infos, save_infos
from projects.DistillNeRF.datasets.rig_checks import direction_of_name
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.boxworld import rotation_z, shift
from tests.helpers.refusals import assert_refused


@pytest.fixture(scope='module')
def two_scenes(box_root) -> list[dict]:
    """Three frames of the box world, twice, as two scenes."""
    _, infos = load_infos(box_root / 'infos.pkl')
    again = copy.deepcopy(infos)
    for info in again:
        info['scene'], info['token'] = 'more', f'more-{info["token"]}'
        info.update({link: info[link] and f'more-{info[link]}' for link in ('prev', 'next')})
        name_other_files(info)
    return infos + again


def name_other_files(info: dict) -> None:
    """Put all files of a record into a folder of their own."""
    if info['lidar_points']:
        info['lidar_points']['lidar_path'] = f'more/{info["lidar_points"]["lidar_path"]}'
    for image in info['images'].values():
        image['img_path'] = f'more/{image["img_path"]}'
        for kind in ('teacher', 'truth', 'features'):
            if isinstance(image.get(kind), dict):
                image[kind] = {name: f'more/{path}' for name, path in image[kind].items()}
            elif image.get(kind):
                image[kind] = f'more/{image[kind]}'


@pytest.fixture
def infos(two_scenes) -> list[dict]:
    return copy.deepcopy(two_scenes)


def move(info: dict, change: np.ndarray, on_the_left: bool = False) -> None:
    """Change the pose of a keyframe's vehicle and of everything on it."""

    def moved(pose: list) -> list:
        return (change @ pose if on_the_left else info_pose @ change @ np.linalg.inv(info_pose) @ pose).tolist()

    info_pose = np.asarray(info['ego2global'])
    for record in (info, *info['images'].values(), *info['lidar_sweeps']):
        for key in ('ego2global', 'lidar2global', 'cam2global'):
            if key in record:
                record[key] = moved(record[key])


def set_camera(info: dict, name: str, cam2lidar: np.ndarray) -> None:
    """Move a camera, in all its poses."""
    image = info['images'][name]
    image['cam2global'] = (info['lidar2global'] @ cam2lidar).tolist()
    image['lidar2cam'] = np.linalg.inv(cam2lidar).tolist()
    del image['cam2ego']


def cam2lidar(info: dict, name: str) -> np.ndarray:
    return np.linalg.inv(info['images'][name]['lidar2cam'])


def wrong_order(pose: np.ndarray) -> np.ndarray:
    """The pose whose quaternion was written x y z w and read w x y z."""
    w, x, y, z = Quaternion(matrix=np.asarray(pose)[:3, :3])
    result = np.array(pose, dtype=float)
    result[:3, :3] = Quaternion(x, y, z, w).rotation_matrix
    return result


def refused(infos: list[dict], *words: str) -> None:
    """One line with these words, when it is written and when it is read."""
    for converting in (False, True):
        check = partial(check_infos, infos, 'file.pkl', converting)
        message = assert_refused(check, *words, start='file.pkl')
        assert ('convert the data again' in message) <= (not converting)


def test_right_records_pass(infos, capsys):
    check_infos(infos, 'file.pkl')
    assert [line for line in capsys.readouterr().err.splitlines() if 'sees nothing' not in line] == []


def test_a_camera_quaternion_in_the_wrong_order_is_refused(infos):
    set_camera(infos[2], 'FRONT', wrong_order(cam2lidar(infos[2], 'FRONT')))
    refused(infos, 'sample box2, FRONT', 'x y z w')


def test_a_vehicle_quaternion_in_the_wrong_order_is_refused(infos):
    # A yaw of 30 degrees: the up axis tilts.
    for info in infos:
        pose = np.asarray(info['ego2global'])
        move(info, np.linalg.inv(pose) @ wrong_order(pose))
    refused(infos, 'sample box0: ego2global: its up is tilted', 'x y z w')


def test_driving_backwards_in_all_scenes_is_refused(infos):
    """With no yaw at all, the wrong order of a quaternion is half a turn."""
    for info in infos:
        move(info, rotation_z(180))
    refused(infos, 'in all its 2 moving scenes the vehicle drives backwards (boxes, more)', 'x y z w')


def test_driving_backwards_in_one_scene_is_a_warning(infos, capsys):
    for info in infos[:3]:
        move(info, rotation_z(180))
    check_infos(infos, 'file.pkl')
    assert 'drives backwards in 1 of 2 moving scenes (boxes)' in capsys.readouterr().err


def test_driving_sideways_is_a_warning(infos, capsys):
    for info in infos:
        move(info, rotation_z(90))
    check_infos(infos, 'file.pkl')
    assert 'drives sideways in 2 of 2 moving scenes (boxes, more)' in capsys.readouterr().err


def test_a_vehicle_that_stands_may_look_anywhere(infos, capsys):
    for info, first in zip(infos, [infos[0]] * 3 + [infos[3]] * 3, strict=True):
        pose, start = np.asarray(info['ego2global']), np.asarray(first['ego2global'])
        move(info, np.linalg.inv(pose) @ start)
    check_infos(infos, 'file.pkl')
    assert 'drives' not in capsys.readouterr().err


def upside_down(info: dict) -> None:
    move(info, np.diag([1.0, -1, -1, 1]))


def scale_ego(factor: float):
    """Positions on the map in another unit, the rig in meters."""

    def apply(info: dict) -> None:
        position = np.asarray(info['ego2global'])[:3, 3]
        move(info, shift(*((factor - 1) * position)), on_the_left=True)

    return apply


def far_lidar(info: dict) -> None:
    """The LiDAR's position on the vehicle in millimeters."""
    change = shift(300, 0, 1800)
    info['lidar_points']['lidar2ego'] = (change @ info['lidar_points']['lidar2ego']).tolist()
    info['lidar2global'] = (np.asarray(info['ego2global']) @ info['lidar_points']['lidar2ego']).tolist()
    for image in info['images'].values():
        image['lidar2cam'] = (np.linalg.inv(image['cam2global']) @ info['lidar2global']).tolist()


def camera(name: str, change):
    """Change the pose of one camera on the vehicle."""
    return lambda info: set_camera(info, name, change(cam2lidar(info, name)))


def millimeters(pose: np.ndarray) -> np.ndarray:
    return shift(*(999 * pose[:3, 3])) @ pose


def opengl(pose: np.ndarray) -> np.ndarray:
    return pose @ np.diag([1.0, -1, -1, 1])


def times(change):
    """Change all times."""

    def apply(info: dict) -> None:
        for record in (info, *info['images'].values()):
            record['timestamp'] = change(record['timestamp'])

    return apply


ALL_FRAMES = {
    'upside down': (upside_down, 'up is tilted by 180 degrees'),
    'map in millimeters': (scale_ego(1000), 'in 0.5 s: give positions in meters'),
    'lidar in millimeters': (far_lidar, 'the LiDAR is 1', 'in meters'),
    'camera in millimeters': (camera('FRONT', millimeters), 'FRONT: is ', 'in meters'),
    'camera in centimeters': (camera('FRONT', lambda pose: shift(*(99 * pose[:3, 3])) @ pose), 'in meters'),
    'camera below the road': (camera('BACK', lambda pose: shift(0, 0, -2) @ pose), 'BACK: is 0.46 m below the road'),
    'OpenGL': (camera('LEFT', opengl), 'LEFT: is turned by 180 degrees'),
    'microseconds': (times(lambda time: 1e6 * time), 'keyframes are 5e+05 s apart', 'seconds'),
    'microseconds since 1970': (times(lambda time: 1.5e15 + 1e6 * time), 'is no number of seconds'),
    'nanoseconds': (times(lambda time: 1e9 * time), 'seconds'),
    'seconds taken for microseconds': (times(lambda time: time / 1e6), 'keyframes are', 'seconds'),
    'backwards in time': (times(lambda time: -time), 'which is not later in time'),
    'still in time': (times(lambda time: 0.0), 'which is not later in time'),
    'NaN': (lambda info: info.update(timestamp=float('nan')), 'timestamp is', 'finite'),
    'text': (lambda info: info.update(timestamp='1.5'), 'timestamp is', 'finite'),
}


@pytest.mark.parametrize('name', ALL_FRAMES)
def test_what_is_wrong_in_all_frames_is_refused(infos, name):
    change, *words = ALL_FRAMES[name]
    for info in infos:
        change(info)
    refused(infos, *words)


def two_same(info: dict) -> None:
    set_camera(info, 'LEFT', cam2lidar(info, 'FRONT'))


def swap_sides(info: dict) -> None:
    for left, right in (('LEFT', 'RIGHT'), ('BACK_LEFT', 'BACK_RIGHT')):
        images = info['images']
        images[left], images[right] = images[right], images[left]


def swap_ends(info: dict) -> None:
    images = info['images']
    images['FRONT'], images['BACK'] = images['BACK'], images['FRONT']
    images['BACK_LEFT'], images['LEFT'] = images['LEFT'], images['BACK_LEFT']
    images['BACK_RIGHT'], images['RIGHT'] = images['RIGHT'], images['BACK_RIGHT']


def turn_lidar2cam(info: dict, degrees: float) -> None:
    image = info['images']['RIGHT']
    image['lidar2cam'] = (np.asarray(image['lidar2cam']) @ rotation_z(degrees)).tolist()


def image(**changes):
    return lambda info: info['images']['RIGHT'].update(changes)


ONE_FRAME = {
    'jump': (lambda info: move(info, shift(100, 0, 0)), 'moves', 'positions in meters'),
    'turn': (lambda info: move(info, rotation_z(120)), 'turns by'),
    'two cameras in one place': (two_same, 'FRONT: its pose is the same as that of camera LEFT'),
    'sides': (swap_sides, 'left and right are swapped'),
    'ends': (swap_ends, 'front and back are swapped'),
    'late image': (lambda info: image(timestamp=info['timestamp'] + 0.5)(info), 'RIGHT: its timestamp is +0.5 s off'),
    'image of no time': (image(timestamp=float('inf')), 'RIGHT: timestamp is'),
    'cam2global elsewhere': (image(cam2global=shift(400, -200, 1.5).tolist()), 'contradict lidar2cam'),
    'lidar2cam turned': (lambda info: turn_lidar2cam(info, 3), 'contradict lidar2cam'),
    'lidar2cam moved': (
        lambda info: info['images']['RIGHT']['lidar2cam'][0].__setitem__(3, 0.3),
        'contradict lidar2cam',
    ),
    'lidar2ego': (
        lambda info: info['lidar_points'].update(lidar2ego=shift(1, 0, 1).tolist()),
        'contradict lidar2global',
    ),
    'cam2ego': (image(cam2ego=shift(15, 0, 1).tolist()), 'ego pose of the image'),
    'principal point': (image(cam2img=[[80, 0, 120], [0, 80, 30], [0, 0, 1]]), 'point (120, 30) lies outside'),
    'no intrinsics': (image(cam2img=[]), 'RIGHT: cam2img is empty, not (3, 3)'),
    'text in a pose': (image(lidar2cam=[['1'] * 4] * 4), 'lidar2cam is no matrix of numbers'),
    'None in a pose': (image(lidar2cam=[[None] * 4] * 4), 'lidar2cam is no matrix of numbers'),
    'ragged pose': (image(lidar2cam=[[1, 2], [3]]), 'lidar2cam is no matrix of numbers'),
    'no image path': (image(img_path=''), 'img_path is'),
    'size': (image(height=60.5), 'height is'),
    'no images': (lambda info: info.update(images={}), 'has no images'),
    'no record': (lambda info: info['images'].update(RIGHT=None), 'RIGHT is no record'),
    'no points': (lambda info: info['lidar_points'].pop('num_pts_feats'), 'lacks num_pts_feats'),
    'two columns': (lambda info: info['lidar_points'].update(num_pts_feats=2), 'num_pts_feats is'),
    'sweep without columns': (
        lambda info: info['lidar_sweeps'][1]['lidar_points'].pop('num_pts_feats'),
        'sweep 1: lidar_points: lacks num_pts_feats',
    ),
    'sweep elsewhere': (
        lambda info: info['lidar_sweeps'][0].update(lidar2global=np.eye(4).tolist(), timestamp=info['timestamp'] - 0.1),
        'sweep 0: lidar2global is',
    ),
    'sweep that is not rigid': (
        lambda info: info['lidar_sweeps'][0].update(lidar2global=(2 * np.eye(4)).tolist()),
        'sweep 0: lidar2global',
    ),
    'box in degrees': (lambda info: info['instances'][1]['bbox_3d'].__setitem__(6, 90.0), 'yaw in radians'),
    'NaN in a box': (lambda info: info['instances'][1]['bbox_3d'].__setitem__(0, float('nan')), 'no box'),
    'sweeps': (lambda info: info.update(lidar_sweeps=None), 'lidar_sweeps is'),
    'teacher': (image(teacher={'depth': 'x.npy'}), 'RIGHT: teacher: lacks sky_mask'),
    'path of the teacher': (image(teacher={'depth': None, 'sky_mask': 'x.npy'}), 'teacher depth is'),
    'features': (image(features=1.0), 'features is'),
    'label of a box': (lambda info: info['instances'][0].update(bbox_label=[0]), 'bbox_label is'),
    'velocity of a box': (lambda info: info['instances'][0].update(velocity=1.0), 'velocity is'),
    'link': (lambda info: info.update(next=[]), 'next is'),
    'scene of no name': (lambda info: info.update(scene=None), 'scene is'),
    'next in the past': (lambda info: info.update(next='box0'), 'next leads to box0, which is not later in time'),
}  # fmt: skip


@pytest.mark.parametrize('name', ONE_FRAME)
def test_what_is_wrong_in_one_frame_is_refused(infos, name):
    change, *words = ONE_FRAME[name]
    change(infos[1])
    refused(infos, *words)


def test_one_misnamed_camera_is_a_warning(infos, capsys):
    for info in infos[:2]:
        images = info['images']
        images['BACK_LEFT'], images['RIGHT'] = images['RIGHT'], images['BACK_LEFT']
    images['FRONT'], images['LEFT'] = images['LEFT'], images['FRONT']
    check_infos([info for info in infos if info['scene'] == 'more'], 'file.pkl')
    capsys.readouterr()
    check_infos(infos, 'file.pkl')
    lines = capsys.readouterr().err
    assert 'box0, RIGHT: looks 161 degrees off the direction of its name (in 2 of the 6 images' in lines
    assert 'box1, FRONT: looks 53 degrees off the direction of its name (in 1 of the 6 images' in lines


def test_names_say_where_cameras_look():
    for name, direction in {
        'CAM_FRONT': (0, 1),
        'back_camera': (0, -1),
        'sideLeft': (-1, 0),
        'ring_rear_right': (0.70710678, -0.70710678),
        'FrontLeft01': (-0.70710678, 0.70710678),
    }.items():
        assert np.allclose(direction_of_name(name), direction), name
    for name in ('cam0', 'bright_camera', 'left_right', 'backup', ''):
        assert direction_of_name(name) is None, name


def test_scenes_of_one_frame_are_a_warning(infos, capsys):
    alone = [infos[0], infos[3]]
    for info in alone:
        info.update(prev=None, next=None)
    check_infos(alone, 'file.pkl')
    assert 'file.pkl: each of its 2 scenes has one keyframe only' in capsys.readouterr().err
    check_infos(alone[:1], 'file.pkl')
    assert 'one keyframe only' not in capsys.readouterr().err


def test_a_lonely_camera_is_one_warning(infos, capsys):
    check_infos(infos, 'file.pkl')
    lines = [line for line in capsys.readouterr().err.splitlines() if 'sees nothing that another camera sees' in line]
    assert len(lines) == 1 and 'file.pkl: sample box0, BACK: ' in lines[0]


def test_writing_and_loading_check_the_same(infos, tmp_path):
    set_camera(infos[2], 'FRONT', wrong_order(cam2lidar(infos[2], 'FRONT')))
    path = tmp_path / 'infos.pkl'
    with pytest.raises(InputError, match=r'^tables: sample box2, FRONT: .*correct it in the raw data$'):
        save_infos(path, 'boxworld', ['FRONT'], infos, source='tables')
    assert not path.exists()
    metainfo = {'format': 'distillnerf', 'format_version': 1, 'cameras': ['FRONT']}
    path.write_bytes(pickle.dumps({'metainfo': metainfo, 'data_list': infos}))
    with pytest.raises(InputError, match=r'infos.pkl: sample box2, FRONT: .*convert the data again$'):
        load_infos(path)
