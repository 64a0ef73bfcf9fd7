"""Folders of own images and calibrations: geometry, shapes, lenses, and spellings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from projects.DistillNeRF.datasets.custom_rig import read_folder, write_folder
from projects.DistillNeRF.datasets.custom_rig.calibration import read_calibrations
from projects.DistillNeRF.geometry.views import Views
from tests.helpers.boxworld import CAMERAS, COLORS, rotation_z, save
from tests.helpers.dataset import build_dataset
from tests.helpers.own_rig import FRONT, SIZE, WORLD, picture, plane, record, refused, write

# The middle of each camera's box in the network's world: 9 m away, 1.5 m above the road, which lies at -1.84 m.
OPENCV = (-0.28, 0.09, 0.002, -0.001, -0.01)
FISHEYE = (0.05, -0.02, 0.01, -0.003)


def box_center(camera: str) -> torch.Tensor:
    forward, left, _, _ = rotation_z({'LEFT': 55, 'FRONT': 0, 'RIGHT': -55}.get(camera, 0)) @ [9, 0, 0, 1]
    return torch.tensor([-left, forward, 1.5 - 1.84], dtype=torch.float32)


def assert_boxes_in_place(views: Views) -> None:
    """Every camera shows its own box, in its own color, where it must be."""
    for number, name in enumerate(views.names):
        center = box_center(name)
        pixels, z = views.cameras[number].project(center[None])
        assert z[0] > 5
        # Just inside its corners and just outside of them.
        half = 1.5 * views.cameras.intrinsics[number, 0, 0] / (z[0] - 1.5)
        u, v = pixels[0].round().int().tolist()
        color = torch.tensor(COLORS[CAMERAS.index(name)]) / 255
        for offset, is_box in ((0, True), (-0.8 * half, True), (0.8 * half, True), (1.7 * half, False)):
            column = u + round(float(offset))
            assert bool(torch.allclose(views.images[number, :, v, column], color, atol=0.05)) == is_box, (name, offset)


# Geometry.


def test_boxes_are_where_the_calibration_says(pristine, capsys):
    views = read_folder(pristine, SIZE)
    assert views.names == CAMERAS[:3]
    assert views.frames == (0, 0, 0)
    assert views.images.dtype == views.cameras.cam2world.dtype == torch.float32
    assert_boxes_in_place(views)
    front = views.cameras.cam2world[1]
    torch.testing.assert_close(front[:3, 2], torch.tensor([0.0, 1, 0]))
    torch.testing.assert_close(front[:3, 3], torch.tensor([0.0, 0.5, 1.5 - 1.84]))
    assert capsys.readouterr().err == ''


def test_the_frame_and_the_height_of_its_origin_are_taken_into_account(folder):
    before = read_folder(folder, SIZE)
    content = json.loads((folder / 'cameras.json').read_text())
    # The same rig in a frame x right, y forward, z up, whose origin is at the LiDAR.
    rig = rotation_z(90)
    rig[2, 3] = -1.84
    for camera in content['cameras']:
        camera['cam2vehicle'] = (rig @ camera['cam2vehicle']).tolist()
    del content['frame'], content['origin_height']
    (folder / 'cameras.json').write_text(json.dumps(content))
    torch.testing.assert_close(read_folder(folder, SIZE).cameras.cam2world, before.cameras.cam2world)


def test_a_matrix_is_as_good_as_four_numbers(folder):
    before = read_folder(folder, SIZE)
    cameras = [record(camera, intrinsics=WORLD.intrinsics.tolist()) for camera in CAMERAS[:3]]
    for camera in cameras:
        for key in ('fx', 'fy', 'cx', 'cy'):
            del camera[key]
    write(folder, cameras)
    assert torch.equal(read_folder(folder, SIZE).cameras.intrinsics, before.cameras.intrinsics)


@pytest.mark.parametrize('size', [(60, 100), (30, 50), (24, 40)])
def test_a_folder_of_a_sample_is_the_sample(box_root, tmp_path, size):
    """What is written and read again is what the loaders of the data sets make, at any size."""
    native = build_dataset(box_root)[1]['inputs']['input_views']
    views = read_folder(write_folder(native, tmp_path / 'sample'), size)
    render_size = (size[0] // 2, size[1] // 2)
    expected = build_dataset(box_root, image_size=size, render_size=render_size)[1]['inputs']['input_views']
    assert views.names == expected.names
    assert torch.equal(views.images, expected.images)
    torch.testing.assert_close(views.cameras.intrinsics, expected.cameras.intrinsics)
    torch.testing.assert_close(views.cameras.cam2world, expected.cameras.cam2world)


def test_images_of_another_shape_are_cropped_and_of_another_size_resized(folder, capsys):
    """Sizes may differ from camera to camera; another shape than the network's is cut, not squeezed."""
    tall, wide = (120, 100), (60, 180)
    cameras = []
    for camera, (height, width) in zip(CAMERAS[:2], (tall, wide), strict=True):
        matrix = WORLD.intrinsics
        matrix[0, 2] += (width - 100) / 2
        matrix[1, 2] += (height - 60) / 2
        save(folder / f'{camera}.png', picture(camera, plane(matrix, height, width)))
        cameras.append(record(camera, width=width, height=height, cx=matrix[0, 2], cy=matrix[1, 2]))
    write(folder, cameras)
    views = read_folder(folder, SIZE)
    assert_boxes_in_place(views)
    plain = read_folder(write(folder / '..' / 'one', [cameras[0] | {'image': str(folder / 'LEFT.png')}]), (30, 50))
    assert plain.images.shape == (1, 3, 30, 50)
    # Pixels keep their shape: fx / fy is that of the calibration.
    matrix = torch.from_numpy(WORLD.intrinsics).float()
    torch.testing.assert_close(plain.cameras.intrinsics[0, :2], matrix[:2] / 2)
    torch.testing.assert_close(views.cameras.intrinsics[0], matrix)
    torch.testing.assert_close(views.cameras.intrinsics[1], matrix)
    lines = capsys.readouterr().err.splitlines()
    assert 'camera LEFT: its 100x120 are cut to 100x60' in lines[0]
    assert 'camera FRONT: its 180x60 are cut to 100x60' in lines[1]


