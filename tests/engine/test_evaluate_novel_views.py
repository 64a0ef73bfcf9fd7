"""True novel views have the form of the dataset's views, and a perfect rendering has no error."""

from __future__ import annotations

import math

import pytest
import torch

from projects.DistillNeRF.engine.evaluate_novel_views import FeatureErrors, TrueImages, novel_view_errors
from projects.DistillNeRF.geometry.cameras import Cameras
from projects.DistillNeRF.geometry.trajectories import translation
from projects.DistillNeRF.geometry.views import Views
from projects.DistillNeRF.models.scene import Rendering
from projects.DistillNeRF.semantics.classes import SKY, code_book
from projects.MiniTown import scene
from tests.helpers.boxtown import BoxTown
from tests.helpers.cameras import pinhole
from tests.helpers.dataset import build_dataset


@pytest.fixture
def sample(town, monkeypatch) -> tuple[Views, TrueImages, str, int]:
    """Input views of a sample, the truth, scene and key frame."""
    monkeypatch.setattr(scene, 'Town', BoxTown)
    options = {'load_truth': True, 'test_mode': True, 'image_size': (28, 50), 'render_size': (14, 25)}
    packed = build_dataset(town, ann_file='minitown_infos_val.pkl', **options)[1]
    what = packed['data_samples']
    return packed['inputs']['input_views'], TrueImages(town), what.scene, what.frame


def test_true_views_without_motion_are_what_the_dataset_loads(sample):
    views, truth, *place = sample
    true = truth.views(views, *place, torch.eye(4))
    assert true.names == views.names and len(true) == 6
    assert (true.images - views.images).abs().max() < 0.1  # JPEG
    assert (true.images - views.images).abs().mean() < 0.01
    assert torch.equal(true.true_depth.isnan(), views.true_depth.isnan())
    torch.testing.assert_close(true.true_depth, views.true_depth, rtol=1e-3, atol=0, equal_nan=True)
    torch.testing.assert_close(true.cameras.cam2world, views.cameras.cam2world)


def test_true_features_without_motion_are_those_that_the_dataset_loads(town, monkeypatch):
    monkeypatch.setattr(scene, 'Town', BoxTown)
    pipeline = [{'type': name} for name in ('LoadViews', 'CodeBookFeatures', 'PackViews')]
    options = {'load_truth': True, 'test_mode': True, 'image_size': (28, 50), 'render_size': (14, 25)}
    options |= {'load_lidar': False, 'pipeline': pipeline}
    packed = build_dataset(town, ann_file='minitown_infos_val.pkl', **options)[1]
    views, what = packed['inputs']['input_views'], packed['data_samples']
    true = TrueImages(town, (14, 25)).views(views, what.scene, what.frame, torch.eye(4))
    assert torch.equal(true.features, views.features)
    assert torch.equal(true.true_classes, views.true_classes)


def test_perfect_features_find_every_class(sample, town):
    views, _, *place = sample
    true = TrueImages(town, (14, 25)).views(views, *place, translation('x', count=2)[1])
    depth, opacity = perfect(true).depth, perfect(true).opacity
    measure = FeatureErrors('minitown_code_book', 64)
    exact = measure(Rendering(depth, opacity, features=true.features), true)
    figures = measure.merge([exact])
    assert figures['feature/psnr'] == pytest.approx(100) and figures['query/miou'] == 1
    assert figures['abs_rel'] == pytest.approx(0, abs=1e-3) and figures['query/iou/car'] == 1
    # A second sample in which everything is sky: pixels are counted together.
    sky = true.features.new_tensor(code_book()[SKY])[:, None, None].expand_as(true.features)
    both = measure.merge([exact, measure(Rendering(depth, opacity, features=sky), true)])
    assert both['query/iou/road'] == 0.5 and 0 < both['query/iou/sky'] < 1


def perfect(true: Views) -> Rendering:
    """What a network without errors renders: images, and distances along rays that span the image corner to corner."""
    rays = true.cameras.ray_lengths(true.cameras.height, true.cameras.width)
    return Rendering(true.true_depth.nan_to_num(200.0) * rays, torch.ones_like(rays), rgb=true.images)


def test_a_perfect_rendering_has_no_error_and_one_of_elsewhere_has(sample):
    views, truth, *place = sample
    here, right = (truth.views(views, *place, motion) for motion in translation('x', count=2))
    exact = novel_view_errors(perfect(right), right)
    assert exact['psnr'] == pytest.approx(100) and exact['abs_rel'] < 1e-5 and exact['a1'] == 1
    assert exact['holes'] == 0
    moved = novel_view_errors(perfect(here), right)
    assert moved['psnr'] < 40 and moved['abs_rel'] > 0.01


def test_a_motion_to_the_right_brings_the_right_wall_nearer(sample):
    """The walls stand 10.2 m to both sides of the road along which the car drives."""
    views, truth, *place = sample
    here, right = (truth.views(views, *place, motion) for motion in translation('x', count=2))
    for name, change in (('CAM_BACK_RIGHT', -1.0), ('CAM_BACK_LEFT', 1.0)):
        camera = views.names.index(name)
        before, after = (v.true_depth[camera, 10, 20:30].mean().item() for v in (here, right))
        assert (after - before) * change > 0.5
    torch.testing.assert_close(
        right.cameras.cam2world[:, :3, 3] - here.cameras.cam2world[:, :3, 3], torch.tensor([[1.0, 0, 0]]).expand(6, 3)
    )


def test_colors_are_clamped_and_depth_is_compared_as_z():
    """Focal length 2 of an image of 8 x 9: rays are longer than z. The rendering has half the size."""
    cameras = Cameras(pinhole(2.0, (4, 3.5)), torch.eye(4)[None], 8, 9)
    truth = torch.full((1, 8, 9), 20.0)
    truth[0, 0, 0] = math.nan
    true = Views(torch.ones(1, 3, 8, 9), cameras, ('A',), (0,), true_depth=truth)
    image = torch.full((1, 3, 8, 9), 1.7)
    opacity = torch.ones(1, 4, 5)
    opacity[0, :2] = 0.4
    rendering = Rendering(25.0 * cameras.ray_lengths(4, 5), opacity, rgb=image)
    errors = novel_view_errors(rendering, true)
    assert errors['psnr'] == pytest.approx(100) and errors['ssim'] == pytest.approx(1)
    assert errors['abs_rel'] == pytest.approx(0.25, rel=1e-5) and errors['rmse'] == pytest.approx(5, rel=1e-5)
    # The upper half, but for the pixel of the sky.
    assert errors['holes'] == pytest.approx((4 * 9 - 1) / (8 * 9 - 1))
    dark = novel_view_errors(Rendering(rendering.depth, opacity, rgb=image - 0.8), true)
    assert dark['psnr'] == pytest.approx(20, abs=1e-4)
