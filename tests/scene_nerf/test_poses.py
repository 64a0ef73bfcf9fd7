"""Cameras of a drive whose poses are a little off are turned to fit its field."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from projects.DistillNeRF.configuration.config import load_config
from projects.DistillNeRF.datasets.teacher_files import teacher_path
from projects.DistillNeRF.scene_nerf import model as scene_model
from projects.DistillNeRF.scene_nerf.cells import Cells
from projects.DistillNeRF.scene_nerf.drive import DriveImage
from projects.DistillNeRF.scene_nerf.export import ExportOptions, Task, make_views
from projects.DistillNeRF.scene_nerf.feature_maps import FeatureMaps
from projects.DistillNeRF.scene_nerf.field import SceneField
from projects.DistillNeRF.scene_nerf.field_teacher import FieldTeacher
from projects.DistillNeRF.scene_nerf.model import SceneNeRF, load_teacher
from projects.DistillNeRF.scene_nerf.own_car import OwnCar
from projects.DistillNeRF.scene_nerf.pose_search import LARGEST, find_turn, find_turns, textured_places
from projects.DistillNeRF.scene_nerf.scores import render_image
from projects.DistillNeRF.scene_nerf.turns import rotate, turn_between, turn_image, turn_images
from tests.helpers.commands import run
from tests.helpers.data import ROOT
from tests.helpers.fields import quick_options
from tests.helpers.oracle import town_drive

ENTRY = ROOT / 'projects/DistillNeRF/configs/model_wrapper/scene_nerf_minitown.py'

ROWS, COLUMNS, FOCAL = 60, 100, 90.0
INTRINSICS = np.array([[FOCAL, 0.5, 49.0], [0, FOCAL, 29.0], [0, 0, 1]])
AHEAD = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def textured_sky(images: int) -> SceneField:
    """A field of nothing but a sky with texture all over."""
    field = SceneField(Cells.empty(), images)
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(3, *field.sky.shape[1:])), (0, 10, 10))
    with torch.no_grad():
        field.sky.copy_(torch.from_numpy(noise / noise.std()))
    return field.eval()


def image_at(yaw: float, time: float, camera: str = 'FRONT', own_car: OwnCar | None = None) -> DriveImage:
    """An image, of no file, of a camera that looks somewhere."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler('z', yaw).as_matrix()
    return DriveImage('', camera, None, time, ROWS, COLUMNS, INTRINSICS, pose @ AHEAD, {}, {}, own_car)


@torch.no_grad()
def taken(field: SceneField, image: DriveImage) -> torch.Tensor:
    """What a camera sees of the sky, ``(ROWS, COLUMNS, 3)`` uint8."""
    _, directions = image.camera_at(ROWS, COLUMNS).to(torch.float32).rays(ROWS, COLUMNS)
    return (255 * field.sky_color(directions[0].reshape(-1, 3)).view(ROWS, COLUMNS, 3)).round().to(torch.uint8)


