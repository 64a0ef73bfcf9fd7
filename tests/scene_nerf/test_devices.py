"""A field where the CPU is not: training, division, what was seen, rendering, checkpoints; on a GPU with --device."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from projects.DistillNeRF.scene_nerf.dataset import DriveRays
from projects.DistillNeRF.scene_nerf.feature_maps import FeatureMaps
from projects.DistillNeRF.scene_nerf.field_teacher import FieldTeacher
from projects.DistillNeRF.scene_nerf.model import SceneNeRF
from tests.helpers.commands import run
from tests.helpers.data import ROOT
from tests.helpers.fields import QUICK_STEPS, quick_options
from tests.helpers.pretend_device import NAME, PretendDevice
from tests.scene_nerf.test_field import ENTRY, SIZE, section


@pytest.fixture
def elsewhere(device: torch.device) -> Iterator[torch.device]:
    """Another device than the CPU: that of ``--device``, or one that pretends to be another."""
    with PretendDevice() if device.type == 'cpu' else nullcontext():
        yield torch.device(NAME) if device.type == 'cpu' else device


@pytest.fixture(scope='module')
def data(town) -> DriveRays:
    return DriveRays(section(town, holdout_frames=[1]), num_rays=400, num_beams=100, num_batches=3)


def new_model(device: torch.device | str, data: DriveRays) -> SceneNeRF:
    """A model as its training begins with it."""
    model = SceneNeRF(cell_size=0.8, divisions=1, levels=2, reach=(8.0, 3.0, 4.0), needed=1e-4).to(device)
    model.prepare(data)
    return model


def step(model: SceneNeRF, data: DriveRays, number: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return the losses and the gradient of a batch."""
    losses = model(**model.data_preprocessor(data[number], True), mode='loss')
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    gradient, model.field.cells.values.grad = model.field.cells.values.grad, None
    return {name: value.detach().cpu() for name, value in losses.items()}, gradient.cpu()


def on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu()


def grown(device: torch.device | str, data: DriveRays) -> tuple[SceneNeRF, list[tuple]]:
    """Train a little, with all changes of the cells; return the model and what its steps gave."""
    model, steps = new_model(device, data), []
    for change in ('divide', 'drop', None):
        steps.append(step(model, data, len(steps)))
        if change is not None:
            getattr(model, change)()
    model.eval()
    model.mark_seen(data)
    return model, steps


def test_training_is_the_same_on_every_device(data, elsewhere):
    ours, other = grown('cpu', data), grown(elsewhere, data)
    for (losses, gradient), (losses_there, gradient_there) in zip(ours[1], other[1], strict=True):
        torch.testing.assert_close(losses_there, losses, rtol=1e-3, atol=1e-4)
        # A sample at the border of two cells may be computed to lie in either.
        assert (gradient_there - gradient).norm() < 0.1 * gradient.norm()
    for tensor in (*other[0].parameters(), *other[0].buffers(), other[0].field.cells.grid.vertices):
        assert tensor.device.type == elsewhere.type
    grids = ours[0].field.cells.grid, other[0].field.cells.grid
    assert torch.equal(grids[0].coordinates, on_cpu(grids[1].coordinates)) and len(grids[0]) > 100
    assert torch.equal(ours[0].drive, on_cpu(other[0].drive))
    seen, seen_there = ours[0].seen, on_cpu(other[0].seen)
    assert seen.any() and (seen != seen_there).float().mean() < 1e-3


def test_views_and_checkpoints_are_the_same_on_every_device(data, elsewhere):
    model, _ = grown('cpu', data)
    with torch.no_grad():
        model.field.cells.values[:, 0] += 1.0  # surfaces, so that images are looked up
    moved = SceneNeRF(cell_size=0.8, divisions=1).to(elsewhere)
    moved.load_state_dict(model.state_dict())
    back = SceneNeRF(cell_size=0.8, divisions=1)
    back.load_state_dict(moved.state_dict())
    assert torch.equal(back.field.cells.values, model.field.cells.values) and torch.equal(back.seen, model.seen)
    image = next(image for image in data.drive.images if image.frame == 1)
    camera = image.camera_at(*SIZE)
    # A shifted view, of which some is not known.
    camera.cam2world[:, :3, 3] += camera.cam2world[:, :3, 0]
    teachers = [FieldTeacher(m.field.eval(), data.images, SIZE, m.seen_space()) for m in (model, moved)]
    for warp in (False, True):
        ours, there = (replace(one, warp=warp).render(camera, image.timestamp) for one in teachers)
        assert there.depth.device.type == 'cpu' and (~ours.depth.isnan()).float().mean() > 0.2
        for name in ('depth', 'sky', 'image'):
            torch.testing.assert_close(
                getattr(there, name), getattr(ours, name), rtol=1e-3, atol=2e-3, equal_nan=True, msg=name
            )