# Lenses.


def distorted(rays: np.ndarray, model: str, k: tuple[float, ...]) -> np.ndarray:
    """Where the lens shows rays ``(..., 2)`` of the plane z = 1, by the formulas of OpenCV's documentation."""
    x, y = rays[..., 0], rays[..., 1]
    r = np.hypot(x, y)
    if model == 'fisheye':
        angle = np.arctan(r)
        bent = angle * (1 + sum(c * angle ** (2 * i) for i, c in enumerate(k, 1)))
        return rays * (bent / np.maximum(r, 1e-9))[..., None]
    k1, k2, p1, p2, k3 = k
    radial = 1 + k1 * r**2 + k2 * r**4 + k3 * r**6
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r**2 + 2 * x**2),
            y * radial + p1 * (r**2 + 2 * y**2) + 2 * p2 * x * y,
        ],
        axis=-1,
    )


@pytest.mark.parametrize(('model', 'k'), [('opencv', OPENCV), ('fisheye', FISHEYE), ('opencv', (0.1, 0, 0, 0, 0))])
def test_undistorted_images_are_those_of_a_pinhole_camera(folder, model, k):
    goal = plane(WORLD.intrinsics, *SIZE)
    rays = goal.copy()
    for _ in range(200):
        rays += 0.5 * (goal - distorted(rays, model, k))
    assert np.abs(distorted(rays, model, k) - goal).max() < 1e-6
    cameras = []
    for camera in CAMERAS[:3]:
        save(folder / f'{camera}.png', picture(camera, rays))
        cameras.append(record(camera, distortion={'model': model, 'coefficients': k}))
    views = read_folder(write(folder, cameras), SIZE, undistort=True)
    assert_boxes_in_place(views)
    for number, camera in enumerate(CAMERAS[:3]):
        matrix = views.cameras.intrinsics[number].double().numpy()
        assert matrix[0, 0] / matrix[1, 1] == pytest.approx(0.8 / 0.82, rel=1e-5)
        assert matrix[:2, 2] == pytest.approx(WORLD.intrinsics[:2, 2], rel=1e-5)
        expected = picture(camera, plane(matrix, *SIZE)).astype(float) / 255
        found = views.images[number].movedim(0, -1).numpy()
        same = (np.abs(found - expected).max(-1) < 0.02).mean()
        # Colors differ on the edges of boxes and on the horizon.
        assert same > 0.9
        ignored = picture(camera, plane(WORLD.intrinsics, *SIZE)).astype(float) / 255
        assert same > (np.abs(found - ignored).max(-1) < 0.02).mean()
        # No more is cut off than must be: some ray of the border is one of the old border.
        edges = distorted(plane(matrix, *SIZE), model, k)
        pixels = np.dstack([edges, np.ones(SIZE)]) @ WORLD.intrinsics.T
        slack = np.array(
            [pixels[..., 0].min(), 99 - pixels[..., 0].max(), pixels[..., 1].min(), 59 - pixels[..., 1].max()]
        )
        assert slack.min() > -0.1
        assert slack.min() < 0.1


