"""Sky masks, classes and depth by networks: written where students, teachers and evaluations read them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from projects.DistillNeRF.datasets.infos import load_infos
from projects.DistillNeRF.datasets.label_maps import check_label_maps, label_maps_of
from projects.DistillNeRF.evaluation.occupancy.label_maps import read_label_map
from projects.DistillNeRF.scene_nerf.dataset import read_sky_masks
from projects.DistillNeRF.semantics.classes import OCC3D_CLASSES
from projects.DistillNeRF.semantics.label_sets import NO_CLASS
from tests.helpers.boxworld import BoxWorld
from tests.helpers.commands import Result, run
from tests.helpers.dataset import build_dataset
from tests.helpers.refusals import assert_refused
from tests.helpers.tiny_map_models import write_bright_sky, write_depth_anything, write_onnx, write_segmenter

# Green, red and blue boxes: the sum of the colors tells them from the ground and the sky.
CAMERAS = ('LEFT', 'FRONT', 'RIGHT')
FRAMES = 2
SIZE = (60, 100)
SUMS = [[0, 0, 0], [1, 1, 1], [3, 3, 3]]
CLASSES = ['car', 'road', 'sky']
VIEW = 'samples_0_0_0_0_0_0'
# What the depth network gives: this much times inverse depth, and this much more.
INVERSE_SCALE, INVERSE_SHIFT = 60000.0, 700.0


@pytest.fixture(scope='module')
def world(tmp_path_factory) -> Path:
    """The folder of the box world."""
    root = tmp_path_factory.mktemp('world')
    BoxWorld(frames=FRAMES).write(root)
    return root


@pytest.fixture(scope='module')
def models(tmp_path_factory) -> Path:
    """A network of the sky, one of classes and one of depth."""
    folder = tmp_path_factory.mktemp('models')
    write_onnx(folder / 'sky.onnx', [[1, 1, 1]], [-1.5], size=SIZE)
    write_onnx(folder / 'classes.onnx', SUMS, [0, -1.09, -3 * 1.09 - 0.82], size=SIZE)
    (folder / 'classes.json').write_text(json.dumps({'input': {'scale': 1 / 255}, 'classes': CLASSES}))
    write_onnx(folder / 'depth.onnx', [[256, 1, 0]], [0], size=SIZE, step=2)
    return folder


@pytest.fixture(scope='module')
def depth_world(tmp_path_factory, world) -> Path:
    """The same world in images whose red and green say inverse depth; the last frame has no LiDAR."""
    root = tmp_path_factory.mktemp('depth_world')
    drive = BoxWorld(frames=FRAMES + 1, lidar_frames=tuple(range(FRAMES)))
    drive.write(root)
    for info in load_infos(root / 'infos.pkl')[1]:
        for image in info['images'].values():
            depth = np.load(root / image['truth']['depth']).astype(np.float64)
            value = np.nan_to_num(INVERSE_SCALE / depth + INVERSE_SHIFT, nan=INVERSE_SHIFT).round().astype(int)
            pixels = np.stack([value // 256, value % 256, 0 * value], axis=-1).astype(np.uint8)
            Image.fromarray(pixels).save(root / image['img_path'])
    return root


def masks(kind: str, world: Path, out: Path, *more: object) -> Result:
    data = ('--data', world / 'infos.pkl', '--out', out, '--cameras', *CAMERAS)
    return run('extract_sky_masks', kind, *data, *more)


def depths(kind: str, world: Path, out: Path, *more: object) -> Result:
    data = ('--data', world / 'infos.pkl', '--out', out, '--cameras', *CAMERAS)
    return run('extract_depth', kind, *data, *more)


def truth(world: Path, camera: str, frame: int) -> np.ndarray:
    return np.load(world / f'truth/depth/{camera}/frame{frame}.npy').astype(np.float32)


def test_sky_masks_are_what_students_and_teachers_load(world, models, tmp_path):
    out = tmp_path / 'out'
    result = masks('onnx', world, out, '--model', models / 'sky.onnx', '--normalize', 'unit', '--threshold', 0)
    assert result.code == 0 and f'{len(CAMERAS) * FRAMES} images written, of 0 kept' in result.out, result.err
    for camera in CAMERAS:
        for frame in range(FRAMES):
            sky = np.load(out / VIEW / f'gt_sky_masks/{camera}/frame{frame}.npy')
            assert sky.dtype == np.uint8 and sky.shape == SIZE
            np.testing.assert_array_equal(sky, np.isnan(truth(world, camera, frame)))
    images = [
        SimpleNamespace(teacher=x['teacher']) for i in load_infos(world / 'infos.pkl')[1] for x in i['images'].values()
    ]
    read = read_sky_masks(images, str(out))
    assert sum(mask is not None for mask in read) == len(CAMERAS) * FRAMES
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*.npy')}
    next(iter(before)).unlink()
    again = masks('onnx', world, out, '--model', models / 'sky.onnx', '--normalize', 'unit', '--threshold', 0)
    assert 'of 1 images written, of 5 kept' in again.out
    assert sum(path.stat().st_mtime_ns == time for path, time in before.items()) == len(before) - 1
    other = masks('onnx', world, out, '--model', models / 'sky.onnx', '--normalize', 'unit', '--threshold', 0.2)
    assert_refused(other, out / 'sky_masks.json', 'threshold')


def test_classes_are_label_maps_of_the_occupancy_evaluation(world, models, tmp_path):
    out = tmp_path / 'out'
    maps = ('--maps', 'movable', 'labels', 'sky')
    result = masks('onnx', world, out, '--model', models / 'classes.onnx', *maps, '--size', 30, 50)
    assert result.code == 0, result.err
    _, infos = load_infos(world / 'infos.pkl')
    check_label_maps(infos, CAMERAS, str(out), False, 'infos')
    for frame, info in enumerate(infos):
        for camera, record in zip(CAMERAS, label_maps_of(info, CAMERAS, str(out)), strict=True):
            found = read_label_map(record, 'cityscapes')
            depth = truth(world, camera, frame)
            assert found.shape == (30, 50)
            # Pixels around which all shows one thing.
            image = np.array(Image.open(world / f'samples/{camera}/frame{frame}.png')).astype(int)
            alike = (maximum_filter(image, (5, 5, 1)) == minimum_filter(image, (5, 5, 1))).all(-1)
            whole = alike.reshape(30, 2, 50, 2).all((1, 3))
            assert 0.5 < whole.mean() < 1
            sums = image[::2, ::2].sum(-1)
            wanted = np.select([sums > 383, sums > 278], [NO_CLASS, OCC3D_CLASSES.index('driveable_surface')],
                               OCC3D_CLASSES.index('car'))  # fmt: skip
            np.testing.assert_array_equal(found[whole], wanted[whole])
            sky = np.load(out / VIEW / f'gt_sky_masks/{camera}/frame{frame}.npy')
            np.testing.assert_array_equal(sky[whole] == 1, np.isnan(depth[::2, ::2])[whole])
            moves = np.load(out / VIEW / f'movable_masks/{camera}/frame{frame}.npy')
            np.testing.assert_array_equal(moves == 1, found == OCC3D_CLASSES.index('car'))
            assert moves.any() and not moves.all()
    wrong = masks('onnx', world, tmp_path / 'b', '--model', models / 'classes.onnx', *maps, '--size', 30, 30)
    assert_refused(wrong, '--size 30 30', 'shape', '60x100')


def test_a_segformer_makes_masks(world, tmp_path):
    model = write_bright_sky(tmp_path / 'model', size={'height': 60, 'width': 100})
    out = tmp_path / 'out'
    result = masks('transformers', world, out, '--model', model, '--maps', 'sky', 'labels', '--batch', 4)
    assert result.code == 0, result.err
    for camera in CAMERAS[:2]:
        depth = truth(world, camera, 0)
        sky = np.load(out / VIEW / f'gt_sky_masks/{camera}/frame0.npy')
        assert sky.shape == (15, 25)
        blocks = np.isnan(depth).reshape(15, 4, 25, 4).mean((1, 3))
        # The network takes what is a little bright for sky, at its edge.
        assert sky[blocks == 1].all() and not sky[blocks < 0.2].any() and 0.2 < sky.mean() < 0.8
        labels = np.array(Image.open(out / VIEW / f'labels/{camera}/frame0.png'))
        np.testing.assert_array_equal(labels == 10, sky == 1)


def test_lidar_tells_the_sky_without_a_network(town, tmp_path):
    files = sorted(town.glob('*_infos_*.pkl'))
    result = run('extract_sky_masks', 'lidar', '--data', *files, '--out', tmp_path, '--size', 28, 50)
    assert result.code == 0, result.err
    assert 'unknown' in result.out and 'scene_nerf.sky_masks' in result.err
    found, true = [], []
    for file in files:
        for image in (image for info in load_infos(file)[1] for image in info['images'].values()):
            found.append(np.load(tmp_path / image['teacher']['sky_mask']))
            true.append(np.isnan(np.load(town / image['truth']['depth']))[1::2, 1::2])
    found, true = np.stack(found), np.stack(true)
    assert len(found) > 20 and found.shape[1:] == (28, 50)
    assert true[found == 1].mean() > 0.95 and found[true].mean() > 0.5
    again = run('extract_sky_masks', 'lidar', '--data', *files, '--out', tmp_path, '--size', 28, 50)
    assert f'of 0 images written, of {len(found)} kept' in again.out
    assert_refused(run('extract_sky_masks', 'lidar', '--data', *files, '--out', tmp_path / 'b'), '--size')


def write_masks(world: Path, out: Path) -> None:
    for camera in CAMERAS:
        for frame in range(FRAMES + 1):
            path = out / VIEW / f'gt_sky_masks/{camera}/frame{frame}.npy'
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.isnan(truth(world, camera, frame)).astype(np.uint8))


def test_inverse_depth_is_aligned_to_lidar_and_trains_students(depth_world, models, tmp_path):
    out = tmp_path / 'out'
    model = ('--model', models / 'depth.onnx', '--normalize', 'byte', '--gives', 'inverse')
    assert_refused(depths('onnx', depth_world, out, *model), out / VIEW / 'gt_sky_masks', 'extract_sky_masks.py')
    write_masks(depth_world, out)
    # What a mask calls sky is unknown, whatever the network says.
    path = out / VIEW / 'gt_sky_masks/LEFT/frame0.npy'
    masked = np.load(path)
    masked[:, :20] = 1
    np.save(path, masked)
    result = depths('onnx', depth_world, out, *model)
    assert result.code == 0, result.err
    assert f'{len(CAMERAS)} of {len(CAMERAS) * (FRAMES + 1)} images have no depth' in result.err
    for camera in CAMERAS:
        for frame in range(FRAMES):
            found = np.load(out / VIEW / f'depths/{camera}/frame{frame}.npy')
            wanted = truth(depth_world, camera, frame)
            assert found.dtype == np.float16 and found.shape == (30, 50)
            near = np.isfinite(found)
            assert near.mean() > 0.3 and not near[np.isnan(wanted[1::2, 1::2])].any()
            harmonic = 1 / (1 / wanted).reshape(30, 2, 50, 2).mean((1, 3))
            errors = np.abs(found - harmonic)[near] / harmonic[near]
            assert np.nanmedian(errors) < 0.01 and np.nanmax(found) < 80
        assert not (out / VIEW / f'depths/{camera}/frame{FRAMES}.npy').exists()
    left = np.isfinite(np.load(out / VIEW / 'depths/LEFT/frame0.npy'))
    assert not left[:, :10].any() and left[-5:, 10:].all()
    report = json.loads((out / 'depth_alignment.json').read_text())
    every = report['cameras']['all']
    assert every['images'] == 9 and every['aligned'] == 6 and every['residual'] < 0.02
    assert every['scale'] == pytest.approx(1 / INVERSE_SCALE, rel=0.02)
    assert every['shift'] == pytest.approx(-INVERSE_SHIFT / INVERSE_SCALE, rel=0.2)
    one = report['images'][f'{VIEW}/depths/LEFT/frame{FRAMES}.npy']
    assert one == {'camera': 'LEFT', 'alignment': 'no LiDAR', 'written': False}
    dataset = build_dataset(
        depth_world, data_prefix={'teacher': str(out)}, cameras=CAMERAS, load_teacher=True, indices=FRAMES
    )
    views = dataset[0]['inputs']['input_views']
    assert views.teacher_depth.shape == (len(CAMERAS), 30, 50)
    assert views.sky_mask.shape == (len(CAMERAS), 60, 100)
    known = np.isfinite(views.teacher_depth.numpy())
    assert known.mean() > 0.3 and np.abs(views.teacher_depth.numpy()[known]).max() < 80
    again = depths('onnx', depth_world, out, *model)
    assert again.code == 0 and json.loads((out / 'depth_alignment.json').read_text())['cameras'] == report['cameras']


def test_what_falls_where_it_should_rise_is_no_depth(depth_world, models, tmp_path):
    model = ('--model', models / 'depth.onnx', '--normalize', 'byte', '--sky', 'none')
    line = assert_refused(depths('onnx', depth_world, tmp_path, *model, '--gives', 'depth'), '--gives', 'inverse depth')
    assert 'falls' in line
    refused = depths('onnx', depth_world, tmp_path / 'b', *model, '--gives', 'inverse', '--align', 'none')
    assert_refused(refused, 'LiDAR must tell')


def test_metric_depth_stays_as_it_is_where_no_lidar_tells(depth_world, tmp_path):
    model = write_depth_anything(tmp_path / 'model', metric=True, max_depth=80)
    out, more = tmp_path / 'out', ('--model', model, '--sky', 'none', '--align', 'none')
    result = depths('transformers', depth_world, out, *more)
    assert result.code == 0, result.err
    assert 'the network itself, which no LiDAR confirms' in result.err
    found = np.load(out / VIEW / 'depths/FRONT/frame0.npy')
    # It gives 56 x 98 pixels; this has as many columns, and the shape of the image.
    assert found.shape == (59, 98) and np.isfinite(found).any()
    assert np.nanmax(found) < 0.97 * 80 and np.nanmin(found) > 0


def test_wrong_input_is_refused_in_one_line(world, models, tmp_path):
    sky = ('--model', models / 'sky.onnx', '--normalize', 'unit')
    classes = ('--model', models / 'classes.onnx')
    assert_refused(masks('onnx', world, tmp_path, *sky), models / 'sky.onnx', 'no probability', '--threshold')
    # What made nothing does not stand in the way of the right options.
    assert masks('onnx', world, tmp_path / 'e', *sky, '--frames', 0, 0).code == 2
    assert masks('onnx', world, tmp_path / 'e', *sky, '--frames', 0, 0, '--threshold', 0).code == 0
    assert_refused(masks('onnx', world, tmp_path, '--model', models / 'sky.onnx'), '--normalize')
    assert_refused(masks('onnx', world, tmp_path, *sky, '--maps', 'labels'), 'names its classes')
    assert_refused(masks('onnx', world, tmp_path, *sky, '--frames', 7, 9), '--frames 7 9', '0 to 1')
    assert_refused(masks('onnx', world, tmp_path, *classes, '--threshold', 0.3), '--threshold would do nothing')
    assert_refused(masks('onnx', world, tmp_path / 'd', *classes, '--sky-class', 3), '--sky-class 3', '0 to 2')
    assert_refused(masks('onnx', world, tmp_path, '--model', tmp_path / 'none.onnx'), 'none.onnx', 'no such file')
    no_sky = write_segmenter(tmp_path / 'no_sky', 'segformer', names=('road', 'car'))
    assert_refused(masks('transformers', world, tmp_path, '--model', no_sky), no_sky, 'no class named sky')
    depth = write_depth_anything(tmp_path / 'depth', metric=False)
    assert_refused(masks('transformers', world, tmp_path, '--model', depth), depth, 'depth_anything', 'segformer')
    assert_refused(depths('transformers', world, tmp_path, '--model', no_sky), no_sky, 'segformer', 'depth_anything')
    assert not (tmp_path / VIEW).exists()
    damaged = shutil.copytree(world, tmp_path / 'damaged')
    Image.new('RGB', (50, 30)).save(damaged / 'samples/FRONT/frame1.png')
    assert_refused(masks('onnx', damaged, tmp_path / 'c', *classes), 'FRONT/frame1.png', '50x30', '100x60')
    empty = tmp_path / 'empty.pkl'
    empty.write_bytes(b'')
    assert_refused(run('extract_sky_masks', 'onnx', '--data', empty, '--out', tmp_path, *classes), empty, 'empty')


def test_real_models_on_a_real_image(shared_dir, tmp_path):
    frame, skyseg = shared_dir / 'data/nuscenes_frame', shared_dir / 'models/skyseg/skyseg.onnx'
    city = shared_dir / 'models/espnetv2/espnetv2_city_512x256.onnx'
    if not (frame.is_dir() and skyseg.is_file() and city.is_file()):
        pytest.skip('no real models or images there')
    info = next(frame.glob('*.pkl'))
    made = run('create_data', 'nuscenes', '--root-path', frame, '--from-info', info, '--out-dir', tmp_path)
    assert made.code == 0, made.err
    data = ('--data', next(tmp_path.glob('*.pkl')), '--root', frame, '--cameras', 'CAM_FRONT')
    for name, model, maps in (('sky', skyseg, ('sky',)), ('city', city, ('sky', 'labels'))):
        result = run('extract_sky_masks', 'onnx', *data, '--model', model, '--out', tmp_path / name,
                     '--maps', *maps, '--size', 225, 400)  # fmt: skip
        assert result.code == 0, result.err
    first, second = (np.load(next((tmp_path / name).rglob('*.npy'))) > 0 for name in ('sky', 'city'))
    assert (first & second).sum() / (first | second).sum() > 0.95
    labels = np.array(Image.open(next((tmp_path / 'city').rglob('*.png'))))
    # The middle of the lower border is road.
    assert (labels[-40:, 150:250] == 0).mean() > 0.95
