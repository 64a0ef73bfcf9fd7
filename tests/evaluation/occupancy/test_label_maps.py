"""Classes of voxels from label maps: which pixels see them, and how they vote."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from projects.DistillNeRF.evaluation.occupancy.from_scene import UNSEEN, finish_grid
from projects.DistillNeRF.evaluation.occupancy.label_maps import (
    BEHIND,
    LabelMap,
    LabelVotes,
    read_label_map,
    rendered_depth,
)
from projects.DistillNeRF.evaluation.occupancy.scene_voxels import SceneVoxels
from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.semantics.label_sets import LABEL_SETS, NO_CLASS, occ3d_table
from projects.DistillNeRF.semantics.occ3d import FREE
from tests.helpers.cameras import level_cameras
from tests.helpers.grids import CAR, ROAD, TRUCK, WALL
from tests.helpers.refusals import assert_refused
from tests.helpers.scenes import HEIGHT, WIDTH, street

EGO2LIDAR = torch.linalg.inv(
    torch.tensor([[0.0, 1, 0, 0.9], [-1, 0, 0, 0], [0, 0, 1, 1.8], [0, 0, 0, 1]], dtype=torch.float64)
)
# Cityscapes: road, building, sky, car, truck.
CITY_ROAD, BUILDING, SKY, CITY_CAR, CITY_TRUCK = 0, 2, 10, 13, 14


@pytest.fixture(scope='module')
def voxels() -> SceneVoxels:
    """A wall 20 m ahead on the left, 2 m thick, and the street."""
    return SceneVoxels.find(street('feature'), EGO2LIDAR, 2, 0.5)


@pytest.fixture
def write(tmp_path) -> Callable[..., LabelMap]:
    """Write a label map as the map of an image of HEIGHT x WIDTH, or of another size."""

    def write_map(labels: np.ndarray, name: str = 'map.png', size: tuple[int, int] = (HEIGHT, WIDTH)) -> LabelMap:
        path = tmp_path / name
        if path.suffix == '.npy':
            np.save(path, labels)
        else:
            Image.fromarray(labels).save(path)
        return LabelMap(path, *size)

    return write_map


def uniform(number: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    return np.full(size, number, np.uint8)


def forward(*places: tuple[float, float, float]) -> Cameras:
    """Cameras that look forward from places."""
    cameras = level_cameras((0.0,) * len(places), HEIGHT, WIDTH)
    poses = cameras.cam2world.clone()
    poses[:, :3, 3] = torch.tensor(places)
    return dataclasses.replace(cameras, cam2world=poses)


def vote_slowly(voxels: SceneVoxels, camera: Cameras, record: LabelMap, numbers: np.ndarray) -> list[int]:
    """Vote voxel by voxel with one camera, in plain numbers."""
    depth = rendered_depth(voxels.scene, camera)[0].double().numpy()
    pose, matrix = camera.cam2world[0].double().numpy(), camera.intrinsics[0].double().numpy()
    found = []
    for center in voxels.centers().double().numpy():
        x, y, z = pose[:3, :3].T @ (center - pose[:3, 3])
        found.append(UNSEEN)
        if z <= 0:
            continue
        u, v = matrix[0, 0] * x / z + matrix[0, 2], matrix[1, 1] * y / z + matrix[1, 2]
        # In the image itself, whose first pixel is from -0.5 to 0.5.
        across = (u * record.width / WIDTH + 0.5) / record.width
        down = (v * record.height / HEIGHT + 0.5) / record.height
        if not (0 <= across < 1 and 0 <= down < 1):
            continue
        rows, columns = depth.shape
        row, column = v / (HEIGHT - 1) * (rows - 1), u / (WIDTH - 1) * (columns - 1)
        shown = max(
            depth[min(max(one, 0), rows - 1), min(max(other, 0), columns - 1)]
            for one in (math.floor(row), math.ceil(row))
            for other in (math.floor(column), math.ceil(column))
        )
        if math.sqrt(x * x + y * y + z * z) > shown + BEHIND:
            continue
        number = numbers[int(down * numbers.shape[0]), int(across * numbers.shape[1])]
        found[-1] = int(occ3d_table('cityscapes')[number])
    return found


@pytest.mark.parametrize('size', [(HEIGHT, WIDTH), (3 * HEIGHT, 3 * WIDTH), (HEIGHT // 2, WIDTH // 2)])
def test_pixels_that_see_voxels_say_their_class(voxels, write, size):
    """A map of noise, in the size of the image, of a larger image, and smaller than that."""
    numbers = np.random.default_rng(0).choice([CITY_ROAD, BUILDING, CITY_CAR, SKY], size).astype(np.uint8)
    camera, record = forward((0.3137, 0.2171, 0.1313)), write(numbers, size=(3 * HEIGHT, 3 * WIDTH))
    votes = LabelVotes(camera, [record], 'cityscapes')(voxels)
    assert votes.dtype == torch.uint8
    expected = np.array(vote_slowly(voxels, camera, record, numbers))
    # The last bits of float32 may put a voxel at an edge into the next pixel.
    assert (votes.numpy() != expected).mean() < 0.002
    assert {WALL, CAR, ROAD, UNSEEN} == set(votes.tolist())


def test_the_left_half_of_the_image_is_on_the_left_and_what_is_hidden_is_unseen(voxels, write):
    numbers = uniform(CITY_TRUCK)
    numbers[:, : WIDTH // 2] = CITY_CAR
    votes = LabelVotes(forward((0.0, 0.0, 0.0)), [write(numbers)], 'cityscapes')(voxels)
    x, y, z = voxels.centers().unbind(1)
    front = (z > 0) & (y > 19.7) & (y < 20.2) & (z < 2) & (x.abs() < 9) & (x.abs() > 1.5)
    assert (votes[front & (x < 0)] == CAR).all() and (votes[front & (x > 0)] == TRUCK).all() and front.sum() > 100
    hidden = (z > 0) & (z < 2) & (y > 21.2) & (y < 22) & (x.abs() < 7)
    assert (votes[hidden] == UNSEEN).all() and hidden.sum() > 100
    behind = y < -1
    assert (votes[behind] == UNSEEN).all()
    # Then these have the class of the nearest: the wall behind that on the left that of its front.
    grid = finish_grid(voxels.grid(votes), 0)
    assert set(np.unique(grid)) == {CAR, TRUCK, FREE}
    flat = torch.from_numpy(grid.reshape(-1))[voxels.indices]
    assert (flat[hidden & (x < -2) & (x > -6)] == CAR).all()


def test_the_sky_and_the_unknown_do_not_vote(voxels, write):
    """A camera to which a voxel is sky leaves it to another one."""
    cameras = forward((0.0, 0.0, 0.0), (0.5, 0.0, 0.0))
    sky, unknown, city = write(uniform(SKY), 'a.png'), write(uniform(NO_CLASS), 'b.png'), write(uniform(BUILDING))
    assert (LabelVotes(cameras, [sky, unknown], 'cityscapes')(voxels) == UNSEEN).all()
    votes = LabelVotes(cameras, [sky, city], 'cityscapes')(voxels)
    alone = LabelVotes(cameras[1:], [city], 'cityscapes')(voxels)
    assert torch.equal(votes, alone) and (votes == WALL).any()


def test_most_cameras_win_and_of_equally_many_the_nearest(voxels, write):
    x, y, z = voxels.centers().unbind(1)
    wall = (y > 19.7) & (y < 20.2) & (z > 0) & (z < 1.5) & (x.abs() < 2)
    car, truck = write(uniform(CITY_CAR), 'a.png'), write(uniform(CITY_TRUCK), 'b.png')
    two = forward((0.0, 0.0, 0.0), (0.0, 5.0, 0.0))
    for maps, expected in (((car, truck), TRUCK), ((truck, car), CAR)):
        assert (LabelVotes(two, maps, 'cityscapes')(voxels)[wall] == expected).all()
    three = forward((0.0, 0.0, 0.0), (0.1, 0.0, 0.0), (0.0, 5.0, 0.0))
    assert (LabelVotes(three, [car, car, truck], 'cityscapes')(voxels)[wall] == CAR).all() and wall.sum() > 20


def test_an_image_without_a_map_does_not_vote(voxels, write):
    two = forward((0.0, 0.0, 0.0), (0.0, 5.0, 0.0))
    missing = LabelMap(None, HEIGHT, WIDTH)
    votes = LabelVotes(two, [write(uniform(CITY_CAR)), missing], 'cityscapes')(voxels)
    assert torch.equal(votes, LabelVotes(two[:1], [write(uniform(CITY_CAR))], 'cityscapes')(voxels))
    assert (LabelVotes(two, [missing, missing], 'cityscapes')(voxels) == UNSEEN).all()


def test_voxels_of_nothing_have_no_votes(write):
    none = SceneVoxels.find(street('feature'), EGO2LIDAR, 2, 1e6)
    assert len(LabelVotes(forward((0.0, 0.0, 0.0)), [write(uniform(0))], 'cityscapes')(none)) == len(none) == 0


def test_maps_are_read_as_images_with_a_palette_too_and_as_arrays(write, tmp_path):
    numbers = uniform(CITY_CAR)
    numbers[0, :2] = SKY, NO_CLASS
    expected = np.full((HEIGHT, WIDTH), CAR)
    expected[0, :2] = NO_CLASS
    picture = Image.fromarray(numbers).convert('P')
    picture.putdata(numbers.ravel().tolist())
    picture.save(tmp_path / 'palette.png')
    wide = write(numbers.astype(np.int64), 'map.npy')
    for record in (write(numbers), wide, LabelMap(tmp_path / 'palette.png', HEIGHT, WIDTH)):
        assert np.array_equal(read_label_map(record, 'cityscapes'), expected)


@pytest.mark.parametrize(
    ('labels', 'name', 'words'),
    [
        (uniform(0, (WIDTH, HEIGHT)), 'a.png', ('24x40', 'has not the shape of its image, 40x24')),
        (uniform(19), 'a.png', ('holds the number 19', 'cityscapes has 0 to 18', 'minitown, occ3d')),
        (np.zeros((HEIGHT, WIDTH, 3), np.uint8), 'a.png', ('not one number per pixel', 'no colors')),
        (np.zeros((HEIGHT, WIDTH)), 'a.npy', ('float64 (24, 40), not one number',)),
        (np.full((HEIGHT, WIDTH), 300), 'a.npy', ('the number 300', '0 to 255')),
        (np.full((HEIGHT, WIDTH), -1), 'a.npy', ('the number -1', '0 to 255')),
        (np.zeros((0, 4), np.uint8), 'a.npy', ('uint8 (0, 4)',)),
    ],
)
def test_other_maps_are_refused(write, labels, name, words):
    record = write(labels, name)
    assert_refused(lambda: read_label_map(record, 'cityscapes'), *words, start=record.path)


@pytest.mark.parametrize('name', ['a.png', 'a.npy'])
def test_damaged_and_missing_maps_are_refused(write, name):
    record = write(uniform(0), name)
    record.path.write_bytes(record.path.read_bytes()[:40])
    assert_refused(lambda: read_label_map(record, 'cityscapes'), 'not a readable label map', start=record.path)
    record.path.unlink()
    assert_refused(lambda: read_label_map(record, 'cityscapes'), 'no such file', start=record.path)


def test_label_sets_name_classes_of_occ3d():
    assert len(LABEL_SETS['cityscapes']) == 19 and occ3d_table('cityscapes')[[0, 13, 10]].tolist() == [ROAD, CAR, 255]
    assert occ3d_table('occ3d').tolist() == [*range(FREE), NO_CLASS]
    assert occ3d_table('minitown')[LABEL_SETS['minitown'].index(('sky', None))] == NO_CLASS
    assert occ3d_table('minitown')[LABEL_SETS['minitown'].index(('furniture', 'manmade'))] == WALL
    assert_refused(lambda: occ3d_table('coco'), 'choose one of cityscapes, minitown, occ3d', start="label set 'coco'")


def test_a_map_of_another_shape_is_known_by_its_image(tmp_path):
    """Half a pixel is rounding."""
    np.save(tmp_path / 'a.npy', uniform(0, (7, 13)))
    assert read_label_map(LabelMap(Path(tmp_path / 'a.npy'), 14, 25), 'occ3d').shape == (7, 13)