def test_a_distortion_must_be_undone_or_removed(folder):
    given = {'model': 'opencv', 'coefficients': list(OPENCV)}
    write(folder, [record('LEFT'), record('FRONT', distortion=given)])
    refused(folder, 'camera FRONT', 'lens distortion', 'add --undistort')
    write(folder, [record('LEFT', distortion=None), record('FRONT', distortion=given | {'coefficients': [0] * 5})])
    assert len(read_folder(folder, SIZE)) == 2


@pytest.mark.parametrize('k', [(-3.0, 0, 0, 0, 0), (0, 0, 0, 0, -9.0), (400.0, 0, 0, 0, 0)])
def test_distortions_that_cannot_be_undone_are_refused(folder, k):
    write(folder, [record('FRONT', distortion={'model': 'opencv', 'coefficients': k})])
    refused(folder, 'camera FRONT', 'cannot be undone', undistort=True)


# Other ways of writing the same.


def without_focal(camera: str, **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in record(camera).items() if key not in ('fx', 'fy', 'cx', 'cy')} | changes


MATRIX = WORLD.intrinsics
PROJECTION = np.eye(4)
PROJECTION[:3, :3] = MATRIX
SPELLINGS = {
    'sizes with a point': lambda: record('FRONT', width=100.0, height=60.0),
    'one list, row by row': lambda: without_focal('FRONT', intrinsics=MATRIX.ravel().tolist()),
    'a list in a list': lambda: without_focal('FRONT', intrinsics=[MATRIX.ravel().tolist()]),
    'fx fy cx cy': lambda: without_focal('FRONT', intrinsics=[MATRIX[0, 0], MATRIX[1, 1], MATRIX[0, 2], MATRIX[1, 2]]),
    'named in intrinsics': lambda: without_focal(
        'FRONT',
        intrinsics=dict(zip(('fx', 'fy', 'cx', 'cy'), MATRIX[[0, 1, 0, 1], [0, 1, 2, 2]].tolist(), strict=True)),
    ),
    'projection 3 x 4': lambda: without_focal('FRONT', intrinsics=PROJECTION[:3].tolist()),
    'projection 4 x 4': lambda: without_focal('FRONT', intrinsics=PROJECTION.tolist()),
    'data of ROS': lambda: without_focal(
        'FRONT', camera_matrix={'rows': 3, 'cols': 3, 'data': MATRIX.ravel().tolist()}
    ),
    'K': lambda: without_focal('FRONT', K=MATRIX.tolist()),
    'pose in one list': lambda: record('FRONT', cam2vehicle=FRONT.ravel().tolist()),
    'pose in a list in a list': lambda: record('FRONT', cam2vehicle=[FRONT.ravel().tolist()]),
    'cam2ego': lambda: {key.replace('vehicle', 'ego'): value for key, value in record('FRONT').items()},
    'no lens': lambda: record('FRONT', distortion='none'),
    'no lens, by name': lambda: record('FRONT', distortion={'model': 'None', 'coefficients': None}),
    'zeros': lambda: record('FRONT', distortion=[0, 0, 0, 0, 0]),
    'nothing': lambda: record('FRONT', distortion=[]),
    'zeros of plumb_bob': lambda: record('FRONT', distortion={'model': 'plumb_bob', 'coefficients': [0.0] * 5}),
    'zeros of equidistant': lambda: record(
        'FRONT', distortion={'model': 'equidistant', 'coefficients': [[0, 0, 0, 0]]}
    ),
}


@pytest.mark.parametrize('name', SPELLINGS)
def test_other_spellings_of_a_camera_are_read(folder, name):
    before = read_folder(folder, SIZE)
    views = read_folder(write(folder, [record('LEFT'), SPELLINGS[name](), record('RIGHT')]), SIZE)
    assert views.names == before.names
    assert torch.equal(views.images, before.images)
    assert torch.equal(views.cameras.intrinsics, before.cameras.intrinsics)
    assert torch.equal(views.cameras.cam2world, before.cameras.cam2world)


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_other_spellings_of_the_file_are_read(folder, encoding):
    """Byte order mark, line ends of Windows, cameras by name, frame in capitals, separators of Windows."""
    before = read_folder(folder, SIZE)
    (folder / 'images').mkdir()
    (folder / 'FRONT.png').rename(folder / 'images/FRONT.png')
    cameras = {camera: record(camera) for camera in CAMERAS[:3]}
    cameras['FRONT']['image'] = r'images\FRONT.png'
    del cameras['FRONT']['name']
    content = json.dumps({'frame': 'FLU', 'origin_height': 0.0, 'cameras': cameras}, indent=1).replace('\n', '\r\n')
    (folder / 'cameras.json').write_bytes(content.encode(encoding))
    views = read_folder(folder, SIZE)
    assert views.names == before.names
    assert torch.equal(views.images, before.images)
    assert torch.equal(views.cameras.cam2world, before.cameras.cam2world)


