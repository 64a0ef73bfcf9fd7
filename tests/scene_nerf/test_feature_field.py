"""Features of a field: how they are read, what is learned, and that they are where they should be in other views."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor

from projects.DistillNeRF.scene_nerf.drive import Drive, DriveImage
from projects.DistillNeRF.scene_nerf.export import ExportOptions, export, render_tasks, shifted
from projects.DistillNeRF.scene_nerf.feature_field import SKY_SIZE, Ends, FeatureField, Reads
from projects.DistillNeRF.scene_nerf.feature_fit import SMOOTHNESS, FeatureFit, conjugate_gradients, learn_features
from projects.DistillNeRF.scene_nerf.feature_maps import FeatureMaps, resize_features
from projects.DistillNeRF.scene_nerf.field import SceneField
from projects.DistillNeRF.scene_nerf.field_teacher import FieldTeacher
from projects.DistillNeRF.scene_nerf.marching import Rays
from projects.DistillNeRF.scene_nerf.nested_grid import NestedBoxes, NestedGrid
from projects.DistillNeRF.semantics.classes import CHANNELS
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.fields import flat_pose, red_block, thing
from tests.scene_nerf.test_moving_cells import street

SIZE = (24, 40)
FORWARD = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def grid(seed: int, count: int = 60, size: float = 0.5) -> NestedGrid:
    """Random cells of two boxes."""
    generator = torch.Generator().manual_seed(seed)
    boxes = NestedBoxes.around(torch.zeros(1, 3), size, 2, (4.0, 2.0, 4.0), coarsest=2 * size)
    levels = torch.randint(2, (count,), generator=generator)
    coordinates = (torch.rand(count, 3, generator=generator) * 8 * boxes.blocks[levels]).long()
    rows = torch.cat([levels[:, None], coordinates], 1).unique(dim=0)
    return NestedGrid.build(boxes, rows[:, 0], rows[:, 1:])


def feature_field(seed: int = 0) -> FeatureField:
    """Random features in random cells of what stands and what moves."""
    made = FeatureField(grid(seed), grid(seed + 1, 30), (6, 10))
    made.values = torch.randn(made.values.shape, generator=torch.Generator().manual_seed(seed)).half()
    return made


def random_ends(made: FeatureField, count: int, seed: int = 0) -> Ends:
    """Half of the places in cells of either kind, the others anywhere."""
    generator = torch.Generator().manual_seed(seed)
    moving = torch.rand(count, generator=generator) < 0.4
    places = torch.rand(count, 3, generator=generator) * 12 - 6
    for kind, cells in ((False, made.still), (True, made.moving)):
        inside = ((moving == kind) & (torch.rand(count, generator=generator) < 0.5)).nonzero()[:, 0]
        chosen = torch.randint(len(cells), inside.shape, generator=generator)
        size = cells.boxes.sizes[cells.levels[chosen]][:, None]
        places[inside] = cells.centers[chosen] + (torch.rand(len(inside), 3, generator=generator) - 0.5) * size
    directions = F.normalize(torch.randn(count, 3, generator=generator), dim=1)
    return Ends(places, moving, directions, torch.rand(count, generator=generator))


def read_plainly(made: FeatureField, values: Tensor, ends: Ends, ray: int) -> Tensor | None:
    """The feature of one ray, by loops; None where it is not known."""
    cells, first = (made.moving, made.still.num_vertices) if ends.moving[ray] else (made.still, 0)
    boxes, surface = cells.boxes, None
    for level in range(boxes.levels):
        if bool(((ends.places[ray] >= boxes.lower[level]) & (ends.places[ray] < boxes.upper[level])).all()):
            position = (ends.places[ray] - boxes.lower[level]) / boxes.sizes[level]
            for number in ((cells.levels == level) & (cells.coordinates == position.floor()).all(1)).nonzero()[:, 0]:
                surface = torch.zeros(CHANNELS)
                inner = position - position.floor()
                for corner in range(8):
                    steps = (corner >> 2 & 1, corner >> 1 & 1, corner & 1)
                    weight = math.prod(float(x) if step else 1 - float(x) for x, step in zip(inner, steps, strict=True))
                    surface = surface + weight * values[first + int(cells.vertices[number, corner])]
            break
    x, y, z = ends.directions[ray].tolist()
    height, width = SKY_SIZE
    column = (math.atan2(x, y) / (2 * math.pi) + 0.5) * width - 0.5
    row = min(max((0.5 - math.asin(z) / math.pi) * height - 0.5, 0), height - 1)
    sky, texels = torch.zeros(CHANNELS), values[-height * width :].view(height, width, -1)
    for r in (math.floor(row), math.floor(row) + 1):
        for c in (math.floor(column), math.floor(column) + 1):
            weight = (1 - abs(row - r)) * (1 - abs(column - c))
            if weight > 0:
                sky = sky + weight * texels[r, c % width]
    passed = float(ends.transmittance[ray])
    if surface is None:
        return sky if passed > 0.5 else None
    passed = 0.0 if passed <= 0.02 else 1.0 if passed >= 0.98 else passed
    return (1 - passed) * surface + passed * sky


def test_features_and_their_gradients_are_those_of_a_plain_version():
    made = feature_field()
    ends = random_ends(made, 120)
    ends.transmittance[:10], ends.transmittance[10:20] = 0.01, 0.99
    plain = made.values.float().requires_grad_()
    expected = [read_plainly(made, plain, ends, ray) for ray in range(120)]
    known = torch.tensor([one is not None for one in expected])
    assert 40 < known.sum() < 120 and (known & ends.moving).sum() > 15
    values = made.values.float().requires_grad_()
    features = made.reads(ends).of(values)
    assert torch.equal(features.isfinite().all(1), known) and torch.equal(features.isnan().all(1), ~known)
    wanted = torch.stack([one for one in expected if one is not None])
    torch.testing.assert_close(features[known], wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(made(ends)[known], wanted, rtol=1e-4, atol=1e-4)
    factors = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    (features[known] * factors).sum().backward()
    (wanted * factors).sum().backward()
    assert plain.grad.abs().max() > 0.1
    torch.testing.assert_close(values.grad, plain.grad, rtol=1e-4, atol=1e-4)


def test_larger_cells_hold_all_smaller_ones_and_no_others():
    fine = grid(5, 300, size=0.25)
    # And the first cell of the second box.
    rows = torch.cat([fine.levels[:, None], fine.coordinates], 1)
    rows = torch.cat([rows, torch.tensor([[1, 0, 0, 0]])]).unique(dim=0)
    fine = NestedGrid.build(fine.boxes, rows[:, 0], rows[:, 1:])
    coarse = fine.coarser(2)
    assert torch.equal(coarse.boxes.sizes, 2 * fine.boxes.sizes)
    expected = {
        (int(level), *(int(x) // 2 for x in cell)) for level, cell in zip(fine.levels, fine.coordinates, strict=True)
    }
    found = [(int(level), *map(int, cell)) for level, cell in zip(coarse.levels, coarse.coordinates, strict=True)]
    assert len(found) == len(expected) < len(fine) and set(found) == expected


def test_the_fit_solves_what_the_gradient_of_the_loss_says():
    """Zero at the solution; and the solution is that of a dense solver."""
    made = feature_field(3)
    fit = FeatureFit(made)
    parts = [(random_ends(made, 400, seed), torch.randn(400, CHANNELS)) for seed in (1, 2)]
    for ends, targets in parts:
        fit.add(made.reads(ends), targets)
    known, solved = fit.solve()
    values = solved.clone().requires_grad_()
    loss = torch.zeros(())
    for ends, targets in parts:
        reads = made.reads(ends)
        loss = loss + (reads.of(values) - targets)[reads.known].square().sum() / 2
    (gradient,) = torch.autograd.grad(loss, values)
    differences = torch.zeros_like(values)
    first = 0
    for cells in (made.still, made.moving):
        for vertices in cells.vertices.long() + first:
            for a in range(8):
                for b in (a ^ 1, a ^ 2, a ^ 4):
                    differences[vertices[a]] += SMOOTHNESS * (solved[vertices[a]] - solved[vertices[b]])
        first += cells.num_vertices
    height, width = SKY_SIZE
    sky = solved[first:].view(height, width, -1)
    smooth = torch.zeros_like(sky)
    for axis, shift in ((1, 1), (1, -1)):
        smooth += SMOOTHNESS * (sky - sky.roll(shift, axis))
    smooth[1:] += SMOOTHNESS * (sky[1:] - sky[:-1])
    smooth[:-1] += SMOOTHNESS * (sky[:-1] - sky[1:])
    differences[first:] += smooth.view(-1, CHANNELS)
    total = gradient + differences
    assert known.sum() < len(known) and not solved[~known].any()
    assert total[known].norm() < 5e-3 * torch.from_numpy(fit.right).norm()
    assert gradient.norm() > 20 * total[known].norm()


def test_conjugate_gradients_solve_each_column():
    generator = np.random.default_rng(0)
    root = generator.normal(size=(30, 30)).astype(np.float32)
    matrix = root @ root.T + 3 * np.eye(30, dtype=np.float32)
    right = generator.normal(size=(30, 4)).astype(np.float32) * [1, 100, 0, 1e-3]
    found = conjugate_gradients(csr_array(matrix), right.astype(np.float32))
    expected = np.linalg.solve(matrix.astype(np.float64), right)
    for column in range(4):
        np.testing.assert_allclose(
            found[:, column], expected[:, column], rtol=0, atol=0.01 * max(np.abs(expected[:, column]).max(), 1e-9)
        )


def drive_image(number: int, time: float, x: float = 0.0) -> DriveImage:
    """An image of a camera that looks along y, at a time."""
    pose = np.eye(4)
    pose[:3, :3], pose[0, 3] = FORWARD, x
    intrinsics = np.array([[30.0, 0, SIZE[1] / 2 - 0.5], [0, 30.0, SIZE[0] / 2 - 0.5], [0, 0, 1]])
    names = {'depth': 'depths', 'sky_mask': 'gt_sky_masks'}
    teacher = {kind: f'samples_0_0_0_0_0_0/{folder}/FRONT/{number}.npy' for kind, folder in names.items()}
    return DriveImage('', 'FRONT', number, time, *SIZE, intrinsics, pose, teacher, {}, features=f'FRONT/{number}.npy')


@torch.no_grad()
def place_function(field: SceneField, image: DriveImage, view: str = '0_0_0') -> np.ndarray:
    """Features ``(h, w, CHANNELS)`` that are linear in the place that a pixel shows, on a thing in its frame."""
    camera = shifted(image.camera_at(*SIZE), [view])
    origin, directions = camera.rays(*SIZE)
    directions = directions.reshape(-1, 3).float()
    rays = Rays.centered(origin.float().expand_as(directions).contiguous(), directions)
    times = torch.full((len(rays),), image.timestamp, dtype=torch.float64)
    outputs = field.march(rays, times)
    points = rays.origins + (outputs.distance / (1 - outputs.transmittance).clamp_min(1e-6))[:, None] * directions
    features = torch.zeros(len(rays), CHANNELS)
    features[:, :3] = points / 10
    moving = outputs.moving > 0.5
    for one in field.moving.things:
        pose = torch.from_numpy(one.pose_at(image.timestamp)).float()
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        features[moving, 3], features[moving, :3], features[moving, 4:7] = 2.0, 0.0, local[moving]
    features[outputs.transmittance > 0.5] = 0
    features[outputs.transmittance > 0.5, 8] = 3.0
    return features.view(*SIZE, CHANNELS).numpy()


@pytest.fixture
def crossing_car() -> SceneField:
    """A wall 20 m ahead, and a thing that crosses in front of it within a second."""
    field = street(thing((0.0, flat_pose(0.0, -4, 10, 0)), (1.0, flat_pose(0.3, 4, 11, 0))))
    field.cells.select((field.cells.grid.centers[:, [0, 2]].abs() < 17).all(1))
    field.exposure = torch.nn.Parameter(torch.zeros(5, 3, 4))
    return field


def learned(field: SceneField, images: list[DriveImage], root: Path, cell: float = 0.5) -> FeatureMaps:
    """Write features of images and let the field learn them."""
    for image in images:
        (root / image.features).parent.mkdir(parents=True, exist_ok=True)
        np.save(root / image.features, place_function(field, image))
    maps = FeatureMaps.check(str(root), images)
    field.features = learn_features(field, maps, SIZE, cell, 0.5)
    return maps


def test_features_are_where_they_belong_in_shifted_views_and_go_with_things(crossing_car, tmp_path):
    images = [drive_image(number, number / 4, x=0.4 * number) for number in range(5)]
    learned(crossing_car, images[:2] + images[3:], tmp_path / 'maps')
    teacher = FieldTeacher(crossing_car, images, SIZE, warp=False)
    drive = Drive('scene', ('FRONT',), (images[2],), (), np.eye(4))
    options = ExportOptions(tmp_path / 'out', 'one', SIZE)
    export(drive, options, lambda tasks: render_tasks(teacher, options, tasks))
    for view in ('0_0_0', '-1_0_0', '1_0_0', '0_-1_0'):
        folder = '' if view == '0_0_0' else f'samples_{view}_0_0_0/'
        found = np.load(tmp_path / f'out/features/{folder}FRONT/2.npy')
        assert found.dtype == np.float16 and found.shape == (*SIZE, CHANNELS)
        expected = place_function(crossing_car, images[2], view)
        on_thing = expected[..., 3] == 2
        assert 20 < on_thing.sum() < 400
        error = np.abs(found.astype(np.float32) - expected).max(-1)
        assert np.median(error[~on_thing]) < 0.02 and np.median(error[on_thing]) < 0.15, view
        assert (error < 0.4).mean() > 0.9, view


def test_the_sky_has_features_by_direction(tmp_path):
    field = red_block(2)
    images = [drive_image(0, 0.0), drive_image(1, 1.0, x=0.5)]
    learned(field, images, tmp_path, cell=1.0)
    seen = FieldTeacher(field, images, SIZE, warp=False).render(images[0].camera_at(*SIZE), 0.0)
    sky = seen.sky[0] > 0.99
    assert 100 < sky.sum() < sky.numel() - 50
    features = seen.features[0]
    # But for the pixels of the sky that the block shares.
    assert (features[8][sky] - 3).abs().median() < 0.05
    block = seen.sky[0] < 0.01
    assert features[8][block].abs().median() < 0.1
    assert seen.features.shape == (1, CHANNELS, *SIZE)


def test_nothing_changes_without_features(crossing_car, tmp_path):
    image = drive_image(0, 0.3)
    camera = image.camera_at(*SIZE)
    before = FieldTeacher(crossing_car, [image], SIZE, warp=False).render(camera, 0.3)
    assert before.features is None and not any('features' in name for name in crossing_car.state_dict())
    learned(crossing_car, [image], tmp_path)
    after = FieldTeacher(crossing_car, [image], SIZE, warp=False).render(camera, 0.3)
    for name in ('depth', 'sky', 'image', 'moving'):
        torch.testing.assert_close(getattr(after, name), getattr(before, name), rtol=0, atol=0, equal_nan=True)
    assert not list(crossing_car.features.parameters())
    without = FieldTeacher(crossing_car, [image], SIZE, warp=False, with_features=False)
    assert without.render(camera, 0.3).features is None


def test_a_checkpoint_has_them(crossing_car, tmp_path):
    image = drive_image(0, 0.3)
    learned(crossing_car, [image], tmp_path)
    other = street()
    other.load_state_dict(crossing_car.state_dict())
    assert torch.equal(other.features.values, crossing_car.features.values) and other.features.size == SIZE
    assert torch.equal(other.features.still.vertices, crossing_car.features.still.vertices)
    ours, loaded = (
        FieldTeacher(field, [image], SIZE, warp=False).render(image.camera_at(*SIZE), 0.3).features
        for field in (crossing_car, other)
    )
    torch.testing.assert_close(loaded, ours, rtol=0, atol=0, equal_nan=True)
    # One without takes them away.
    other.load_state_dict(street().state_dict())
    assert other.features is None


def test_maps_of_other_sizes_are_resized_without_what_is_unknown():
    features = torch.arange(32.0).view(1, 4, 8)
    features[:, :2, :2] = torch.nan
    features[:, 0, 4] = torch.nan
    small = resize_features(features, (2, 4))
    assert small[0, 0, 0].isnan() and small[0, 1, 0] == (16 + 17 + 24 + 25) / 4
    torch.testing.assert_close(small[0, 0, 2], torch.tensor((5 + 12 + 13) / 3))
    plain = torch.rand(2, 3, 5)
    large = resize_features(plain, (6, 10))
    torch.testing.assert_close(large, F.interpolate(plain[None], (6, 10), mode='bilinear', align_corners=False)[0])
    assert resize_features(plain, (3, 5)) is plain


def test_small_maps_are_learned_and_exported_in_their_size(crossing_car, tmp_path):
    image = drive_image(0, 0.3)
    (tmp_path / 'FRONT').mkdir()
    whole = torch.from_numpy(place_function(crossing_car, image)).permute(2, 0, 1)
    small = resize_features(whole, (6, 10)).permute(1, 2, 0).numpy()
    np.save(tmp_path / image.features, small)
    maps = FeatureMaps.check(str(tmp_path), [image])
    crossing_car.features = learn_features(crossing_car, maps, SIZE, 0.5, 0.5)
    seen = FieldTeacher(crossing_car, [image], SIZE, warp=False).render(image.camera_at(*SIZE), 0.3)
    assert seen.features.shape == (1, CHANNELS, 6, 10)
    error = np.abs(seen.features[0].permute(1, 2, 0).numpy() - small)[..., :3].max(-1)
    assert np.median(error) < 0.1


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (np.zeros((3, 4, 7)), '7 channels'),
        (np.zeros((CHANNELS, 3, 4)), '4 channels'),
        (np.full((3, 4, CHANNELS), np.nan), 'NaN'),
        (np.full((3, 4, CHANNELS), 1e5), 'half precision'),
        (np.full((3, 4, CHANNELS), np.inf), 'infinite'),
        (np.zeros((3, 4)), '3 axes'),
        (np.zeros((4, 5, CHANNELS)), '4 x 5 pixels'),
        (None, 'no such file'),
        (b'no array', 'not a readable array'),
    ],
)
def test_bad_maps_are_refused_in_one_line_before_training(tmp_path, content, words):
    images = [drive_image(number, 0.0) for number in range(3)]
    (tmp_path / 'FRONT').mkdir()
    for image in images:
        np.save(tmp_path / image.features, np.zeros((3, 4, CHANNELS), np.float16))
    FeatureMaps.check(str(tmp_path), images)
    bad = tmp_path / images[1].features
    bad.unlink()
    if isinstance(content, bytes):
        bad.write_bytes(content)
    elif content is not None:
        np.save(bad, content)
    with pytest.raises(InputError, match=words) as error:
        FeatureMaps.check(str(tmp_path), images)
    assert '\n' not in str(error.value) and str(bad) in str(error.value)


def test_images_without_named_features_are_refused(tmp_path):
    images = [dataclasses.replace(drive_image(0, 0.0), features=None)]
    with pytest.raises(InputError, match='name no features'):
        FeatureMaps.check(str(tmp_path), images)


def test_a_ray_that_reads_nothing_adds_nothing():
    made = feature_field()
    fit = FeatureFit(made)
    nothing = Reads(torch.zeros(3, 12, dtype=torch.int64), torch.zeros(3, 12), torch.zeros(3, dtype=torch.bool))
    fit.add(nothing, torch.ones(3, CHANNELS))
    assert fit.normal.nnz == 0 and not fit.right.any()
