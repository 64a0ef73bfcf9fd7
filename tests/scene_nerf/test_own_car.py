"""The car that carries the cameras is in their images, not in the scene."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import Tensor

from projects.DistillNeRF.scene_nerf.dataset import DriveRays
from projects.DistillNeRF.scene_nerf.drive import DriveImage
from projects.DistillNeRF.scene_nerf.export import ExportOptions, export, render_tasks
from projects.DistillNeRF.scene_nerf.field_teacher import FieldTeacher
from projects.DistillNeRF.scene_nerf.lidar_teacher import LidarTeacher
from projects.DistillNeRF.scene_nerf.model import SceneNeRF
from projects.DistillNeRF.scene_nerf.own_car import OwnCar, read_own_car
from projects.DistillNeRF.scene_nerf.scores import render_image
from projects.DistillNeRF.scene_nerf.settings import read_settings
from projects.DistillNeRF.scene_nerf.teacher import TeacherRendering, hide_own_car, own_car_masks
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.boxtown import SMALL
from tests.helpers.data import ROOT
from tests.helpers.fields import gray_wall
from tests.helpers.lidar_world import HOUSE, PARKED, Street, camera_ahead, drive_through
from tests.helpers.oracle import Oracle, town_drive

NAME = 'my.py: scene_nerf.own_car'
CAMERA = 'CAM_BACK'
SIZE = (28, 50)


def write(path: Path, mask: np.ndarray) -> str:
    assert cv2.imwrite(str(path), mask)
    return str(path)


def test_a_share_covers_the_rows_below():
    mask = OwnCar(0.75).mask(8, 3)
    assert mask.shape == (8, 3) and mask.dtype == bool
    assert mask.all(1).tolist() == [False] * 6 + [True] * 2 and mask.any(1).tolist() == mask.all(1).tolist()


@pytest.mark.parametrize(('dtype', 'value'), [(np.uint8, 1), (np.uint8, 255), (np.uint16, 65535)])
def test_a_mask_is_nonzero_on_the_car_and_fits_every_size(tmp_path, dtype, value):
    drawn = np.zeros((6, 9), dtype)
    drawn[3:, :6] = value
    car = OwnCar(write(tmp_path / 'mask.png', drawn))
    np.testing.assert_array_equal(car.mask(6, 9), drawn > 0)
    np.testing.assert_array_equal(car.mask(2, 3), [[False, False, False], [True, True, False]])
    np.testing.assert_array_equal(car.mask(12, 18), np.kron(drawn > 0, np.ones((2, 2))) > 0)


def test_entries_of_a_config(tmp_path):
    file = write(tmp_path / 'mask.png', np.eye(3, dtype=np.uint8))
    assert read_own_car(None, NAME) == read_own_car({}, NAME) == {}
    assert read_own_car({'BACK': 0.9, 'FRONT': file, 'LEFT': None}, NAME) == {
        'BACK': OwnCar(0.9),
        'FRONT': OwnCar(file),
    }


@pytest.mark.parametrize('value', [0, 1, 0.0, 1.0, -0.5, 1.5, True, '', [0.5], float('nan')])
def test_other_values_are_refused(value):
    with pytest.raises(InputError, match=r'my\.py: scene_nerf\.own_car\.BACK is .*share of the height'):
        read_own_car({'BACK': value}, NAME)


@pytest.mark.parametrize('section', [0.9, 'mask.png', [0.9]])
def test_other_sections_are_refused(section):
    with pytest.raises(InputError, match=r'my\.py: scene_nerf\.own_car is .*dict\(CAMERA='):
        read_own_car(section, NAME)


def test_masks_that_cannot_be_right_are_refused(tmp_path):
    for mask, reason in ((np.zeros((4, 4), np.uint8), 'nothing of'), (np.ones((4, 4), np.uint8), 'nothing but')):
        file = write(tmp_path / 'mask.png', mask)
        with pytest.raises(InputError, match=rf'mask\.png: the mask shows {reason} the own car'):
            read_own_car({'BACK': file}, NAME)
    with pytest.raises(InputError, match=r'missing\.png'):
        read_own_car({'BACK': str(tmp_path / 'missing.png')}, NAME)
    (tmp_path / 'text.png').write_text('no image')
    with pytest.raises(InputError, match=r'text\.png: not a readable image'):
        read_own_car({'BACK': str(tmp_path / 'text.png')}, NAME)


def section(town: Path, **changes: object) -> dict:
    files = [str(town / f'minitown_infos_{split}.pkl') for split in ('train', 'val')]
    roots = dict.fromkeys(('img', 'lidar', 'truth'), str(town))
    return {'ann_files': files, 'scene': 'minitown-0001', 'roots': roots, 'image_size': SIZE, **changes}


def test_images_of_the_camera_know_it_and_no_others(town):
    settings = read_settings({'scene_nerf': section(town, own_car={CAMERA: 0.5})}, 'my.py')
    assert settings.own_car == {CAMERA: OwnCar(0.5)}
    for image in settings.drive().images:
        shown = image.own_car_mask(4, 6)
        assert shown.shape == (4, 6) and shown[2:].all() == (image.camera == CAMERA) and not shown[:2].any()


def test_a_camera_that_is_not_there_is_refused(town):
    settings = read_settings({'scene_nerf': section(town, own_car={'BACK': 0.5})}, 'my.py')
    with pytest.raises(InputError, match=r"own_car: 'BACK' is no camera of .*choose among .*CAM_BACK"):
        settings.drive()


def test_no_ray_of_the_training_ends_on_it(town):
    """The others are drawn as before, and batches repeat."""
    plain = DriveRays(section(town), num_rays=3000, num_beams=1, num_batches=2)
    data = DriveRays(section(town, own_car={CAMERA: 0.5}), num_rays=3000, num_beams=1, num_batches=2)
    drawn, before, again = (one[1]['inputs'] for one in (data, plain, data))
    shown = 0
    for inputs in (drawn, before):
        cameras = np.array([data.images[number].camera for number in inputs['images'].tolist()]) == CAMERA
        below = np.zeros(len(cameras), bool)
        for ray in np.flatnonzero(cameras):
            camera = data.images[int(inputs['images'][ray])].camera_at(*SIZE).to(torch.float32)
            pixel, _ = camera.project((inputs['origins'][ray] + inputs['directions'][ray])[None])
            below[ray] = pixel[0, 0, 1].round() >= SIZE[0] / 2
        if inputs is drawn:
            assert cameras.sum() > 200 and not below.any()
        else:
            shown = below
    assert shown.sum() > 100
    assert torch.equal(drawn['images'][~shown], before['images'][~shown])
    assert torch.equal(drawn['colors'][~shown], before['colors'][~shown])
    assert all(torch.equal(drawn[name], again[name]) for name in drawn)


def test_images_of_nothing_else_are_refused(town):
    cameras = town_drive(town).cameras
    covered = section(town, own_car=dict.fromkeys(cameras, 0.001))
    with pytest.raises(InputError, match='own_car covers all its images'):
        DriveRays(covered, num_rays=1, num_beams=1, num_batches=1)


def test_nothing_is_known_behind_it_in_recorded_views_alone():
    depth = torch.full((2, 4, 6), 5.0)
    rendering = TeacherRendering(
        depth, torch.full_like(depth, math.nan), torch.rand(2, 3, 4, 6), torch.ones_like(depth)
    )
    image = replace(camera_ahead(np.eye(4), 0.0, 0), own_car=OwnCar(0.5))
    for recorded in ((), (None, None), (replace(image, own_car=None), None)):
        assert own_car_masks(recorded, 4, 6) is None and hide_own_car(rendering, recorded) is rendering
    hidden = hide_own_car(rendering, (None, image))
    assert torch.equal(hidden.depth[0], depth[0]) and torch.equal(hidden.depth[1, :2], depth[1, :2])
    assert hidden.depth[1, 2:].isnan().all() and (hidden.sky[1, 2:] == 0).all() and hidden.sky[1, :2].isnan().all()
    assert hidden.moving[1, 2:].isnan().all() and hidden.moving[0].isfinite().all()
    assert hidden.image is rendering.image


class Careful(Oracle):
    """Heeds recorded views."""

    def render(self, cameras, timestamp, recorded=()):
        return hide_own_car(super().render(cameras, timestamp), recorded)


def test_files_of_the_original_view_know_nothing_there_and_a_new_mask_makes_them_anew(town, tmp_path):
    size = (SMALL['height'], SMALL['width'])
    below = (np.arange(size[0]) + 0.5) / size[0] >= 0.7
    plain = town_drive(town)

    def with_car(share: float):
        images = [replace(i, own_car=OwnCar(share)) if i.camera == CAMERA else i for i in plain.images]
        return replace(plain, images=tuple(images))

    options = ExportOptions(tmp_path, 'one', size, ('0_0_0', '1_0_0'))
    drive = with_car(0.7)
    export(drive, options, lambda tasks: render_tasks(Careful(drive), options, tasks))
    for image in (one for one in drive.images if one.frame is not None):
        for view in options.views:
            files = options.files(image, view)
            hidden = below & (view == '0_0_0') & (image.camera == CAMERA)
            depth, sky = np.load(files['depth']), np.load(files['sky_mask'])
            assert np.isnan(depth[hidden]).all() and not sky[hidden].any()
            assert (np.isfinite(depth) | (sky == 1))[~hidden].all()
    same = export(drive, options, lambda tasks: render_tasks(Careful(drive), options, tasks))
    assert same.written == 0
    drive = with_car(0.8)
    other = export(drive, options, lambda tasks: render_tasks(Careful(drive), options, tasks))
    assert other.written == 3 * (2 + 3) and other.kept == 5 * 3 * (2 + 3)


def test_the_lidar_teacher_knows_nothing_there(tmp_path):
    drive = drive_through(Street(lambda time: (HOUSE, PARKED)), tmp_path, 4)
    teacher, image = LidarTeacher.from_drive(drive), replace(drive.images[1], own_car=OwnCar(0.6))
    camera = image.camera_at(60, 100)
    seen, plain = render_image(teacher, image, (60, 100)), teacher.render(camera, image.timestamp)
    assert plain.depth[0, 36:].isfinite().any()
    assert seen.depth[0, 36:].isnan().all() and (seen.sky[0, 36:] == 0).all() and seen.moving[0, 36:].isnan().all()
    torch.testing.assert_close(seen.depth[:, :36], plain.depth[:, :36], equal_nan=True)


def block_before_a_camera(tmp_path: Path, count: int = 3) -> FieldTeacher:
    """Return the field of a gray wall 5 m before a camera; black images, the lower half brighter later."""
    cam2scene = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    intrinsics = np.array([[10.0, 0, 7.5], [0, 10.0, 5.5], [0, 0, 1]])
    images = []
    for number in range(count):
        pixels = np.zeros((12, 16, 3), np.uint8)
        pixels[6:] = 60 * (number + 1)
        path = write(tmp_path / f'{number}.png', pixels)
        images.append(DriveImage(path, 'BACK', number, number / 10, 12, 16, intrinsics, cam2scene, {}, {}, OwnCar(0.5)))
    return FieldTeacher(gray_wall(count), images, (12, 16))


def colors_of(rendering: TeacherRendering) -> tuple[Tensor, Tensor]:
    """Return the upper and the lower half of the first view."""
    assert rendering.image is not None
    return rendering.image[0, :, :6], rendering.image[0, :, 6:]


@torch.no_grad()
@pytest.mark.parametrize('warp', [True, False])
def test_a_recorded_view_shows_it_as_the_nearest_training_image_of_the_camera(tmp_path, warp):
    """Another view from the same place sees the wall behind it, in which no image shows it."""
    teacher = replace(block_before_a_camera(tmp_path), warp=warp)
    image = teacher.images[1]
    gone = replace(teacher, images=[teacher.images[0], teacher.images[2]])
    gone.field.exposure.data = gone.field.exposure.data[:2]
    for one, shade in ((image, 60), (replace(image, timestamp=0.19), 180)):
        upper, lower = colors_of(seen := render_image(gone, one, (12, 16)))
        torch.testing.assert_close(lower, torch.full_like(lower, shade / 255))
        # Right above it, it spreads.
        assert (upper[:, :5] < 0.01).all() if warp else (upper > 0.4).all()
        assert seen.depth[0, 6:].isnan().all() and seen.depth[0, :6].isfinite().all() and (seen.sky[0, 6:] == 0).all()
    behind = gone.render(image.camera_at(12, 16), image.timestamp)
    assert behind.depth.isfinite().all()
    torch.testing.assert_close(colors_of(behind)[1], torch.full((3, 6, 16), 0.5), atol=0.02, rtol=0)


@torch.no_grad()
def test_without_another_image_of_the_camera_its_color_is_unknown(tmp_path):
    teacher = block_before_a_camera(tmp_path)
    upper, lower = colors_of(render_image(teacher, replace(teacher.images[0], camera='OTHER'), (12, 16)))
    assert lower.isnan().all() and upper.isfinite().all()


def test_nothing_is_seen_through_it(town):
    """Space that only rays through it pass stays unseen."""
    marked = {}
    for share in (None, 0.5):
        own_car = {} if share is None else dict.fromkeys(town_drive(town).cameras, share)
        images = read_settings({'scene_nerf': section(town, own_car=own_car)}, 'my.py').drive().images
        drive = SimpleNamespace(scene='town')
        data = SimpleNamespace(drive=drive, images=images, image_size=(7, 12), lidar=None)
        model = SceneNeRF(cell_size=0.8, divisions=0, levels=2)
        model.prepare(data)
        model.mark_seen(data)
        marked[share] = model.seen
    assert not (marked[0.5] & ~marked[None]).any()
    assert 0.1 * marked[None].sum() < marked[0.5].sum() < 0.9 * marked[None].sum()


@pytest.mark.parametrize(
    ('name', 'camera', 'above', 'below'), [('pandaset', 'back_camera', 0.75, 0.84), ('nuscenes', 'CAM_BACK', 0.9, 0.99)]
)
def test_masks_of_the_data_sets(name, camera, above, below, tmp_path, monkeypatch):
    """The trunk of PandaSet's car reaches higher in the middle than at the sides; so does that of nuScenes' cars."""
    config = Config.fromfile(ROOT / f'projects/DistillNeRF/configs/model_wrapper/scene_nerf_{name}.py')
    monkeypatch.chdir(tmp_path)
    cars = read_own_car(config.scene_nerf.own_car, NAME)
    assert set(cars) == {camera}
    mask = cars[camera].mask(*config.scene_nerf.image_size)
    height, width = mask.shape
    first = mask.argmax(0) / height
    assert mask[-1].all() and (np.diff(mask.astype(int), axis=0) >= 0).all()
    assert above < first[width // 2] < first[0] < below and first[width // 2] < first[-1] < below
    assert Path(cars[camera].where).stat().st_size < 10_000


def test_minitown_has_none():
    config = Config.fromfile(ROOT / 'projects/DistillNeRF/configs/model_wrapper/scene_nerf_minitown.py')
    assert read_own_car(config.scene_nerf.own_car, NAME) == {}
