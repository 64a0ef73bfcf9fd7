"""Everything that can be wrong with a folder of own images, each named in one line."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from projects.DistillNeRF.datasets.custom_rig import read_folder
from tests.helpers.boxworld import CAMERAS
from tests.helpers.own_rig import FRONT, SIZE, WORLD, record, refused, write


def scaled(factor: float) -> list[list[float]]:
    pose = WORLD.cam2ego('FRONT')
    pose[:3, 3] *= factor
    return pose.tolist()


def rotated(matrix: np.ndarray) -> list[list[float]]:
    pose = WORLD.cam2ego('FRONT')
    pose[:3, :3] = matrix @ pose[:3, :3]
    return pose.tolist()


def pitched(degrees: float) -> list[list[float]]:
    """The front camera looking down."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return rotated(np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]))


def rolled(degrees: float) -> list[list[float]]:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return rotated(np.array([[1, 0, 0], [0, c, -s], [0, s, c]]))


WRONG_CAMERAS = {
    'focal length too short': ({'fx': 5.0, 'fy': 5.0}, 'focal length'),
    'focal length in meters': ({'fx': 0.004, 'fy': 0.004}, 'focal length'),
    'negative focal length': ({'fx': -80.0}, 'focal length'),
    'focal lengths that differ': ({'fy': 20.0}, 'focal length'),
    'principal point outside': ({'cx': 130.0}, 'principal point'),
    'principal point of a larger image': ({'cx': 960.0, 'cy': 540.0}, 'principal point'),
    'not a number': ({'fx': math.nan}, 'holds NaN or infinity'),
    'text for a number': ({'fx': '80'}, "fx is '80'; give pixels"),
    'no focal length': ({'fx': None}, 'fx is None'),
    'NaN in the pose': ({'cam2vehicle': (FRONT * math.nan).tolist()}, 'cam2vehicle holds NaN or infinity'),
    'rotation not orthonormal': ({'cam2vehicle': rotated(np.diag([1, 1, 1.1]))}, 'not orthonormal'),
    'mirrored': ({'cam2vehicle': rotated(np.diag([1, -1, 1]))}, 'determinant -1'),
    'wrong shape': ({'cam2vehicle': FRONT[:3].tolist()}, 'cam2vehicle is no matrix of 4 rows of 4'),
    'ragged matrix': ({'cam2vehicle': [[1, 2], [3]]}, 'cam2vehicle is no matrix of 4 rows of 4'),
    'last row': ({'cam2vehicle': FRONT.T.tolist()}, 'last row other than 0 0 0 1'),
    'looks up': ({'cam2vehicle': pitched(-80)}, 'looks up, 80 degrees from the horizon'),
    'looks down': ({'cam2vehicle': pitched(80)}, 'looks down, 80 degrees from the horizon'),
    'on its side': ({'cam2vehicle': rolled(90)}, 'turned by 90 degrees about its line of sight'),
    'OpenGL': ({'cam2vehicle': (FRONT @ np.diag([1, -1, -1, 1])).tolist()}, 'turned by 180 degrees'),
    'inverse': ({'cam2vehicle': np.linalg.inv(FRONT).tolist()}, 'turned by 90 degrees'),
    'millimeters': ({'cam2vehicle': scaled(1000)}, 'give cam2vehicle in meters'),
    'in a map': ({'cam2vehicle': (WORLD.ego2global(0) @ FRONT).tolist()}, 'relative to the vehicle and not to a map'),
    'below the road': ({'cam2vehicle': scaled(-1)}, '1.50 m below the road'),
    'pose of another camera': ({'cam2vehicle': WORLD.cam2ego('LEFT').tolist()}, 'the same as that of camera LEFT'),
    'another size': ({'width': 200, 'height': 120, 'cx': 100.0}, 'the calibration is for 200x120, but'),
    'no size': ({'width': 0}, 'are no size'),
    'missing image': ({'image': 'none.png'}, 'none.png: no such file'),
    'two kinds of intrinsics': ({'intrinsics': WORLD.intrinsics.tolist()}, 'both intrinsics and fx'),
    'no such lens': (
        {'distortion': {'model': 'lens', 'coefficients': [0.1]}},
        'distortion needs coefficients and a model',
    ),
    'three coefficients': (
        {'distortion': {'model': 'opencv', 'coefficients': [1, 2, 3]}},
        'has the coefficients [1, 2, 3]',
    ),
    'coefficients without a lens': (
        {'distortion': {'model': 'none', 'coefficients': [0.1, 0, 0, 0]}},
        'has the coefficients',
    ),
    'more than a fisheye has': (
        {'distortion': {'model': 'equidistant', 'coefficients': [0.1, 0, 0, 0, 0.1]}},
        'has the coefficients',
    ),
    'NaN in the coefficients': (
        {'distortion': {'model': 'opencv', 'coefficients': [math.nan, 0, 0, 0]}},
        'has the coefficients',
    ),
    'infinite focal length': ({'fx': math.inf}, 'holds NaN or infinity'),
    'half a pixel': ({'width': 100.5}, 'are no size'),
    'infinite size': ({'width': math.inf}, 'are no size'),
    'projection that moves': ({'intrinsics': [[80, 0, 50, 9], [0, 80, 30, 0], [0, 0, 1, 0]]}, 'both intrinsics and fx'),
    'unknown field': ({'cam2world': FRONT.tolist()}, 'cam2world is unknown'),
}


