"""tools/extract_features.py, from images to what a student loads."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from projects.DistillNeRF.datasets.image_files import read_image
from projects.DistillNeRF.foundation_models.features import open_features
from projects.DistillNeRF.foundation_models.preprocess import place
from projects.DistillNeRF.foundation_models.reduction import load_reduction
from projects.DistillNeRF.models.objective import feature_target
from tests.helpers.boxworld import CAMERAS, BoxWorld
from tests.helpers.commands import Result, run
from tests.helpers.dataset import build_dataset
from tests.helpers.refusals import assert_refused
from tests.helpers.tiny_models import pooling_onnx, write_model

SIZE = (72, 128)


@pytest.fixture(scope='module')
def world(tmp_path_factory) -> Path:
    """Info file of three frames of six dark images, each with one bright square; shifted views among them."""
    root = tmp_path_factory.mktemp('squares')
    infos = BoxWorld(size=SIZE, lidar_frames=()).write(root)
    random = np.random.default_rng(0)
    for path in [*root.glob('samples/*/*.png'), *root.glob('samples_*/rgbs/*/*.jpg')]:
        image = random.integers(60, 100, (*SIZE, 3)).astype(np.uint8)
        row, column = square(path)
        image[row - 6 : row + 6, column - 6 : column + 6] = 255
        cv2.imwrite(str(path), image)
    return infos


def square(path: Path) -> tuple[int, int]:
    """Center of the square in an image, another one for each camera and frame."""
    random = np.random.default_rng(3 * CAMERAS.index(path.parent.name) + int(path.stem[-1]))
    return int(random.integers(12, 60)), int(random.integers(12, 116))


@pytest.fixture(scope='module')
def models(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('models')
    for kind in ('clip', 'dino', 'siglip', 'clip_text'):
        write_model(root / kind, kind, even=True)
    pooling_onnx(root / 'pool.onnx')
    pooling_onnx(root / 'fixed.onnx', (64, 64))
    return root


def extract(world: Path, out: Path, kind: str, model: Path, *more: object) -> Result:
    onnx = ('--normalize', 'unit') if kind == 'onnx' and '--normalize' not in more else ()
    return run('extract_features', kind, '--data', world, '--out', out, '--model', model, *onnx, *more)


def dataset(world: Path, features: Path, **more):
    """What a student of these features loads."""
    return build_dataset(
        world.parent,
        data_prefix={'features': str(features)},
        image_size=(36, 64),
        render_size=(18, 32),
        load_features=True,
        **more,
    )


def offsets(dataset, world: Path, frame: int) -> np.ndarray:
    """Where each square is in the features at rendered size, less where it is in the image; in cells or pixels.

    The larger of the two counts: a cell of the map, or a pixel of the rendered size.
    """
    views = dataset[frame]['inputs']['target_views']
    target = feature_target(views, views.features.new_zeros(1, views.features.shape[1], 18, 32))
    units = [max(1, side / cells) for side, cells in zip((18, 32), views.features.shape[-2:], strict=True)]
    found = []
    for camera, features in zip(CAMERAS, target, strict=True):
        change = (features - features.flatten(1).median(1).values[:, None, None]).square().sum(0)
        change = (change * (change > 0.4 * change.max())).numpy()
        row, column = square(world.parent / f'samples/{camera}/frame{frame}.png')
        at = change.sum(1) @ (np.arange(18) + 0.5), change.sum(0) @ (np.arange(32) + 0.5)
        found.append((at[0] / change.sum() - row / 4, at[1] / change.sum() - column / 4))
    return np.array(found) / units


@pytest.mark.parametrize(
    ('kind', 'model', 'options'),
    [
        ('clip', 'clip', ('--size', 72, 128, '--stride', 4)),
        ('dino', 'dino', ('--size', 72, 128)),
        ('siglip', 'siglip', ('--size', 72, 128, '--stride', 4, '--channels', 20)),
        ('onnx', 'pool.onnx', ('--size', 72, 120)),
        ('onnx', 'fixed.onnx', ()),
    ],
)
def test_students_find_each_square_where_it_is(world, models, tmp_path, kind, model, options):
    """Through files and loader, to a fraction of a cell, each image in its own file."""
    result = extract(world, tmp_path / 'out', kind, models / model, *options)
    assert result.code == 0, result.err
    assert '18 maps' in result.out
    loaded = dataset(world, tmp_path / 'out')
    off = np.concatenate([offsets(loaded, world, frame) for frame in range(3)])
    assert np.abs(off).max() < 2 and np.abs(off.mean(0)).max() < 0.25, off


def test_files_are_half_precision_of_the_reduced_features(world, models, tmp_path):
    out = tmp_path / 'out'
    result = extract(world, out, 'dino', models / 'dino', '--size', 48, 80, '--channels', 6, '--sample', 5)
    assert result.code == 0, result.err
    assert 'note:' in result.err and '6 of 32 channels keep' in result.err
    assert f'{out}: 18 maps of 6 x 10 x 6 written, 0 kept' in result.out
    features = np.load(out / 'LEFT/frame0.npy')
    assert features.dtype == np.float16 and features.shape == (6, 10, 6)
    model = open_features('dino', models / 'dino', device='cpu')
    image = np.ascontiguousarray(read_image(world.parent / 'samples/LEFT/frame0.png')[..., ::-1])
    whole = model(torch.from_numpy(place(image, model.framing((48, 80)), model.resample))[None])[0]
    expected = load_reduction(out / 'reduction_pca.npz')(whole.numpy().transpose(1, 2, 0))
    assert features == pytest.approx(expected, abs=2e-3)
    settings = json.loads((out / 'features.json').read_text())
    assert settings['size'] == [48, 80] and settings['channels'] == 6


def test_a_run_goes_on_and_other_settings_are_refused(world, models, tmp_path):
    out, options = tmp_path / 'out', ('--size', 24, 40, '--channels', 6)
    assert extract(world, out, 'dino', models / 'dino', *options).code == 0
    (out / 'FRONT/frame2.npy').unlink()
    again = extract(world, out, 'dino', models / 'dino', *options)
    assert '1 maps of 3 x 5 x 6 written, 17 kept' in again.out and 'PCA' not in again.err
    other = extract(world, out, 'dino', models / 'dino', '--size', 40, 40, '--channels', 6)
    assert_refused(other, 'size [24, 40], not [40, 40]', start=out / 'features.json')
    other = extract(world, out, 'dino', models / 'dino', '--size', 24, 40, '--channels', 6, '--sample', 3)
    assert_refused(other, 'sample 200, not 3')
    assert_refused(extract(world, out, 'clip', models / 'clip', *options), 'kind "dino", not "clip"')
    (out / 'reduction_pca.npz').unlink()
    assert_refused(extract(world, out, 'dino', models / 'dino', *options), 'no such file')


def test_a_reduction_that_was_made_before_is_taken(world, models, tmp_path):
    options = ('--size', 24, 40)
    only = extract(world, tmp_path / 'first', 'dino', models / 'dino', *options, '--channels', 5, '--only-pca')
    assert only.code == 0 and not (tmp_path / 'first/LEFT').exists()
    assert extract(world, tmp_path / 'first', 'dino', models / 'dino', *options, '--channels', 5).code == 0
    pca = tmp_path / 'first/reduction_pca.npz'
    assert extract(world, tmp_path / 'second', 'dino', models / 'dino', *options, '--pca', pca).code == 0
    for name in ('reduction_pca.npz', 'BACK/frame1.npy'):
        assert (tmp_path / 'first' / name).read_bytes() == (tmp_path / 'second' / name).read_bytes()
    wrong = extract(world, tmp_path / 'third', 'clip', models / 'clip', *options, '--pca', pca)
    assert_refused(wrong, 'for 32 channels, the model has 24')
    assert_refused(extract(world, tmp_path / 'out', 'dino', models / 'dino', '--pca', pca, '--sample', 3), '--sample')


def test_views_of_a_teacher_have_features_too(world, models, tmp_path):
    out = tmp_path / 'out'
    teacher = ('--teacher', world.parent)
    result = extract(world, out, 'onnx', models / 'fixed.onnx', *teacher, '--views', '0_0_0', '-1_0_0', '1_0_0')
    assert result.code == 0, result.err
    assert '54 maps' in result.out
    left, original = (np.load(out / name) for name in ('samples_-1_0_0_0_0_0/BACK/frame1.npy', 'BACK/frame1.npy'))
    assert left.shape == original.shape == (8, 8, 3) and not np.array_equal(left, original)
    loaded = dataset(world, out, load_teacher=True, virtual_img_target_smart_sample=True)
    views = loaded[0]['inputs']['target_views']
    assert len(views.features) == 12 and views.features.isfinite().all()
    # The square of a virtual view is where that of the original one is.
    first, second = views.features[:6], views.features[6:]
    similar = F.cosine_similarity((first - first.mean()).flatten(1), (second - second.mean()).flatten(1))
    assert similar.min() > 0.5
    assert extract(world, out, 'onnx', models / 'fixed.onnx', *teacher).code == 0  # all four views now
    assert (out / 'samples_0_-1_0_0_0_0/FRONT/frame0.npy').is_file()


def test_wrong_input_is_one_line(world, models, tmp_path):
    out = tmp_path / 'out'
    size = ('--size', 24, 40)
    assert_refused(extract(world, out, 'clip', models / 'none'), 'no such folder', start=models / 'none')
    assert_refused(extract(world, out, 'clip', Path('nobody/nothing')), 'local cache', 'tools/get_weights.py')
    assert_refused(extract(world, out, 'clip', models / 'clip_text', *size), 'without a vision tower')
    assert_refused(extract(world, out, 'clip', models), 'no folder of a transformers model')
    assert_refused(extract(world, out, 'clip', models / 'pool.onnx'), 'is a file')
    shutil.copytree(models / 'dino', tmp_path / 'cut')
    weights = tmp_path / 'cut/model.safetensors'
    weights.write_bytes(weights.read_bytes()[:3000])
    assert_refused(extract(world, out, 'dino', tmp_path / 'cut', *size), 'cannot be loaded', start=tmp_path / 'cut')
    weights.write_bytes(b'')
    assert_refused(extract(world, out, 'dino', tmp_path / 'cut', *size), 'the file is empty')
    weights.unlink()
    assert_refused(extract(world, out, 'dino', tmp_path / 'cut', *size), 'has no weights')
    (tmp_path / 'cut.onnx').write_bytes((models / 'pool.onnx').read_bytes()[:99])
    assert_refused(extract(world, out, 'onnx', tmp_path / 'cut.onnx', *size), 'not a readable ONNX model')
    mean = extract(world, out, 'onnx', models / 'pool.onnx', *size, '--output', 'mean')
    assert_refused(mean, 'no output is a feature map')
    assert_refused(extract(world, out, 'onnx', models / 'pool.onnx', *size, '--output', 'x'), 'it has mean')
    assert_refused(extract(world, out, 'onnx', models / 'pool.onnx'), 'choose one with --size')
    assert_refused(extract(world, out, 'onnx', models / 'pool.onnx', '--size', 30, 40), 'do not divide 30x40')
    assert_refused(extract(world, out, 'onnx', models / 'fixed.onnx', *size), 'its input is 64x64')
    assert_refused(extract(world, out, 'onnx', models / 'pool.onnx', *size, '--device', 'cuda'), '--device cuda')
    assert not list(out.rglob('*.np*'))
    (tmp_path / 'empty.pkl').write_bytes(b'')
    assert_refused(extract(tmp_path / 'empty.pkl', out, 'dino', models / 'dino'), 'empty')


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (('--normalize', 'unit'), '--normalize does nothing for dino'),
        (('--bgr',), '--bgr does nothing for dino'),
        (('--channels', 0), '--channels is 0'),
        (('--size', 0, 8), '--size is 0'),
        (('--slurm', 'timeout_min=3'), '--slurm would do nothing'),
        (('--jobs', 3), '--jobs would do nothing'),
        (('--launcher', 'slurm', '--part', '1/2'), '--part'),
        (('--launcher', 'slurm', '--only-pca'), '--only-pca'),
        (('--part', '1/2', '--only-pca'), '--part'),
        (('--part', '1/2'), 'with --only-pca first'),
        (('--views', '1_0_0'), 'give it with --teacher'),
        (('--teacher', '.', '--views', '0_0_0'), '--teacher would do nothing'),
        (('--precision', 'fp16'), 'needs a GPU'),
    ],
)
def test_options_that_do_nothing_are_refused(world, models, tmp_path, options, words):
    assert_refused(extract(world, tmp_path / 'out', 'dino', models / 'dino', *options), words)


def test_onnx_needs_to_be_told_its_colors(world, models, tmp_path):
    plain = run('extract_features', 'onnx', '--data', world, '--out', tmp_path, '--model', models / 'pool.onnx')
    assert_refused(plain, '--normalize', 'imagenet')
    assert_refused(extract(world, tmp_path, 'onnx', models / 'pool.onnx', '--stride', 4), '--stride does nothing')


def test_maps_of_another_size_are_refused_by_the_loader(world, models, tmp_path):
    out = tmp_path / 'out'
    assert extract(world, out, 'dino', models / 'dino', '--size', 24, 40).code == 0
    file = out / 'FRONT/frame1.npy'
    np.save(file, np.load(file)[:2])
    assert_refused(lambda: dataset(world, out)[1], 'has size', 'different sizes', start=file)


class Executor:
    """Runs array tasks one after the other, as slurm would."""

    arrays: list[int] = []

    def __init__(self, folder: Path, cluster: str) -> None:
        assert cluster == 'slurm'

    def update_parameters(self, **parameters: object) -> None:
        assert parameters['timeout_min'] == 3 and parameters['name'] == 'extract_features'

    def map_array(self, function, jobs):
        self.arrays.append(len(jobs))
        return [SimpleNamespace(result=lambda job=job: function(job)) for job in jobs]


def test_jobs_of_a_cluster_make_the_parts(world, models, tmp_path, monkeypatch):
    """First the one that fits the reduction; every job is a command of its own."""
    submitit = ModuleType('submitit')
    submitit.AutoExecutor = Executor
    monkeypatch.setitem(sys.modules, 'submitit', submitit)
    monkeypatch.setattr('shutil.which', lambda name: '/bin/true')

    def here(tool: str, arguments, log: Path, threads=None) -> str | None:
        result = run(tool, *arguments)
        return None if result.code == 0 else result.err

    monkeypatch.setattr('projects.DistillNeRF.engine.extraction_jobs.run_tool', here)
    slurm = ('--launcher', 'slurm', '--slurm', 'timeout_min=3', '--jobs', 3)
    result = extract(world, tmp_path / 'out', 'onnx', models / 'fixed.onnx', *slurm)
    assert result.code == 0, result.err
    assert Executor.arrays == [1, 3] and 'prepare: done' in result.out and 'part 3/3: done' in result.out
    assert len(list((tmp_path / 'out').glob('*/frame?.npy'))) == 18
    (world.parent / 'samples/BACK/frame0.png').rename(tmp_path / 'away')
    try:
        failed = extract(world, tmp_path / 'other', 'onnx', models / 'fixed.onnx', *slurm, '--skip-missing')
        assert failed.code == 0 and len(list((tmp_path / 'other').glob('*/frame?.npy'))) == 17
    finally:
        (tmp_path / 'away').rename(world.parent / 'samples/BACK/frame0.png')
