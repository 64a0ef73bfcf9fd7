"""The field of a drive: its sky, exposures and cells, batches of rays, and training with tools/train.py."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config

from projects.DistillNeRF.scene_nerf import growth, march_kernels, marching
from projects.DistillNeRF.scene_nerf.beams import collect_beams
from projects.DistillNeRF.scene_nerf.cells import Cells
from projects.DistillNeRF.scene_nerf.columns import walls_of
from projects.DistillNeRF.scene_nerf.dataset import DriveRays, LidarKnowledge
from projects.DistillNeRF.scene_nerf.drive import DriveImage
from projects.DistillNeRF.scene_nerf.evidence import FREE, OCCUPIED, UNKNOWN
from projects.DistillNeRF.scene_nerf.field import SceneField, expose
from projects.DistillNeRF.scene_nerf.field_teacher import FieldTeacher
from projects.DistillNeRF.scene_nerf.marching import CHANNELS, Marching
from projects.DistillNeRF.scene_nerf.model import SceneNeRF, load_teacher
from projects.DistillNeRF.scene_nerf.nested_grid import NestedBoxes, NestedGrid
from projects.DistillNeRF.scene_nerf.ray_losses import sky_loss, spread_loss
from projects.DistillNeRF.utils.errors import InputError
from tests.helpers.commands import run
from tests.helpers.data import ROOT
from tests.helpers.fields import gray_wall
from tests.helpers.lidar_world import HOUSE, PARKED, Street, drive_through, moving_car
from tests.helpers.oracle import Oracle, town_drive
from tests.helpers.refusals import assert_refused

ENTRY = ROOT / 'projects/DistillNeRF/configs/model_wrapper/scene_nerf_minitown.py'
SIZE = (28, 50)


def field(cells: int = 30, images: int = 2) -> SceneField:
    """A field of random cells of one box."""
    generator = torch.Generator().manual_seed(cells)
    boxes = NestedBoxes.around(torch.zeros(1, 3), 0.5, 2, (4.0, 2.0, 4.0), coarsest=0.5)
    coordinates = torch.randint(16, (cells, 3), generator=generator).unique(dim=0)
    grid = NestedGrid.build(boxes, torch.zeros(len(coordinates), dtype=torch.int64), coordinates)
    values = torch.randn(grid.num_vertices, CHANNELS, generator=generator)
    return SceneField(Cells(grid, values), images, Marching())


def test_the_sky_goes_on_straight_behind_and_looks_where_it_should():
    one = field()
    with torch.no_grad():
        height, width = one.sky.shape[1:]
        one.sky[0] = torch.linspace(-3, 3, height)[:, None]  # red grows downwards
        one.sky[1] = torch.cos(2 * math.pi * (torch.arange(width) + 0.5) / width)  # green: 1 behind, -1 ahead
        one.sky[2] = torch.sin(2 * math.pi * (torch.arange(width) + 0.5) / width)  # blue: -1 to the right
        ahead, right, behind, up = torch.tensor([[0.0, 1, 0], [1, 0, 0], [0, -1, 0], [0, 0, 1]])
        colors = torch.logit(one.sky_color(torch.stack([ahead, right, behind, up])))
        torch.testing.assert_close(colors[:3, 1], torch.tensor([-1.0, 0, 1]), atol=1e-3, rtol=0)
        assert colors[1, 2] < -0.99 and colors[3, 0] < -2.9
        angles = math.pi + torch.linspace(-0.01, 0.01, 41)
        around = one.sky_color(torch.stack([angles.sin(), angles.cos(), torch.zeros(41)], 1))
    assert around.diff(dim=0).abs().max() < 1e-3


def test_exposures_are_affine():
    color = torch.rand(5, 3)
    change = torch.randn(5, 3, 4)
    expected = torch.stack([(torch.eye(3) + c[:, :3]) @ x + c[:, 3] for x, c in zip(color, change, strict=True)])
    torch.testing.assert_close(expose(color, change), expected)


def test_a_checkpoint_of_other_cells_is_loaded():
    saved, other = field(40, 3), field(10, 0)
    with torch.no_grad():
        saved.exposure.normal_()
        saved.cells.largest.uniform_()
    other.load_state_dict(saved.state_dict())
    assert torch.equal(other.cells.grid.vertices, saved.cells.grid.vertices)
    assert torch.equal(other.cells.values, saved.cells.values)
    assert torch.equal(other.exposure, saved.exposure) and torch.equal(other.cells.largest, saved.cells.largest)


def section(town: Path, **changes: object) -> dict:
    """The drive through a scene of the town of boxes."""
    files = [str(town / f'minitown_infos_{split}.pkl') for split in ('train', 'val')]
    roots = dict.fromkeys(('img', 'lidar', 'truth'), str(town))
    return {'ann_files': files, 'scene': 'minitown-0001', 'roots': roots, 'image_size': SIZE, **changes}


def test_rays_go_through_their_pixels_and_batches_repeat(town):
    data = DriveRays(section(town, holdout_frames=[1]), num_rays=200, num_beams=50, num_batches=5, seed=3)
    assert {image.frame for image in data.images} == {0, 2} | {i.frame for i in data.drive.images if i.frame is None}
    first, again, other = (data[index]['inputs'] for index in (2, 2, 3))
    for name, value in first.items():
        assert torch.equal(value, again[name]), name
        assert not torch.equal(value, other[name]), name
    for ray in range(0, 200, 20):
        image = data.images[int(first['images'][ray])]
        point = first['origins'][ray] + 7 * first['directions'][ray]
        pixel, z = image.camera_at(*SIZE).to(torch.float32).project(point[None])
        column, row = pixel[0, 0].round().long().tolist()
        assert z > 0 and (pixel[0, 0] - pixel[0, 0].round()).abs().max() < 1e-3
        color = torch.from_numpy(image.read(*SIZE))[row, column].float() / 255
        torch.testing.assert_close(first['colors'][ray], color)


def test_beams_of_training_end_on_what_stands_and_things_that_moved_leave_free_space(tmp_path):
    drive = drive_through(Street(lambda time: (HOUSE, PARKED, moving_car(time))), tmp_path, 12)
    lidar = LidarKnowledge.of(drive)
    still, evidence = lidar.still, lidar.evidence
    everything = collect_beams(drive, shortest=2.5)
    low, high = (np.array([moving_car(t)[k] for t in everything.times])[everything.sweeps] for k in (0, 1))
    car = ((everything.ends >= low - 0.01) & (everything.ends <= high + 0.01)).all(1)
    assert len(everything) - 1.02 * car.sum() < len(still) < len(everything) - 0.7 * car.sum()
    ends = {tuple(end) for end in still.ends.tolist()}
    assert np.mean([tuple(end) in ends for end in everything.ends[car].tolist()]) < 0.3
    assert (evidence.state(everything.ends[car]) == FREE).mean() > 0.6
    assert (evidence.state(still.ends) == OCCUPIED).mean() > 0.95
    # The car is one thing, and its points are trained on.
    on_car = np.flatnonzero(car)
    assert np.isin(on_car, lidar.things[0].beams).mean() > 0.7 and np.isin(lidar.things[0].beams, on_car).mean() > 0.95
    assert len(lidar.beams) == len(still) + sum(len(thing.beams) for thing in lidar.things)


def test_rays_know_the_sky_by_lidar_or_by_masks(town, tmp_path):
    data = DriveRays(section(town), num_rays=3000, num_beams=10, num_batches=1)
    true = {image.path: image.truth['depth'] for image in data.drive.images if 'depth' in image.truth}
    numbers = [number for number, image in enumerate(data.images) if image.path in true]
    sky = np.isnan(np.stack([np.load(true[data.images[number].path])[1::2, 1::2] for number in numbers]))
    found = data.sky[numbers].numpy()
    assert (found[~sky] < 0).mean() > 0.8 and (found[sky] > 0).mean() > 0.5
    assert (found[~sky] > 0).mean() < 0.02 and (found[sky] < 0).mean() < 0.02
    inputs = data[0]['inputs']
    assert inputs['sky'].shape == (3000,) and inputs['sky'].min() == -1 and inputs['sky'].max() == 1
    for ray in range(0, 3000, 300):
        image, origin = int(inputs['images'][ray]), inputs['origins'][ray]
        camera = data.images[image].camera_at(*SIZE).to(torch.float32)
        column, row = camera.project((origin + 7 * inputs['directions'][ray])[None])[0][0, 0].round().long().tolist()
        assert inputs['sky'][ray] == data.sky[image, row, column] / 127
    for number in numbers:
        path = tmp_path / data.images[number].teacher['sky_mask']
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.isnan(np.load(true[data.images[number].path])).astype(np.uint8))
    masked = DriveRays(section(town, sky_masks=str(tmp_path)), num_rays=10, num_beams=10, num_batches=1)
    np.testing.assert_array_equal(masked.sky[numbers].numpy(), np.where(sky, 127, -127))
    for folder, words in ((str(tmp_path / 'nothing'), 'no sky mask'), (3, 'sky_masks is 3')):
        with pytest.raises(InputError, match=words):
            DriveRays(section(town, sky_masks=folder), num_rays=10, num_beams=10, num_batches=1)


def test_a_field_begins_with_surfaces_and_fog_and_divides_by_lidar(town):
    data = DriveRays(section(town), num_rays=10, num_beams=10, num_batches=1)
    known = growth.Known.of(data.lidar.evidence)
    cameras = [image.camera_at(*SIZE) for image in data.images]
    path = growth.path_of(cameras, None)
    boxes = NestedBoxes.around(path, 0.8, 3, (8.0, 4.0, 6.0), 0.8)
    grid, values = growth.first_cells(boxes, known, cameras, 0.3, walls_of(data.lidar.still))
    states = known.states(grid.boxes, grid.levels, grid.coordinates)
    assert (states == OCCUPIED).sum() > 50 and not (states == FREE).any()
    # Every end of a beam lies in a cell.
    points = torch.from_numpy(data.lidar.beams.ends)
    levels = boxes.level_of(points)
    inside = levels < 3
    positions = (points[inside] - boxes.lower[levels[inside]]) / boxes.sizes[levels[inside]][:, None]
    found, _ = grid.find(levels[inside], positions)
    assert (found >= 0).float().mean() > 0.98
    finer, refined = growth.divide(grid, values, torch.ones(len(grid), dtype=torch.bool), known)
    assert len(grid) < len(finer) < 8 * len(grid) and len(refined) == finer.num_vertices
    finer_states = known.states(finer.boxes, finer.levels, finer.coordinates)
    assert not (finer_states == FREE).any()
    # What large cells took up above free space is fog again; nothing else is touched.
    solid = torch.ones_like(values)
    again, dense = growth.divide(grid, solid, torch.ones(len(grid), dtype=torch.bool), known)
    thin = (finer_states == UNKNOWN) & known.columns.free_above(again)
    kept = torch.zeros(again.num_vertices, dtype=torch.bool)
    kept[again.vertices[~thin].long().flatten()] = True
    assert (dense[kept] == 1).all() and (dense[~kept, 0] == growth.FOG).all() and (dense[:, 1:] == 1).all()
    assert 0.02 < (~kept).float().mean() < 0.9


def test_losses_of_a_batch_with_and_without_lidar(town):
    data = DriveRays(section(town), num_rays=300, num_beams=50, num_batches=1)
    model = SceneNeRF(cell_size=0.8, divisions=0, levels=2, sky_weight=0.3, spread_weight=0.2)
    model.prepare(data)
    inputs = data[0]['inputs']
    losses = model(inputs)
    assert set(losses) == {'psnr', 'loss_color', 'loss_exposure', 'loss_sky', 'loss_spread', 'loss_beams'}
    places = 150 ** inputs['places']
    rays = marching.Rays.whole(inputs['origins'], inputs['directions'], inputs['jitter'], places)
    outputs = model.field.march(rays, inputs['times'])
    expected = 0.3 * sky_loss(outputs.transmittance, inputs['sky'])
    torch.testing.assert_close(losses['loss_sky'], expected, rtol=1e-3, atol=1e-5)
    expected = 0.2 * spread_loss(outputs.transmittance, outputs.before)
    torch.testing.assert_close(losses['loss_spread'], expected, rtol=1e-3, atol=1e-5)
    data.lidar = data.sky = None
    model.prepare(data)
    losses = model(data[0]['inputs'])
    assert set(losses) == {'psnr', 'loss_color', 'loss_exposure', 'loss_spread'}
    sum(value for name, value in losses.items() if name.startswith('loss')).backward()
    gradient = model.field.cells.values.grad
    assert gradient.isfinite().all() and gradient.abs().max() > 0


def options(town: Path, iterations: int, **changes: object) -> list[str]:
    """Options of tools/train.py for a small field."""
    settings = {
        **{f'scene_nerf.{name}': value for name, value in section(town).items() if name != 'roots'},
        **{f'scene_nerf.roots.{name}': str(town) for name in ('img', 'lidar', 'truth')},
        'train_cfg.max_iters': iterations,
        'train_dataloader.dataset.num_rays': 1024,
        'train_dataloader.dataset.num_beams': 256,
        'model.cell_size': 0.4,
        'model.divisions': 1,
        'model.levels': 3,
        'custom_hooks.2.divide': [0.2],
        'custom_hooks.2.drop': [0.6],
        'default_hooks.checkpoint.interval': iterations // 2,
        'default_hooks.checkpoint.max_keep_ckpts': 2,
        **changes,
    }
    return [f'{name}={value}' for name, value in settings.items()]


def test_training_learns_the_colors_and_the_depth_and_goes_on_where_it_stopped(town, tmp_path):
    result = run('train', ENTRY, '--work-dir', tmp_path / 'whole', '--cfg-options', *options(town, 120))
    assert result.code == 0, result.err
    whole = torch.load(tmp_path / 'whole/iter_120.pth', weights_only=False)['state_dict']
    half = tmp_path / 'whole/iter_60.pth'
    result = run(
        'train', ENTRY, '--work-dir', tmp_path / 'rest', '--resume', half, '--cfg-options', *options(town, 120)
    )
    assert result.code == 0, result.err
    rest = torch.load(tmp_path / 'rest/iter_120.pth', weights_only=False)['state_dict']
    for name, value in whole.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(rest[name], value, rtol=1e-4, atol=1e-4, msg=name)
    config = Config.fromfile(str(next((tmp_path / 'whole').glob('*.py'))))
    teacher = load_teacher(config, tmp_path / 'whole/iter_120.pth')
    drive = town_drive(town)
    image = next(image for image in drive.images if image.frame == 1)
    camera = image.camera_at(*SIZE)
    seen, true = (one.render(camera, image.timestamp) for one in (teacher, Oracle(drive)))
    error = (seen.image - torch.from_numpy(image.read(*SIZE)).permute(2, 0, 1) / 255).square().mean()
    assert -10 * torch.log10(error) > 16
    relative = ((seen.depth - true.depth) / true.depth).abs()[0]
    assert relative.nanmedian() < 0.08
    assert (~seen.depth.isnan() & ~true.depth.isnan()).sum() > 0.8 * (~true.depth.isnan()).sum()


def test_both_ways_of_marching_render_the_same_field():
    one = field(200)
    rays = marching.Rays.centered(torch.zeros(50, 3), F.normalize(torch.randn(50, 3), dim=1))
    ours, plain = (m.composite(one.cells.grid, one.cells.values, rays, one.settings) for m in (march_kernels, marching))
    torch.testing.assert_close(ours.color, plain.color, rtol=1e-3, atol=1e-4)


def test_wrong_input_is_refused(town, tmp_path):
    whole = options(town, 4)
    out = ('--work-dir', tmp_path / 'out', '--cfg-options')
    assert_refused(run('train', ENTRY, *out, *whole, 'scene_nerf.scene=nowhere'), 'nowhere')
    kept_out = 'scene_nerf.holdout_frames=[0,1,2]'
    if not any(image.frame is None for image in town_drive(town).images):
        assert_refused(run('train', ENTRY, *out, *whole, kept_out), 'kept out')
    assert_refused(run('train', ENTRY, '--amp', *out, *whole), '--amp')
    other = tmp_path / 'other.pth'
    torch.save({'state_dict': {'a': torch.zeros(3)}}, other)
    with pytest.raises(Exception, match='scene NeRF'):
        load_teacher(Config.fromfile(str(ENTRY)), other)


def test_without_lidar_everything_that_is_seen_is_fog():
    boxes = NestedBoxes.around(torch.zeros(1, 3), 0.8, 2, (8.0, 4.0, 6.0), 0.8)
    known = growth.Known.of(None)
    levels = torch.zeros(4, dtype=torch.int64)
    assert known.states(boxes, levels, torch.zeros(4, 3, dtype=torch.int64)).tolist() == [0] * 4
    assert np.isfinite(growth.FOG)


def test_a_teacher_returns_z_not_the_distance_along_the_ray():
    """A wall across the line of sight has one z, though the rays to its corners are half as long again."""
    cam2scene = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    intrinsics = np.array([[10.0, 0, 7.5], [0, 10.0, 5.5], [0, 0, 1]])
    image = DriveImage('', 'FRONT', 0, 0.0, 12, 16, intrinsics, cam2scene, {}, {})
    seen = FieldTeacher(gray_wall(1), [image], (12, 16), warp=False).render(image.camera_at(12, 16), 0.0)
    assert image.camera_at(12, 16).ray_lengths(12, 16).max() > 1.3
    torch.testing.assert_close(seen.depth, torch.full_like(seen.depth, 5.0), atol=0.08, rtol=0)
    assert (seen.sky < 0.01).all()