def test_features_are_the_same_on_every_device(data, elsewhere, tmp_path):
    ours, _ = grown('cpu', data)
    there = SceneNeRF(cell_size=0.8, divisions=1).to(elsewhere)
    there.load_state_dict(ours.state_dict())
    there.eval()
    generator = np.random.default_rng(0)
    for image in data.images:
        if image.features is not None:
            (tmp_path / image.features).parent.mkdir(exist_ok=True)
            np.save(tmp_path / image.features, generator.random((7, 13, 64), np.float32))
    maps = FeatureMaps.check(str(tmp_path), data.images)
    drawn = SimpleNamespace(features=maps, images=data.images, image_size=SIZE)
    image = data.drive.images[0]
    seen = []
    for model in (ours, there):
        model.learn_features(drawn)
        assert model.field.features.values.device.type == model.field.sky.device.type
        teacher = FieldTeacher(model.field, data.images, SIZE, warp=False)
        seen.append(teacher.render(image.camera_at(*SIZE), image.timestamp).features)
    assert seen[0].shape == (1, 64, 7, 13) and seen[0].isfinite().float().mean() > 0.5
    # A ray may end in either of two cells, or just beside one.
    difference = (seen[1] - seen[0]).abs()
    assert difference.isfinite().float().mean() > 0.97 * seen[0].isfinite().float().mean()
    assert difference.nanmean() < 0.01


def test_rays_are_rendered_in_parts(data, elsewhere, monkeypatch):
    model, _ = grown('cpu', data)
    camera = data.images[0].camera_at(*SIZE)
    moved = SceneNeRF(cell_size=0.8, divisions=1).to(elsewhere)
    moved.load_state_dict(model.state_dict())
    teacher = FieldTeacher(moved.field.eval(), data.images, SIZE, warp=False)
    whole = teacher.render(camera, 0.0)
    monkeypatch.setattr('projects.DistillNeRF.scene_nerf.field_teacher.RAYS_AT_ONCE', 333)
    parts = teacher.render(camera, 0.0)
    torch.testing.assert_close(parts.image, whole.image, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(parts.depth, whole.depth, rtol=1e-4, atol=1e-3, equal_nan=True)


def test_the_pretended_device_refuses_what_a_gpu_does():
    with PretendDevice():
        x = torch.arange(4.0).to(NAME)
        assert x.device.type == NAME and not x.is_cpu and torch.equal((2 * x).cpu(), 2 * torch.arange(4.0))
        for wrong in (
            lambda: x + torch.ones(4),
            lambda: x.numpy(),
            lambda: torch.ones(4)[x.long()],
            lambda: torch.where(torch.ones(4) > 0, x, 1.0),
        ):
            with pytest.raises((RuntimeError, TypeError)):
                wrong()
        assert (x + torch.tensor(1.0))[torch.tensor([0])].tolist() == [1.0]


@pytest.mark.slow
def test_processes_that_are_not_forked_write_the_same_files(town, tmp_path):
    """Those that render on a GPU."""
    words = quick_options([town / f'minitown_infos_{split}.pkl' for split in ('train', 'val')], town)
    trained = run('train', ENTRY, '--work-dir', tmp_path / 'work', '--cfg-options', *words)
    assert trained.code == 0, trained.err
    checkpoint = tmp_path / f'work/iter_{QUICK_STEPS}.pth'
    for name, options in (('one', ()), ('two', ('--device', 'cpu', '--workers', 2))):
        out = ('--out', tmp_path / name, '--views', '0_0_0', '--no-report', *options)
        # The main program of this process is none that others can import.
        tool = [sys.executable, ROOT / 'tools/render_scene_nerf.py', ENTRY, checkpoint, *out, '--cfg-options', *words]
        done = subprocess.run([str(word) for word in tool], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    ours = sorted(path.relative_to(tmp_path / 'one') for path in (tmp_path / 'one').rglob('*.npy'))
    assert ours and all((tmp_path / 'one' / p).read_bytes() == (tmp_path / 'two' / p).read_bytes() for p in ours)
