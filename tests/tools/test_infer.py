"""``tools/infer.py``: pictures, voxels, a scene and a video from a folder of own images."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from projects.DistillNeRF.apis import init_model, reconstruct
from projects.DistillNeRF.datasets.custom_rig import read_folder, write_folder
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.models.scene import Scene
from projects.DistillNeRF.visualization.colors import depth_to_colors
from projects.DistillNeRF.visualization.panel_layout import to_uint8
from projects.DistillNeRF.visualization.panels import ring_order
from tests.helpers.commands import IMAGE_SIZE, Result, run
from tests.helpers.dataset import build_dataset
from tools.create_data import main as create_data

CHECKPOINT = 'iter_3.pth'


@pytest.fixture(scope='module')
def sample(project) -> Views:
    """All six cameras of the second frame of the box world, in the size of its images."""
    return build_dataset(project.root, image_size=(32, 64), render_size=(16, 32))[1]['inputs']['input_views']


@pytest.fixture(scope='module')
def pristine(sample, tmp_path_factory) -> Path:
    """Its folder; not in the order of the ring."""
    return write_folder(sample[[2, 0, 1, 5, 4, 3]], tmp_path_factory.mktemp('own'))


@pytest.fixture
def folder(pristine, tmp_path) -> Path:
    """The same, for a test that changes something."""
    return shutil.copytree(pristine, tmp_path / 'own')


@pytest.fixture(scope='module')
def inferred(project, trained, pristine, tmp_path_factory) -> tuple[Path, Result]:
    """Everything that the command makes of the folder; tests must not change it."""
    out = tmp_path_factory.mktemp('work') / 'out'
    arguments = ('--out', out, '--trajectory', 'translation', '--cfg-options', 'model.voxel_min_density=0.01')
    return out, run('infer', pristine, project.config, trained / CHECKPOINT, *arguments)


def written(result: Result) -> list[Path]:
    """The files that the command said it wrote, if it went well."""
    assert result.code == 0, result.err
    return [Path(line.removeprefix('wrote ')) for line in result.out.splitlines() if line.startswith('wrote ')]


def video_frames(path: Path) -> list[np.ndarray]:
    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)['size']
    return [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]


def test_everything_that_is_promised_is_written(inferred):
    out, result = inferred
    paths = written(result)
    assert all(path.exists() for path in paths)
    names = {str(path.relative_to(out)) for path in paths}
    assert {'panel_000.png', 'voxels_000/fine_rgb.ply', 'voxels_000/rgb.html', 'scene.pt', 'translation.mp4'} <= names
    assert np.array(Image.open(out / 'panel_000.png')).std() > 1
    header = (out / 'voxels_000/fine_rgb.ply').read_bytes()[:200].decode('ascii', 'replace').splitlines()
    assert header[0] == 'ply'
    assert int(next(line for line in header if line.startswith('element vertex')).split()[-1]) > 0


def test_the_network_sees_the_images_of_the_folder(inferred, pristine, sample):
    """In their colors, each with the name of its camera."""
    out, _ = inferred
    for name in sample.names:
        tile = np.array(Image.open(out / f'images_000/{name}_input.png'))
        image = cv2.imread(str(pristine / f'{name}.png'))[..., ::-1]
        assert np.array_equal(tile, cv2.resize(image, IMAGE_SIZE[::-1]))


@torch.no_grad()
def test_the_saved_scene_is_that_of_the_folder(inferred, project, trained, pristine):
    out, _ = inferred
    views = read_folder(pristine, IMAGE_SIZE)
    views = views[ring_order(views.cameras)]
    assert views.names == ('LEFT', 'FRONT', 'RIGHT', 'BACK_RIGHT', 'BACK', 'BACK_LEFT')
    expected = reconstruct(init_model(project.config, trained / CHECKPOINT), views).render(views.cameras)
    found = Scene.load(out / 'scene.pt').render(views.cameras)
    torch.testing.assert_close(found.rgb, expected.rgb)
    torch.testing.assert_close(found.depth, expected.depth)


@torch.no_grad()
def test_the_video_shows_the_scene_in_ring_order(inferred, pristine):
    out, _ = inferred
    frames = video_frames(out / 'translation.mp4')
    assert len(frames) == 3
    views = read_folder(pristine, IMAGE_SIZE)
    views = views[ring_order(views.cameras)]
    rendering = Scene.load(out / 'scene.pt').render(views.cameras)
    depths = [np.kron(depth_to_colors(depth), np.ones((2, 2, 1))) for depth in rendering.depth.numpy()]
    expected = np.stack([np.concatenate(pair) for pair in zip(to_uint8(rendering.rgb), depths, strict=True)])
    for number in range(len(views)):
        left = number * (IMAGE_SIZE[1] + 2)
        column = np.delete(frames[0][:, left : left + IMAGE_SIZE[1]], [IMAGE_SIZE[0], IMAGE_SIZE[0] + 1], axis=0)
        # Coding blurs, but each column is like its own camera, and less like any other.
        assert np.abs(expected - column).mean((1, 2, 3)).argmin() == number


def test_one_camera_is_enough(project, sample, tmp_path):
    folder = write_folder(sample[[1]], tmp_path / 'one')
    out = tmp_path / 'out'
    result = run('infer', folder, project.config, 'None', '--out', out, '--trajectory', 'translation')
    assert out / 'scene.pt' in written(result)
    assert result.err.count('warning: ') == 0
    assert video_frames(out / 'translation.mp4')[0].shape == (2 * IMAGE_SIZE[0] + 2, IMAGE_SIZE[1], 3)
    assert not list((out / 'images_000').glob('LEFT*'))


def test_a_folder_of_the_nuscenes_frame_is_reconstructed(project, shared_dir, tmp_path):
    """The images as they were taken, 1600x900, with their calibration."""
    raw = shared_dir / 'data/nuscenes_frame'
    create_data(
        ['nuscenes', '--root-path', str(raw), '--from-info', str(next(raw.glob('*.pkl'))), '--out-dir', str(tmp_path)]
    )
    images = {'img': str(raw)}
    sizes = {'image_size': (900, 1600), 'render_size': (450, 800)}
    name = 'nuscenes_infos_all.pkl'
    sample = build_dataset(tmp_path, ann_file=name, data_prefix=images, load_lidar=False, **sizes)[0]
    folder = write_folder(sample['inputs']['input_views'], tmp_path / 'own')
    out = tmp_path / 'out'
    result = run('infer', folder, project.config, 'None', '--out', out, '--trajectory', 'translation')
    assert {out / 'panel_000.png', out / 'scene.pt', out / 'translation.mp4'} <= set(written(result))
    # The network of this test works with 16x32: twice as wide as high, which the images are not.
    assert result.err.count('1600x900 are cut to 1600x800') == 6
    expected = build_dataset(
        tmp_path, ann_file=name, data_prefix=images, load_lidar=False, image_size=(64, 112), render_size=(32, 56)
    )[0]['inputs']['input_views']
    views = read_folder(folder, (64, 112))
    assert views.names == expected.names
    assert torch.equal(views.images, expected.images)
    torch.testing.assert_close(views.cameras.intrinsics, expected.cameras.intrinsics)
    torch.testing.assert_close(views.cameras.cam2world, expected.cameras.cam2world)


def change(folder: Path, alter: Callable[[dict], object]) -> None:
    """Change the calibration of the camera FRONT."""
    content = json.loads((folder / 'cameras.json').read_text())
    alter(next(camera for camera in content['cameras'] if camera['name'] == 'FRONT'))
    (folder / 'cameras.json').write_text(json.dumps(content))


def set_entry(key: str, row: int, column: int, value: float) -> Callable[[dict], None]:
    def alter(camera: dict) -> None:
        camera[key][row][column] = value

    return alter


def look_up(camera: dict) -> None:
    """Right stays right; what was forward is up."""
    pose = np.array(camera['cam2vehicle'])
    pose[:3, 1], pose[:3, 2] = pose[:3, 2].copy(), -pose[:3, 1]
    camera['cam2vehicle'] = pose.tolist()


WRONG = {
    'no calibration': (lambda folder: (folder / 'cameras.json').unlink(), 'cameras.json: no such file'),
    'no JSON': (lambda folder: (folder / 'cameras.json').write_text('{'), 'not readable as JSON'),
    'no image': (lambda folder: (folder / 'FRONT.png').unlink(), 'camera FRONT'),
    'no picture': (lambda folder: (folder / 'FRONT.png').write_text('?'), 'camera FRONT'),
    'image cut short': (
        lambda folder: (folder / 'FRONT.png').write_bytes((folder / 'FRONT.png').read_bytes()[:-40]),
        'camera FRONT',
    ),
    'focal length': (lambda folder: change(folder, set_entry('intrinsics', 0, 0, 1.0)), 'camera FRONT'),
    'principal point': (lambda folder: change(folder, set_entry('intrinsics', 0, 2, 70.0)), 'camera FRONT'),
    'NaN': (lambda folder: change(folder, set_entry('cam2vehicle', 1, 3, float('nan'))), 'camera FRONT'),
    'rotation': (lambda folder: change(folder, set_entry('cam2vehicle', 0, 0, 0.5)), 'camera FRONT'),
    'millimeters': (lambda folder: change(folder, set_entry('cam2vehicle', 1, 3, 500.0)), 'camera FRONT'),
    'looks up': (lambda folder: change(folder, look_up), 'camera FRONT'),
    'another size': (lambda folder: change(folder, lambda camera: camera.update(width=63)), 'camera FRONT'),
    'distorted': (
        lambda folder: change(
            folder, lambda camera: camera.update(distortion={'model': 'fisheye', 'coefficients': [0.1, 0, 0, 0]})
        ),
        'add --undistort',
    ),
}


@pytest.mark.parametrize('name', WRONG)
def test_wrong_folders_get_one_line_and_nothing_is_written(project, folder, tmp_path, name):
    damage, word = WRONG[name]
    damage(folder)
    out = tmp_path / 'out'
    result = run('infer', folder, project.config, 'None', '--out', out)
    assert result.code == 2, result.err
    lines = result.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith('error: ')
    assert word in lines[0]
    assert not out.exists()


@pytest.mark.parametrize(
    ('arguments', 'word'),
    [
        (('--trajectory', 'spiral'), 'no trajectory'),
        (('--trajectory', 'missing.json'), 'missing.json'),
        (('--device', 'abacus'), "device 'abacus': cannot be used"),
    ],
)
def test_other_wrong_arguments_are_refused(project, folder, tmp_path, arguments, word):
    result = run('infer', folder, project.config, 'None', '--out', tmp_path / 'out', *arguments)
    assert result.code == 2
    assert word in result.err
    assert not (tmp_path / 'out/panel_000.png').exists()


def test_the_distortion_of_a_folder_is_undone_on_request(project, folder, tmp_path):
    lens = {'model': 'opencv', 'coefficients': [0.4, 0.0, 0.0, 0.0]}
    change(folder, lambda camera: camera.update(distortion=lens))
    arguments = ('--out', tmp_path / 'out', '--trajectory', 'translation', '--undistort')
    written(run('infer', folder, project.config, 'None', *arguments))
    tile = np.array(Image.open(tmp_path / 'out/images_000/FRONT_input.png')).astype(int)
    plain = cv2.resize(cv2.imread(str(folder / 'FRONT.png'))[..., ::-1], IMAGE_SIZE[::-1])
    assert np.abs(tile - plain).max() > 50


def test_cameras_with_names_like_files_have_tiles(project, sample, tmp_path):
    """No camera overwrites the pictures of another, and no name is too long."""
    names = ('front/left', 'front_left', 'x' * 260)
    views = dataclasses.replace(sample[[0, 1, 2]], names=names)
    folder = write_folder(views, tmp_path / 'own')
    assert read_folder(folder, IMAGE_SIZE).names == names
    out = tmp_path / 'out'
    written(run('infer', folder, project.config, 'None', '--out', out, '--trajectory', 'translation'))
    tiles = {path.name: np.array(Image.open(path)) for path in (out / 'images_000').glob('*input.png')}
    assert len(tiles) == 3
    [long] = [name for name in tiles if name.startswith('x')]
    [left] = [name for name in tiles if name.startswith('front_left-')]
    images = to_uint8(read_folder(folder, IMAGE_SIZE).images)
    for name, image in zip((left, 'front_left_input.png', long), images, strict=True):
        assert np.array_equal(tiles[name], image)


def test_an_image_that_is_turned_and_one_that_is_black_are_reported(project, folder, tmp_path):
    """Once each; the pixels are taken as they are stored."""
    before = read_folder(folder, IMAGE_SIZE)
    tag = Image.Exif()
    tag[0x0112] = 3
    Image.open(folder / 'FRONT.png').save(folder / 'FRONT.png', exif=tag)
    assert torch.equal(read_folder(folder, IMAGE_SIZE).images, before.images)
    cv2.imwrite(str(folder / 'BACK.png'), cv2.imread(str(folder / 'BACK.png')) // 32)
    result = run('infer', folder, project.config, 'None', '--out', tmp_path / 'out', '--trajectory', 'translation')
    written(result)
    lines = [line for line in result.err.splitlines() if 'EXIF' in line or 'nearly' in line]
    assert len(lines) == 2
    assert any('camera FRONT: ' in line and 'orientation tag 3' in line for line in lines)
    assert any('camera BACK: ' in line and 'nearly black' in line for line in lines)


def test_twelve_bits_in_sixteen_are_refused(project, folder, tmp_path):
    path = folder / 'FRONT.png'
    cv2.imwrite(str(path), cv2.imread(str(path)).astype(np.uint16) * 16)
    result = run('infer', folder, project.config, 'None', '--out', tmp_path / 'out')
    assert result.code == 2
    [line] = result.err.splitlines()
    assert 'camera FRONT: ' in line and 'divided by 16' in line
    assert not (tmp_path / 'out').exists()