def some_turns(count: int, size: float = 0.003, seed: int = 0) -> torch.Tensor:
    return size * torch.randn(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_vectors_are_rotated_as_by_scipy():
    turns = torch.cat([torch.zeros(1, 3, dtype=torch.float64), some_turns(5), some_turns(5, 1.0)])
    vectors = some_turns(11, 1.0, seed=1)
    expected = Rotation.from_rotvec(turns.numpy()).apply(vectors.numpy())
    np.testing.assert_allclose(rotate(turns, vectors).numpy(), expected, atol=1e-12)


def test_an_image_is_turned_where_it_stands():
    image, turn = image_at(0.4, 0.0), some_turns(1)[0]
    image.cam2scene[:3, 3] = [1, 2, 3]
    turned = turn_image(image, turn).cam2scene
    np.testing.assert_allclose(turned[:3, :3], Rotation.from_rotvec(turn.numpy()).as_matrix() @ image.cam2scene[:3, :3])
    np.testing.assert_array_equal(turned[:, 3], image.cam2scene[:, 3])
    assert turn_images([image], None) == (image,)


def test_between_images_cameras_turn_evenly():
    images = [image_at(0.2 * k, float(k), name) for k in range(4) for name in ('FRONT', 'BACK')]
    turns = some_turns(len(images)).float()
    for number, image in enumerate(images):
        torch.testing.assert_close(turn_between(image, images, turns).float(), turns[number], atol=1e-8, rtol=1e-5)
    seen = [turns[n].double().numpy() @ images[n].cam2scene[:3, :3] for n in (2, 4)]
    between = image_at(0.27, 1.25)
    expected = between.cam2scene[:3, :3] @ (0.75 * seen[0] + 0.25 * seen[1])
    np.testing.assert_allclose(turn_between(between, images, turns).numpy(), expected, atol=1e-8)
    later = image_at(1.7, 9.0)
    expected = later.cam2scene[:3, :3] @ (turns[6].double().numpy() @ images[6].cam2scene[:3, :3])
    np.testing.assert_allclose(turn_between(later, images, turns).numpy(), expected, atol=1e-8)
    assert not turn_between(image_at(0.0, 1.0, 'LEFT'), images, turns).any()


def test_turned_cameras_are_found():
    """Four cameras around, at three times; one with its own car below."""
    images = [
        image_at(1.5 * k + 0.1 * t, 0.1 * t, f'{k}', OwnCar(0.8) if k == 2 else None)
        for t in range(3)
        for k in range(4)
    ]
    field, true = textured_sky(len(images)), some_turns(len(images))
    pixels = torch.stack([taken(field, image) for image in turn_images(images, true)])
    pixels[2, 48:] = torch.randint(255, (12, COLUMNS, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    with torch.no_grad():
        field.exposure[1, :, :3] = 0.2 * torch.eye(3)
    pixels[1] = (1.2 * pixels[1]).clamp(max=255)
    found = find_turns(field, images, pixels)
    errors = (found - true).norm(dim=1)
    # A pixel is 11 mrad wide.
    assert errors.max() < 7e-4 and errors.mean() < 3e-4 < 0.1 * true.norm(dim=1).mean(), errors
    # They stay where they are.
    again = find_turns(field, images, pixels, found)
    assert (again - found).norm(dim=1).max() < 5e-5
    # Nothing turns farther than is likely.
    far = torch.tensor([[0.0, 0, 0.02]]).double()
    pixels = taken(field, turn_image(images[0], far[0]))[None]
    found = find_turns(field, images[:1], pixels)
    torch.testing.assert_close(found.double(), far * (LARGEST / far.norm()), atol=2e-4, rtol=0)


def scene_of_pixels(seed: int = 3) -> tuple[torch.Tensor, ...]:
    """An image, places in it, and the colors that a camera shows there that is turned otherwise; some are wrong."""
    field, image, turn = textured_sky(1), image_at(0.0, 0.0), some_turns(1, seed=seed)[0]
    recorded = taken(field, image).permute(2, 0, 1) / 255
    places = textured_places(recorded, torch.ones(ROWS, COLUMNS, dtype=torch.bool))
    other = taken(field, turn_image(image, turn)).permute(2, 0, 1) / 255
    columns, rows = places.long().unbind(1)
    shown = other[:, rows, columns].T.clone()
    shown[::5] = 0.5
    return recorded, torch.from_numpy(INTRINSICS).float(), places, shown, -turn.numpy() @ image.cam2scene[:3, :3]


def test_a_turn_makes_colors_as_alike_as_plain_optimization():
    recorded, intrinsics, places, shown, true = scene_of_pixels()
    usable = torch.ones(len(places), dtype=torch.bool)
    found = find_turn(recorded, intrinsics, places, shown, usable)
    np.testing.assert_allclose(found.numpy(), true, atol=5e-4)
    blurred = gaussian_filter(recorded.numpy(), (0, 0.7, 0.7))
    rays = np.c_[places.numpy(), np.ones(len(places))] @ np.linalg.inv(INTRINSICS).T

    def errors(turn: np.ndarray) -> np.ndarray:
        moved = Rotation.from_rotvec(-turn).apply(rays) @ INTRINSICS.T
        place = torch.from_numpy(moved[:, :2] / moved[:, 2:]) / torch.tensor([(COLUMNS - 1) / 2, (ROWS - 1) / 2]) - 1
        read = F.grid_sample(torch.from_numpy(blurred)[None].double(), place[None, None], align_corners=True)
        return (read[0, :, 0].T - shown).numpy().ravel()

    plain = least_squares(errors, np.zeros(3), loss='cauchy', f_scale=0.02, x_scale=1e-3)
    np.testing.assert_allclose(found.numpy(), plain.x, atol=3e-4)


def test_what_tells_nothing_turns_nothing():
    recorded, intrinsics, places, shown, _ = scene_of_pixels()
    before = torch.tensor([0.001, -0.002, 0.003])
    nothing = torch.zeros(len(places), dtype=torch.bool)
    assert torch.equal(find_turn(recorded, intrinsics, places, shown, nothing, before), before)
    # Colors that are all wrong, and an image without texture.
    wrong = torch.rand(len(places), 3, generator=torch.Generator().manual_seed(0))
    assert find_turn(recorded, intrinsics, places, wrong, ~nothing).norm() < 0.006
    flat = torch.full_like(recorded, 0.5)
    assert not find_turn(flat, intrinsics, places, shown, ~nothing).any()
    assert not len(textured_places(flat, torch.ones(ROWS, COLUMNS, dtype=torch.bool)))


def test_places_have_texture_and_are_usable():
    recorded = scene_of_pixels()[0]
    usable = torch.ones(ROWS, COLUMNS, dtype=torch.bool)
    usable[:, :30] = False
    columns, rows = textured_places(recorded, usable).long().unbind(1)
    assert columns.min() >= 30 and columns.max() < COLUMNS - 2 and rows.min() >= 2 and rows.max() < ROWS - 2
    assert len(columns) > 3000 and len(set(zip(columns.tolist(), rows.tolist(), strict=True))) == len(columns)
    large = F.interpolate(recorded[None], scale_factor=5)[0]
    assert 4000 < len(textured_places(large, torch.ones(5 * ROWS, 5 * COLUMNS, dtype=torch.bool))) < 8193


@dataclass
class Spy(FieldTeacher):
    """Notes where cameras stand that it is asked for."""

    asked: list[torch.Tensor] = dataclasses.field(default_factory=list)

    def render(self, cameras, timestamp, recorded=()):
        self.asked.append(cameras.cam2world)
        return super().render(cameras, timestamp, recorded)


def test_scores_and_exports_show_what_cameras_saw(tmp_path):
    recorded, true = [image_at(0.1 * t, 0.1 * t) for t in range(3)], some_turns(3, 0.008)
    field, images = textured_sky(2), turn_images(recorded, true)
    known = [0, 2]
    turns = true[known].float()
    teacher = Spy(field, [images[n] for n in known], (ROWS, COLUMNS), warp=False, turns=turns)
    for number, (image, saw) in enumerate(zip(recorded, images, strict=True)):
        shown = render_image(teacher, image, (ROWS, COLUMNS)).image[0]
        error = (shown - taken(field, saw).permute(2, 0, 1) / 255).abs().max()
        assert error < 0.003 if number in known else error > 0.01
    unturned = render_image(replace(teacher, turns=None), recorded[0], (ROWS, COLUMNS)).image[0]
    assert (unturned - taken(field, images[0]).permute(2, 0, 1) / 255).abs().max() > 0.03
    names = {kind: teacher_path(kind, 'FRONT', '1') for kind in ('depth', 'sky_mask')}
    task = Task(replace(recorded[0], frame=0, teacher=names), ('0_0_0', '1_0_0'))
    make_views(teacher, ExportOptions(tmp_path, 'x', (ROWS, COLUMNS)), task)
    asked = teacher.asked[-1]
    torch.testing.assert_close(asked[0], torch.from_numpy(images[0].cam2scene), atol=1e-9, rtol=0)
    torch.testing.assert_close(asked[1, :3, 3], asked[0, :3, 0], atol=1e-9, rtol=0)
    torch.testing.assert_close(asked[1, :3, :3], asked[0, :3, :3], atol=0, rtol=0)


def test_cameras_are_turned_while_the_field_is_trained():
    """All that is seen is the sky, learned from images that look at parts of it; how all turn together is unknown."""
    images = [image_at(0.12 * k, 0.1 * k) for k in range(8)]
    truth, true = textured_sky(0), some_turns(8, 0.005)
    pixels = torch.stack([taken(truth, image) for image in turn_images(images, true)])
    model = SceneNeRF(correct_poses=True, exposure_weight=0.0)
    model.field = SceneField(Cells.empty(), len(images))
    optimizer = torch.optim.Adam([model.field.sky], lr=0.1, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(0)
    rays = torch.stack([image.camera_at(ROWS, COLUMNS).rays(ROWS, COLUMNS)[1][0] for image in images]).float()
    for step in range(1, 301):
        chosen = [torch.randint(n, (1000,), generator=generator) for n in (len(images), ROWS, COLUMNS)]
        inputs = {'images': chosen[0], 'origins': torch.zeros(1000, 3), 'directions': rays[chosen]}
        inputs |= {'times': torch.zeros(1000, dtype=torch.float64), 'colors': pixels[chosen] / 255}
        inputs |= {'jitter': torch.zeros(1000), 'places': torch.rand(1000, 2, generator=generator)}
        optimizer.zero_grad()
        model(inputs)['loss_color'].backward()
        optimizer.step()
        if step % 50 == 0 and step < 300:
            model.eval()
            model.turn_cameras(SimpleNamespace(images=images, pixels=pixels))
            model.train()
    errors, size = model.turns - true, (true - true.mean(0)).norm(dim=1).mean()
    assert (errors - errors.mean(0)).norm(dim=1).mean() < 0.25 * size and model.turns.mean(0).norm() < 0.3 * size


def train(town: Path, work_dir: Path, *words: object, **changes: object) -> dict[str, torch.Tensor]:
    """Train a field for a moment and return the state at its end."""
    options = {'train_cfg.max_iters': 8, 'default_hooks.checkpoint.interval': 4, **changes}
    options['default_hooks.checkpoint.max_keep_ckpts'] = 2
    files = [town / f'minitown_infos_{split}.pkl' for split in ('train', 'val')]
    result = run(
        'train', ENTRY, '--work-dir', work_dir, *words, '--cfg-options', *quick_options(files, town, **options)
    )
    assert result.code == 0, result.err
    assert ('cameras turned by' in result.out) == ('model.correct_poses' in changes)
    return torch.load(work_dir / 'iter_8.pth', weights_only=False)['state_dict']


def test_corrections_are_in_checkpoints_and_go_on_where_they_stopped(town, tmp_path):
    whole = train(town, tmp_path / 'whole', **{'model.correct_poses': True})
    turns = whole['turns']
    assert turns.shape == (30, 3) and 0 < turns.norm(dim=1).max() <= 1.001 * LARGEST
    half = tmp_path / 'whole/iter_4.pth'
    before = torch.load(half, weights_only=False)['state_dict']['turns']
    assert before.any() and not torch.equal(before, turns)
    rest = train(town, tmp_path / 'rest', '--resume', half, **{'model.correct_poses': True})
    torch.testing.assert_close(rest['turns'], turns, rtol=1e-3, atol=1e-6)
    config = load_config(next((tmp_path / 'whole').glob('*.py')), sections=('scene_nerf',))
    recorded = town_drive(town).images
    for changes in ({}, {'model.correct_poses': False}):
        config.merge_from_dict(changes)
        teacher = load_teacher(config, tmp_path / 'whole/iter_8.pth')
        for image, turn in zip(recorded, turns, strict=True):
            expected = turn_image(image, turn).cam2scene
            np.testing.assert_allclose(teacher.corrected(image).cam2scene, expected, atol=1e-7)
    np.testing.assert_allclose(teacher.images[3].cam2scene, turn_image(recorded[3], turns[3]).cam2scene)
    # A training without them knows nothing of them.
    assert 'turns' not in train(town, tmp_path / 'off')


def test_features_are_learned_from_turned_cameras(monkeypatch):
    images = tuple(replace(image_at(yaw, yaw), path=f'{yaw}.png') for yaw in (0.0, 1.0, 2.0))
    data = SimpleNamespace(images=images, image_size=(3, 5), features=FeatureMaps('maps', images[1:], (2, 2)))
    model, asked = SceneNeRF(), []
    model.turns = torch.tensor([[0.0, 0, 0], [0, 0, 0.005], [0.002, 0, 0]])
    monkeypatch.setattr(scene_model, 'learn_features', lambda _, maps, *__: asked.append(maps))
    model.learn_features(data)
    for image, recorded, turn in zip(asked[0].images, images[1:], model.turns[1:], strict=True):
        assert image.path == recorded.path and not np.allclose(image.cam2scene, recorded.cam2scene, atol=1e-4)
        np.testing.assert_array_equal(image.cam2scene, turn_image(recorded, turn).cam2scene)
