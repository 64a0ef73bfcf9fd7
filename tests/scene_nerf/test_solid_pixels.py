"""Views of images that a field was trained on have no sky where the labels of these images say solid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from projects.DistillNeRF.scene_nerf.dataset import DriveRays
from projects.DistillNeRF.scene_nerf.drive import DriveImage
from projects.DistillNeRF.scene_nerf.field_teacher import FieldTeacher
from projects.DistillNeRF.scene_nerf.model import SceneNeRF
from projects.DistillNeRF.scene_nerf.own_car import OwnCar
from projects.DistillNeRF.scene_nerf.scores import render_image
from projects.DistillNeRF.scene_nerf.solid_pixels import SolidPixels
from tests.helpers.commands import Result, run
from tests.helpers.data import ROOT
from tests.helpers.fields import QUICK_STEPS, quick_options, red_block

ENTRY = ROOT / 'projects/DistillNeRF/configs/model_wrapper/scene_nerf_minitown.py'
# That of the quick fields, and of the hand-made one.
SIZE, VIEW = (14, 25), (12, 16)
OLD = 'does not say which pixels of images are solid'


def images_in(folder: Path, count: int, own_car: OwnCar | None = None) -> list[DriveImage]:
    """Write gray images of one camera that looks along y; every third lies between keyframes."""
    cam2scene = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    intrinsics = np.array([[14.0, 0, 7.5], [0, 14.0, 5.5], [0, 0, 1]])
    images = []
    for number in range(count):
        path = str(folder / f'{number}.png')
        assert cv2.imwrite(path, np.full((*VIEW, 3), 100, np.uint8))
        frame = None if number % 3 == 2 else number
        images.append(DriveImage(path, 'A', frame, number / 10, *VIEW, intrinsics, cam2scene, {}, {}, own_car))
    return images


@pytest.mark.parametrize('count', [2, 12, 13, 30])
def test_keyframe_images_take_a_bit_per_pixel(tmp_path, count):
    images = images_in(tmp_path, count)
    labels = torch.randint(-127, 128, (count, 5, 7), generator=torch.Generator().manual_seed(count)).to(torch.int8)
    labels[0, 0] = torch.tensor([-127, -64, -1, 0, 1, 64, 127])
    solid = SolidPixels.of(images, labels)
    keyframes = [number for number, image in enumerate(images) if image.frame is not None]
    assert solid.images.tolist() == keyframes
    assert solid.bits.dtype == torch.uint8 and solid.bits.shape == (-(-len(keyframes) // 8), 5, 7)
    for number in range(count):
        mask = solid.mask(number, 5, 7)
        if number in keyframes:
            assert mask is not None and torch.equal(mask, labels[number] < 0)
        else:
            assert mask is None
    assert solid.mask(0, 5, 7)[0].tolist() == [True, True, True, False, False, False, False]


def test_without_labels_or_keyframes_nothing_is_noted(tmp_path):
    images = images_in(tmp_path, 3)
    for solid in (SolidPixels.of(images, None), SolidPixels.of(images[2:], torch.full((1, 5, 7), -127))):
        assert not len(solid.images) and not solid.bits.numel()
        assert all(solid.mask(number, 5, 7) is None for number in range(3))


def test_another_size_takes_what_is_at_the_middle_of_a_pixel(tmp_path):
    labels = torch.zeros(1, 6, 9, dtype=torch.int8)
    labels[0, 4:, :5] = -1
    solid = SolidPixels.of(images_in(tmp_path, 1), labels)
    mask = labels[0] < 0
    assert solid.mask(0, 2, 3).tolist() == [[False, False, False], [True, True, False]]
    assert torch.equal(solid.mask(0, 12, 18), mask.repeat_interleave(2, 0).repeat_interleave(2, 1))


def left_is_solid(images: list[DriveImage]) -> SolidPixels:
    """Labels of all keyframes that call the left half solid, tell nothing of a quarter, and call the rest sky."""
    labels = torch.zeros(len(images), *VIEW, dtype=torch.int8)
    labels[:, :, :8], labels[:, :, 12:] = -1, 127
    return SolidPixels.of(images, labels)


def same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


@torch.no_grad()
@pytest.mark.parametrize('warp', [True, False])
def test_what_the_field_takes_for_the_sky_is_unknown_there(tmp_path, warp):
    """The block in the middle keeps its depth, the right half its sky, and labels of the sky hide no block."""
    images = images_in(tmp_path, 4)
    teacher = FieldTeacher(red_block(4), images, VIEW, warp=warp)
    plain, seen = (
        render_image(one, images[1], VIEW) for one in (teacher, replace(teacher, solid=left_is_solid(images)))
    )
    before = plain.sky[0] > 0.5
    assert 20 < before[:, :8].sum() < 96 and before[:, 8:].any() and not before[:, 8:].all()
    assert (seen.sky[0, :, :8] == 0).all() and same(seen.sky[..., 8:], plain.sky[..., 8:])
    assert same(seen.depth, plain.depth) and same(seen.image, plain.image) and same(seen.moving, plain.moving)
    assert seen.depth[0][before].isnan().all() and seen.depth[0][~before].isfinite().all()


@torch.no_grad()
def test_other_views_are_as_the_field_has_them(tmp_path):
    """Shifted ones, those of images between keyframes, and of images that were not trained on."""
    images = images_in(tmp_path, 4)
    teacher = replace(FieldTeacher(red_block(4), images, VIEW, warp=False), solid=left_is_solid(images))
    unknown = replace(teacher, solid=None)
    camera = images[0].camera_at(*VIEW)
    cameras = replace(camera, intrinsics=camera.intrinsics.repeat(4, 1, 1), cam2world=camera.cam2world.repeat(4, 1, 1))
    recorded = [None, images[2], replace(images[0], path=str(tmp_path / 'kept_out.png')), images[0]]
    plain, seen = (one.render(cameras, 0.0, recorded) for one in (unknown, teacher))
    assert same(seen.sky[:3], plain.sky[:3]) and not same(seen.sky[3], plain.sky[3])
    assert same(teacher.render(cameras, 0.0).sky, plain.sky)


@torch.no_grad()
def test_sizes_and_the_own_car_go_together(tmp_path):
    images = images_in(tmp_path, 2, OwnCar(0.75))
    teacher = FieldTeacher(red_block(2), images, VIEW, warp=False)
    plain = render_image(teacher, images[0], (24, 32))
    seen = render_image(replace(teacher, solid=left_is_solid(images)), images[0], (24, 32))
    assert (plain.sky[0, :18, :16] > 0.5).any() and (seen.sky[0, :, :16] == 0).all()
    assert same(seen.sky[..., 16:], plain.sky[..., 16:]) and same(seen.depth, plain.depth)
    assert seen.depth[0, 18:].isnan().all() and (seen.sky[0, 18:] == 0).all() and (seen.sky[0, :18] > 0.5).any()


def files(root: Path) -> list[Path]:
    return [root / f'minitown_infos_{split}.pkl' for split in ('train', 'val')]


@pytest.fixture(scope='module')
def trained(town, tmp_path_factory) -> Path:
    work_dir = tmp_path_factory.mktemp('work')
    result = run('train', ENTRY, '--work-dir', work_dir, '--cfg-options', *quick_options(files(town), town))
    assert result.code == 0, result.err
    return work_dir / f'iter_{QUICK_STEPS}.pth'


@pytest.fixture(scope='module')
def data(town) -> DriveRays:
    roots = dict.fromkeys(('img', 'lidar', 'truth'), str(town))
    section = {'scene': 'minitown-0001', 'roots': roots, 'image_size': SIZE}
    return DriveRays({'ann_files': [str(file) for file in files(town)], **section}, 1, 1, 1)


def changed(checkpoint: Path, path: Path, solid: np.ndarray | None) -> Path:
    """Write a checkpoint with other solid pixels ``(h, w)`` of all images, or of an earlier version."""
    state = torch.load(checkpoint, weights_only=False)
    weights = state['state_dict']
    if solid is None:
        del weights['solid_images'], weights['solid_bits']
    else:
        weights['solid_bits'] = torch.from_numpy(255 * solid.astype(np.uint8)).expand_as(weights['solid_bits']).clone()
    torch.save(state, path)
    return path


def export(checkpoint: Path, out: Path, town: Path, *options: object) -> Result:
    words = ('--out', out, '--views', '0_0_0', '1_0_0', '--no-report', *options)
    return run('render_scene_nerf', ENTRY, checkpoint, *words, '--cfg-options', *quick_options(files(town), town))


def resumed(checkpoint: Path, work_dir: Path, town: Path, **changes: object) -> dict[str, Tensor]:
    """Train one more step; return the weights."""
    words = quick_options(files(town), town, **{'train_cfg.max_iters': QUICK_STEPS + 1, **changes})
    result = run('train', ENTRY, '--work-dir', work_dir, '--resume', checkpoint, '--cfg-options', *words)
    assert result.code == 0, result.err
    return torch.load(work_dir / f'iter_{QUICK_STEPS + 1}.pth', weights_only=False)['state_dict']


def test_a_checkpoint_knows_what_labels_call_solid(town, trained, data, tmp_path):
    """Also one that goes on from it, or from one of an earlier version."""
    expected = SolidPixels.of(data.images, data.sky)
    assert data.sky is not None and 0.1 < (data.sky < 0).float().mean() < 0.9
    old = changed(trained, tmp_path / 'old.pth', None)
    for weights in (
        torch.load(trained, weights_only=False)['state_dict'],
        resumed(trained, tmp_path / 'on', town),
        resumed(old, tmp_path / 'anew', town),
    ):
        assert torch.equal(weights['solid_images'], expected.images)
        assert torch.equal(weights['solid_bits'], expected.bits)


def test_sky_masks_that_come_later_are_believed(town, trained, data, tmp_path):
    """What they call solid is, although labels told otherwise before."""
    mask = np.zeros(SIZE, np.uint8)
    mask[:3] = 1
    for image in data.images:
        if image.frame is not None:
            path = tmp_path / 'masks' / image.teacher['sky_mask']
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, mask)
    weights = resumed(trained, tmp_path / 'on', town, **{'scene_nerf.sky_masks': str(tmp_path / 'masks')})
    solid = SolidPixels(weights['solid_images'], weights['solid_bits'])
    for number, image in enumerate(data.images):
        if image.frame is not None:
            assert torch.equal(solid.mask(number, *SIZE), torch.from_numpy(mask == 0))


def test_files_have_no_sky_there_in_any_size_and_old_checkpoints_export_as_before(town, trained, data, tmp_path):
    solid = np.zeros(SIZE, bool)
    solid[:, :12] = True
    checkpoints = {'old': changed(trained, tmp_path / 'old.pth', None)}
    checkpoints['none'] = changed(trained, tmp_path / 'none.pth', np.zeros(SIZE, bool))
    checkpoints['left'] = changed(trained, tmp_path / 'left.pth', solid)
    for factor in (1, 2):
        size = (factor * SIZE[0], factor * SIZE[1])
        for name, checkpoint in checkpoints.items():
            result = export(checkpoint, tmp_path / f'{name}{factor}', town, '--size', *size)
            assert result.code == 0, result.err
            assert result.err.count(OLD) == (name == 'old')
            assert ('--resume' in result.err) == (name == 'old')
        masked = np.kron(solid, np.ones((factor, factor))) > 0
        roots = [tmp_path / f'{name}{factor}' for name in ('old', 'none', 'left')]
        assert all(old.read_bytes() == (roots[1] / old.relative_to(roots[0])).read_bytes() for old in arrays(roots[0]))
        originals = {image.teacher['sky_mask'] for image in data.images if image.frame is not None}
        had_sky = 0
        for old in arrays(roots[0]):
            name = str(old.relative_to(roots[0]))
            before, after = np.load(old), np.load(roots[2] / name)
            if name in originals:
                assert before.shape == size
                np.testing.assert_array_equal(after, np.where(masked, 0, before))
                had_sky += before[masked].sum()
            else:
                np.testing.assert_array_equal(after, before)
        assert had_sky > 0


def arrays(root: Path) -> list[Path]:
    found = sorted(root.rglob('*.npy'))
    assert found
    return found


def test_weights_of_any_size_are_loaded_and_old_ones_forget(data):
    model = SceneNeRF(cell_size=0.8, divisions=1)
    assert model.solid_pixels() is None and not any('solid' in name for name in model.state_dict())
    model.mark_solid(data)
    state = {name: value for name, value in model.state_dict().items() if 'solid' not in name}
    other = SceneNeRF(cell_size=0.8, divisions=1)
    other.load_state_dict(model.state_dict())
    assert other.solid_bits.dtype == torch.uint8 and torch.equal(other.solid_bits, model.solid_bits)
    assert torch.equal(other.solid_images, model.solid_images) and len(other.solid_images)
    other.load_state_dict(state)
    assert other.solid_pixels() is None