@pytest.mark.parametrize('name', WRONG_CAMERAS)
def test_a_wrong_camera_is_named(folder, name):
    changes, word = WRONG_CAMERAS[name]
    write(folder, [record('LEFT'), record('FRONT', **changes), record('RIGHT')])
    refused(folder, 'camera FRONT: ', word)


def to_millimeters(pose: np.ndarray) -> np.ndarray:
    pose[:3, 3] *= 1000
    return pose


POSE_CONVENTIONS = {
    'inverted: vehicle to camera was given': np.linalg.inv,
    "OpenGL's axes: negate its second and third column": lambda pose: pose @ np.diag([1, -1, -1, 1]),
    'inverted, and its second and third column then negated': lambda pose: np.linalg.inv(
        pose @ np.diag([1, -1, -1, 1])
    ),
    'in millimeters: divide them by 1000': to_millimeters,
}


@pytest.mark.parametrize('hint', POSE_CONVENTIONS)
def test_poses_of_another_convention_are_recognized(folder, hint):
    """All cameras have it; the hint says which it is, and no other."""
    given = {camera: POSE_CONVENTIONS[hint](WORLD.cam2ego(camera)).tolist() for camera in CAMERAS[:3]}
    write(folder, [record(camera, cam2vehicle=pose) for camera, pose in given.items()])
    refused(folder, 'they fit a car if', hint)


def test_the_right_name_of_an_image_is_proposed(folder):
    write(folder, [record('LEFT', image='left.PNG')])
    refused(folder, 'camera LEFT', 'left.PNG: no such file; correct image in cameras.json', 'did you mean LEFT.png?')
    write(folder, [record('LEFT', image='x' * 300)])
    refused(folder, 'camera LEFT', 'no such file; correct image in cameras.json')


@pytest.mark.parametrize('key', ['image', 'width', 'height', 'cam2vehicle'])
def test_a_missing_field_is_named(folder, key):
    camera = record('FRONT')
    del camera[key]
    refused(write(folder, [record('LEFT'), camera]), 'camera FRONT', f'lacks {key}')


@pytest.mark.parametrize('how', ['empty', 'text', 'png cut short', 'jpeg cut short'])
def test_a_damaged_image_is_named(folder, how):
    path = folder / 'FRONT.png'
    if how == 'empty':
        path.write_bytes(b'')
    elif how == 'text':
        path.write_text('no image')
    elif how == 'png cut short':
        path.write_bytes(path.read_bytes()[:-100])
    else:
        content = cv2.imencode('.jpg', cv2.imread(str(path)))[1].tobytes()
        path.write_bytes(content[: len(content) // 2])
    refused(folder, 'camera FRONT: ', str(path))


@pytest.mark.parametrize(
    ('content', 'word'),
    [
        (None, 'cameras.json: no such file'),
        ('', 'the file is empty'),
        ('{"cameras": [', 'not readable as JSON'),
        ('\x00\xff', 'not readable as JSON'),
        ('[]', 'holds no object'),
        ('{}', 'lacks cameras'),
        ('{"cameras": []}', 'names no cameras'),
        ('{"cameras": {}}', 'names no cameras'),
        ('{"cameras": [{"image": "FRONT.png"}]}', 'camera number 0 has no name'),
        ('{"cameras": ["FRONT"]}', 'camera number 0 has no name'),
        ('{"cameras": [], "Frame": "flu"}', 'Frame is unknown'),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(folder, content, word):
    path = folder / 'cameras.json'
    path.unlink() if content is None else path.write_text(content)
    refused(folder, str(path), word)


def test_folders_names_frames_and_heights_that_are_wrong_are_named(folder, tmp_path):
    refused(tmp_path / 'nowhere', 'nowhere: no such folder')
    write(folder, [record('LEFT'), record('FRONT'), record('LEFT')])
    refused(folder, 'two cameras are called LEFT')
    write(folder, [record('LEFT')], frame='ned')
    refused(folder, "frame is 'ned'; choose one of rfu, flu")
    write(folder, [record('LEFT')], origin_height='high')
    refused(folder, "origin_height is 'high'")


def test_cameras_without_overlap_are_reported(folder, capsys):
    """A camera that sees nothing that another sees may be right (behind the car), so it is no error."""
    write(folder, [record('LEFT'), record('FRONT'), record('BACK', image='RIGHT.png')])
    read_folder(folder, SIZE)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert 'warning: ' in lines[0] and 'camera BACK: sees nothing that another camera sees' in lines[0]
    write(folder, [record('BACK', image='RIGHT.png')])
    read_folder(folder, SIZE)
    assert capsys.readouterr().err == ''
