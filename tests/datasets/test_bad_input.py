"""Every way in which data can be bad: one line that names the file, the camera or the token, and the hint."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from projects.DistillNeRF.datasets.infos import load_infos, save_infos
from projects.DistillNeRF.utils.errors import InputError, command
from tests.helpers.boxworld import BoxWorld
from tests.helpers.dataset import ALL_MAPS, build_dataset
from tests.helpers.files import truncate
from tests.helpers.refusals import assert_refused


@pytest.fixture(scope='module')
def pristine(tmp_path_factory) -> Path:
    """One frame, whole."""
    root = tmp_path_factory.mktemp('one_frame')
    BoxWorld(frames=1, lidar_frames=(0,)).write(root)
    return root


@pytest.fixture
def root(pristine, tmp_path) -> Path:
    """One frame that a test may damage."""
    return shutil.copytree(pristine, tmp_path / 'data')


def change_info(root: Path, change) -> None:
    """Change the only record of the info file, past all checks."""
    path = root / 'infos.pkl'
    content = pickle.loads(path.read_bytes())
    change(content['data_list'][0])
    path.write_bytes(pickle.dumps(content))


def fails(root: Path, *words: str, **options) -> None:
    """Loading the dataset or its sample is refused."""
    assert_refused(lambda: build_dataset(root, **options)[0], *words)


IMAGE = 'samples/FRONT/frame0.png'
LIDAR = 'lidar/0.bin'
TEACHER = 'samples_0_0_0_0_0_0/depths/FRONT/frame0.npy'
SKY = 'samples_0_0_0_0_0_0/gt_sky_masks/FRONT/frame0.npy'
FEATURES = 'FRONT/frame0.npy'
TRUTH = 'truth/depth/FRONT/frame0.npy'


@pytest.mark.parametrize('name', [IMAGE, LIDAR, TEACHER, FEATURES, 'infos.pkl'])
@pytest.mark.parametrize('how', ['missing', 'empty', 'truncated'])
def test_damaged_files_are_named(root, name, how):
    path = root / name
    if how == 'missing':
        path.unlink()
    elif how == 'empty':
        path.write_bytes(b'')
    else:
        truncate(path, 0.5037)
    fails(root, str(path), **ALL_MAPS)


def test_an_image_that_cannot_be_decoded_is_named(root):
    (root / IMAGE).write_bytes(b'no image at all')
    fails(root, IMAGE, 'not a readable image')


def test_an_image_of_another_size_than_its_record_is_named(root):
    change_info(root, lambda info: info['images']['FRONT'].update(height=61))
    fails(root, IMAGE, '100x60', '100x61')


@pytest.mark.parametrize('share', [0.3, 0.9, 0.99])
def test_a_jpeg_that_is_cut_short_is_refused(root, share):
    path = root / 'samples/FRONT/frame0.jpg'
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (60, 100, 3), np.uint8))
    change_info(root, lambda info: info['images']['FRONT'].update(img_path='samples/FRONT/frame0.jpg'))
    build_dataset(root)[0]
    truncate(path, share)
    fails(root, str(path), 'cut short')


@pytest.mark.parametrize(
    ('name', 'array', 'word'),
    [
        (TEACHER, np.zeros((60, 100, 1)), 'axes'),
        (TEACHER, np.full((60, 100), np.inf), 'infinite'),
        (TEACHER, np.full((60, 100), -1.0), 'negative'),
        (TEACHER, np.array([['a']]), 'numbers'),
        (TEACHER, np.full((60, 100), 12000, np.uint16), 'divide by 1000 what is in millimeters'),
        (TEACHER, np.full((60, 100), 12 * 256, np.uint16), '256: KITTI'),
        (TEACHER, 1 / np.linspace(2, 80, 6000).reshape(60, 100), 'not its inverse'),
        (TEACHER, np.linspace(0.01, 1, 6000).reshape(60, 100), 'no share of a range'),
        (TEACHER, np.where(np.arange(100) % 2, 9.0, np.zeros((60, 1))), '50% of its depths are zero; write NaN'),
        (TRUTH, np.full((60, 100), 12000.0), 'millimeters'),
        (SKY, np.full((60, 100), 255, np.uint8), 'outside 0 to 1'),
        (SKY, np.where(np.arange(60)[:, None] < 30, 255, np.zeros((60, 100), np.uint8)), 'divide by 255'),
        (SKY, np.where(np.arange(60)[:, None] < 30, 0, np.ones((60, 100), np.uint8)), 'invert it'),
        (SKY, np.full((60, 100), np.nan), 'outside 0 to 1'),
        (FEATURES, np.full((4, 6, 8), np.nan), 'NaN'),
        (FEATURES, np.zeros((4, 6)), 'axes'),
    ],
)
def test_wrong_maps_are_refused(root, name, array, word):
    np.save(root / name, array)
    fails(root, word, **ALL_MAPS)


@pytest.mark.parametrize('name', [TEACHER, SKY, FEATURES])
def test_the_map_of_another_size_is_the_one_that_is_named(root, name):
    whole = np.load(root / name)
    np.save(root / name, whole[:3, :5])
    fails(root, name, 'sizes', **ALL_MAPS)


def test_points_that_are_no_whole_number_or_not_finite_are_refused(root):
    points = np.fromfile(root / LIDAR, np.float32)
    points[:-1].tofile(root / LIDAR)
    fails(root, LIDAR, 'whole number of points')
    points[5] = np.nan
    points.tofile(root / LIDAR)
    fails(root, LIDAR, 'NaN')


def calibration(field: str, change):
    """A change of one matrix of the front camera."""

    def apply(info: dict) -> None:
        matrix = np.array(info['images']['FRONT'][field])
        change(matrix)
        info['images']['FRONT'][field] = matrix.tolist()

    return apply


def set_entry(row: int, column: int, value: float):
    """Assign one entry of a matrix."""
    return lambda matrix: matrix.__setitem__((row, column), value)


def mirror(matrix: np.ndarray) -> None:
    """Turn a rotation into a reflection."""
    matrix[:3, 0] *= -1


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        (calibration('cam2img', set_entry(0, 0, np.nan)), 'NaN'),
        (calibration('cam2img', set_entry(0, 0, 1.0)), 'focal length'),
        (calibration('cam2img', set_entry(0, 0, -80.0)), 'focal length'),
        (calibration('cam2img', set_entry(0, 2, 500.0)), 'principal point'),
        (calibration('cam2img', set_entry(2, 2, 0.0)), 'pinhole'),
        (calibration('cam2global', set_entry(0, 3, np.inf)), 'NaN or infinity'),
        (calibration('cam2global', set_entry(0, 0, 2.0)), 'orthonormal'),
        (calibration('cam2global', mirror), 'mirrors'),
        (calibration('lidar2cam', set_entry(3, 3, 0.0)), 'last row'),
        (lambda info: info['images']['FRONT'].update(cam2img=[[1.0, 2.0]]), 'not (3, 3)'),
        (lambda info: info['images']['FRONT'].pop('cam2global'), 'lacks cam2global'),
    ],
)
def test_a_bad_calibration_names_the_camera(root, change, word):
    change_info(root, change)
    fails(root, 'infos.pkl', 'box0', 'FRONT', 'tools/create_data.py' if 'lacks' in word else 'convert', word)


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        (lambda info: info.update(next='box7'), 'box7'),
        (lambda info: info.pop('scene'), 'lacks scene'),
        (lambda info: info['images'].pop('FRONT'), 'no camera FRONT'),
        (lambda info: info.update(ego2global=np.eye(3).tolist()), 'not (4, 4)'),
    ],
)
def test_bad_records_name_the_sample(root, change, word):
    change_info(root, change)
    fails(root, 'infos.pkl', 'box0', word)


def test_info_files_of_other_programs_and_versions_are_refused(root):
    path = root / 'infos.pkl'
    for content, word in (
        ([], 'not an info file'),
        ({'metainfo': {}, 'data_list': []}, 'another program'),
        ({'metainfo': {'format': 'distillnerf', 'format_version': 99}, 'data_list': []}, 'version 99'),
    ):
        path.write_bytes(pickle.dumps(content))
        fails(root, 'infos.pkl', word)
    metainfo = {'format': 'distillnerf', 'format_version': 1, 'cameras': ['FRONT']}
    path.write_bytes(pickle.dumps({'metainfo': metainfo, 'data_list': []}))
    fails(root, 'infos.pkl', 'no samples')


@pytest.mark.parametrize(
    'options',
    [
        {'image_size': (60,)},
        {'render_size': (0, 4)},
        {'every_nth': 0},
        {'test_samples': 'third'},
        {'indices': [9]},
        {'cameras': ['TOP']},
        {'cameras': []},
        {'test_mode': True, 'test_samples': 'second_of_scene'},
    ],
)
def test_bad_options_are_refused(root, options):
    fails(root, **options)


def test_bad_records_are_not_written(root):
    metainfo, infos = load_infos(root / 'infos.pkl')
    before = (root / 'infos.pkl').read_bytes()
    infos[0]['images']['FRONT']['cam2img'][0][0] = float('nan')
    with pytest.raises(InputError, match='FRONT'):
        save_infos(root / 'infos.pkl', 'boxworld', metainfo['cameras'], infos)
    assert (root / 'infos.pkl').read_bytes() == before
    assert not [path for path in root.iterdir() if path.name.startswith('.')]


def test_a_worker_process_reports_one_line_too(root, capsys):
    truncate(root / LIDAR, 0.5037)

    @command
    def main() -> None:
        next(iter(DataLoader(build_dataset(root), num_workers=1, collate_fn=pseudo_collate)))

    with pytest.raises(SystemExit) as error:
        main()
    assert error.value.code == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith(f'error: {root / LIDAR}: ')


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (
            lambda a, b: b['images']['LEFT'].update(img_path='./samples/LEFT/frame0.png'),
            'sample box0, LEFT and sample box1, LEFT name one image file, ./samples/LEFT/frame0.png',
        ),
        (
            lambda a, b: a['images']['RIGHT'].update(img_path=a['images']['LEFT']['img_path']),
            'sample box0, LEFT and sample box0, RIGHT name one image file',
        ),
        (lambda a, b: b.update(lidar_points=a['lidar_points']), 'sample box0 and sample box1 name one LiDAR file'),
        (
            lambda a, b: b['images']['BACK'].update(teacher=a['images']['BACK']['teacher']),
            'sample box0, BACK and sample box1, BACK name one teacher depth file',
        ),
        (
            lambda a, b: b['images']['BACK']['teacher'].update(sky_mask=a['images']['BACK']['teacher']['sky_mask']),
            'name one teacher sky_mask file',
        ),
        (
            lambda a, b: b['images']['BACK'].update(features=a['images']['BACK']['features']),
            'name one features file, BACK/frame0.npy',
        ),
        (
            lambda a, b: b['images']['BACK'].update(truth=a['images']['BACK']['truth']),
            'name one truth depth file',
        ),
        (lambda a, b: b.update(token='box0', prev=None), 'two samples share a token'),
    ],
)
def test_records_that_share_a_file_are_refused(tmp_path, change, words):
    path = BoxWorld(frames=2, lidar_frames=(0, 1)).write(tmp_path)
    metainfo, infos = load_infos(path)
    change(*infos)
    with pytest.raises(InputError) as error:
        save_infos(tmp_path / 'again.pkl', 'boxworld', metainfo['cameras'], infos)
    assert words in str(error.value) and str(tmp_path / 'again.pkl') in str(error.value)
    path.write_bytes(pickle.dumps({'metainfo': metainfo, 'data_list': infos}))
    fails(tmp_path, words, 'convert the data again')