RATIONAL = (*OPENCV, 0.01, -0.02, 0.003)
LENSES = [
    ('opencv', OPENCV, 'plumb_bob', OPENCV),
    ('opencv', OPENCV, 'OPENCV', [OPENCV]),
    ('opencv', OPENCV, 'radtan', [[value] for value in OPENCV]),
    ('opencv', OPENCV, 'Brown-Conrady', (*OPENCV, 0, 0, 0)),
    ('opencv', OPENCV, 'rational_polynomial', (*OPENCV, *[0] * 9)),
    ('opencv', OPENCV, 'pinhole', {'rows': 1, 'cols': 12, 'data': (*OPENCV, *[0] * 7)}),
    ('opencv', RATIONAL, 'rational_polynomial', RATIONAL),
    ('opencv', RATIONAL, 'FULL_OPENCV', (*RATIONAL, *[0] * 6)),
    ('opencv', OPENCV[:4], 'radial-tangential', (*OPENCV[:4], 0)),
    ('fisheye', FISHEYE, 'equidistant', FISHEYE),
    ('fisheye', FISHEYE, 'Kannala_Brandt', [FISHEYE]),
    ('fisheye', FISHEYE, 'KannalaBrandt4', (*FISHEYE, 0)),
    ('fisheye', FISHEYE, 'OPENCV_FISHEYE', (*FISHEYE, *[0] * 10)),
]


@pytest.mark.parametrize(('model', 'k', 'other', 'given'), LENSES)
def test_other_spellings_of_a_lens_are_read(folder, model, k, other, given):
    views = []
    for lens in ({'model': model, 'coefficients': k}, {'model': other, 'coefficients': given}):
        write(folder, [record('FRONT', distortion=lens)])
        views.append(read_folder(folder, SIZE, undistort=True))
    assert torch.equal(views[1].images, views[0].images)
    assert torch.equal(views[1].cameras.intrinsics, views[0].cameras.intrinsics)
    # And it does something.
    assert not torch.equal(read_folder(write(folder, [record('FRONT')]), SIZE).images, views[0].images)


def test_five_coefficients_need_no_model_and_four_do(folder):
    """Five are OpenCV's; four may be those of either model."""
    named = read_folder(
        write(folder, [record('FRONT', distortion={'model': 'opencv', 'coefficients': OPENCV})]), SIZE, undistort=True
    )
    listed = read_folder(write(folder, [record('FRONT', distortion=OPENCV)]), SIZE, undistort=True)
    assert torch.equal(named.images, listed.images)
    write(folder, [record('FRONT', distortion=FISHEYE)])
    refused(folder, 'camera FRONT', 'needs coefficients and a model', undistort=True)


def test_a_lens_with_thin_prism_and_tilt_is_undone(folder):
    """All 14 coefficients count: the last ones as OpenCV's documentation says."""
    shifted = (*OPENCV, 0, 0, 0, 0.05, 0, 0, 0, 0, 0)
    views = []
    for k in (OPENCV, shifted, (*OPENCV, 0, 0, 0, 0, 0, 0, 0, 0.05, 0)):
        write(folder, [record('FRONT', distortion={'model': 'opencv', 'coefficients': k})])
        views.append(read_folder(folder, SIZE, undistort=True).images)
    assert not torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])


def test_the_documented_example_is_right(tmp_path):
    text = (Path(__file__).resolve().parents[2] / 'docs/OWN_DATA.md').read_text()
    example = text.partition('```json\n')[2].partition('```')[0]
    (tmp_path / 'cameras.json').write_text(example)
    [camera] = read_calibrations(tmp_path)
    assert camera.distortion.model == 'opencv'
    assert camera.cam2world[:3, 3] == pytest.approx([0, 1.7, 1.5 - 1.84])


def test_names_of_a_written_folder_are_unique(pristine, tmp_path):
    views = read_folder(pristine, SIZE)
    with pytest.raises(ValueError, match='two views have one name'):
        write_folder(views[[0, 0]], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_reading_needs_no_mm(pristine):
    """Own images can be read where no mm* is installed."""
    code = (
        'import sys\n'
        'from projects.DistillNeRF.datasets.custom_rig import read_folder\n'
        f'read_folder({str(pristine)!r}, (60, 100))\n'
        "print([name for name in sys.modules if name.startswith(('mmcv', 'mmdet', 'mmengine'))])\n"
    )
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ('[]\n', '')
