"""The mm model: its three modes, its preprocessor, batches of unlike samples."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement
from torch.utils._python_dispatch import TorchDispatchMode

import projects.DistillNeRF.register  # noqa: F401
from projects.DistillNeRF.models.objective import relative_depth_errors
from projects.DistillNeRF.models.wrapper import DistillNeRFModel, NonFiniteLoss, ViewsPreprocessor
from projects.DistillNeRF.modules.source_views import Sources
from tests.helpers.networks import LOSSES, TINY, lidar_views, make_batch, tiny_model


def test_losses_of_a_batch_with_different_numbers_of_cameras_reach_every_weight():
    model = tiny_model()
    losses = model(make_batch(1, 3), mode='loss')
    total, logged = model.parse_losses(losses)
    assert {name for name in losses if name.startswith('loss')} == {
        *('loss_rgb', 'loss_lidar_depth', 'loss_lidar_depth_coarse', 'loss_weight_entropy'),
        *('loss_weight_entropy_coarse', 'loss_opacity', 'loss_opacity_coarse', 'loss_opacity_fine'),
    }
    expected = sum(value for name, value in losses.items() if name.startswith('loss'))
    torch.testing.assert_close(total, expected)
    assert logged['psnr'] == losses['psnr'] > 0
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_a_sample_without_lidar_trains():
    model = tiny_model()
    losses = model(make_batch(2, lidar=False), mode='loss')
    assert losses['loss_lidar_depth'] == 0
    model.parse_losses(losses)[0].backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


def test_predictions_carry_what_metrics_and_panels_need():
    model = tiny_model().eval()
    batch = make_batch(2, 1)
    samples = [BaseDataElement(metainfo={'token': token}) for token in 'ab']
    with torch.no_grad():
        results = model(batch, samples, mode='predict')
        encoded, renderings = model(batch, mode='tensor')
    assert [result.token for result in results] == ['a', 'b']
    for result, views, inside, rendering in zip(results, batch['input_views'], encoded, renderings, strict=True):
        assert result.input_views is result.target_views is views
        assert torch.equal(result.rgb, rendering.rgb)
        assert torch.equal(result.depth, rendering.depth)
        assert torch.equal(result.opacity, rendering.opacity)
        assert torch.equal(result.coarse_depth, inside.coarse.depth)
        assert torch.equal(result.fine_depth, inside.fine.depth)
        assert result.rgb.shape == views.images.shape
    assert [len(result.rgb) for result in model(batch, mode='predict')] == [2, 1]


def test_targets_may_be_other_cameras_than_the_inputs():
    model = tiny_model()
    inputs, targets = lidar_views(2, 0), lidar_views(3, 1)
    _, (rendering,) = model({'input_views': [inputs], 'target_views': [targets]}, mode='tensor')
    assert rendering.rgb.shape == targets.images.shape


@pytest.mark.parametrize('training', [False, True])
def test_an_input_image_gives_its_own_view_no_color_but_the_next_frame_of_a_car_that_stands(training):
    torch.manual_seed(0)
    model = tiny_model(source_blend={'count': 2, 'channels': 8}).train(training)
    views = make_batch(1)['input_views'][0]
    shown = []
    for frame in (0, 1):
        targets = replace(views, frames=(frame,) * len(views))
        batch = {'input_views': [views], 'target_views': [targets]}
        # With colors changed where they are looked up alone, depth and voxels are the same.
        images = []
        for change in (lambda image: image, lambda image: 1 - image):
            with mock.patch(
                'projects.DistillNeRF.models.network.Sources',
                lambda image, *rest, c=change, **others: Sources(c(image), *rest, **others),
            ):
                images.append(model(batch, mode='tensor')[1][0].rgb)
        shown.append(torch.equal(*images))
    assert shown == [True, False]


def test_jitter_is_for_training_only():
    model = tiny_model(jitter=True)
    batch = make_batch(1)
    first, second = (model(batch, mode='tensor')[1][0].depths for _ in range(2))
    assert not torch.equal(first, second)
    model.eval()
    first, second = (model(batch, mode='tensor')[1][0].depths for _ in range(2))
    assert torch.equal(first, second)


def test_a_mode_that_nobody_knows():
    with pytest.raises(ValueError, match="'guess'"):
        tiny_model()(make_batch(1), mode='guess')


def test_a_decoder_that_does_not_enlarge_to_the_image():
    with pytest.raises(ValueError, match='enlarges 2 times'):
        tiny_model(downscale=4)


def test_the_preprocessor_moves_views_and_leaves_images_as_they_are():
    views = lidar_views(2, 0)
    sample = BaseDataElement()
    moved = ViewsPreprocessor()({'inputs': {'input_views': [views]}, 'data_samples': [sample]})
    result = moved['inputs']['input_views'][0]
    assert torch.equal(result.images, views.images)
    assert result.names == views.names
    preprocessor = ViewsPreprocessor().to('meta')
    assert preprocessor.cast_data({'views': [views]})['views'][0].cameras.intrinsics.device.type == 'meta'


def test_losses_are_found_in_any_default_scope():
    with DefaultScope.overwrite_default_scope('mmengine'):
        assert set(tiny_model().objective.losses) == set(LOSSES)


def test_psnr_is_that_of_the_rendered_target_images():
    """The mean over samples, in dB, of the mean squared error over all views of a sample."""
    model, batch = tiny_model(), make_batch(1, 3)
    losses = model(batch, mode='loss')
    with torch.no_grad():
        _, renderings = model(batch, mode='tensor')
    errors = [(r.rgb - v.images).square().mean() for r, v in zip(renderings, batch['target_views'], strict=True)]
    expected = torch.stack([-10 * error.log10() for error in errors]).mean()
    torch.testing.assert_close(losses['psnr'], expected, rtol=1e-4, atol=0)
    assert not losses['psnr'].requires_grad


def test_the_logged_depth_error_is_relative_to_what_lidar_or_else_the_teacher_knows():
    """Distances along the ray; a sample counts as its mean, one without known depth does not count."""
    views = lidar_views(2, 0)
    lengths = views.cameras.ray_lengths(*views.lidar_depth.shape[-2:])
    known = torch.full_like(views.lidar_depth, math.nan)
    known[0, 0, 0], known[1, 2, 3] = 2.0, 10.0
    rendering = SimpleNamespace(depth=torch.where(known > 5, 15.0, 2.0) * lengths)
    nothing = torch.full_like(known, math.nan)
    samples = [replace(views, lidar_depth=depth) for depth in (known, nothing)]
    errors = relative_depth_errors([rendering, rendering], samples)
    torch.testing.assert_close(errors, {'lidar/abs_rel': torch.tensor(0.25)})
    teacher = replace(views, lidar_depth=None, teacher_depth=known)
    assert relative_depth_errors([rendering], [teacher]) == {'teacher/abs_rel': errors['lidar/abs_rel']}
    assert relative_depth_errors([rendering], [samples[1]]) == {}
    assert relative_depth_errors([rendering], [replace(views, lidar_depth=None, teacher_depth=None)]) == {}


def test_losses_see_inputs_targets_and_the_iteration(monkeypatch):
    model, calls = tiny_model({'rgb': {'type': 'RGBL1Loss'}}), []

    def objective(*arguments) -> dict[str, torch.Tensor]:
        calls.append(arguments)
        return {'loss_rgb': torch.ones(())}

    monkeypatch.setattr(model.objective, 'forward', objective)
    inputs, targets = [lidar_views(2, 0)], [lidar_views(3, 1)]
    with mock.patch.dict(MessageHub._instance_dict, clear=True):
        MessageHub.get_instance('a run').update_info('iter', 41)
        model({'input_views': inputs, 'target_views': targets}, mode='loss')
    ((encoded, renderings, seen_inputs, seen_targets, iteration),) = calls
    assert seen_inputs is inputs and seen_targets is targets and iteration == 41
    assert len(encoded[0].coarse.depth) == 2 and len(renderings[0].depth) == 3


def test_a_loss_that_is_no_number_is_named_with_its_samples():
    model = tiny_model({'rgb': {'type': 'RGBL1Loss'}})
    model(make_batch(1), [BaseDataElement(metainfo={'token': 'a'}), BaseDataElement(metainfo={'token': 'b'})], 'tensor')
    good = torch.ones(())
    with pytest.raises(NonFiniteLoss) as error:
        model.parse_losses({'loss_a': good, 'loss_b': good * float('nan'), 'loss_c': good * float('inf'), 'psnr': good})
    assert (error.value.losses, error.value.samples) == ('loss_b, loss_c', 'a, b')
    total, values = model.parse_losses({'loss_a': good, 'loss_b': 2 * good, 'psnr': 7 * good})
    assert total == 3 and values['psnr'] == 7


def test_losses_of_none_are_left_out_and_boxes_are_for_the_detection_branch():
    model = tiny_model({'rgb': {'type': 'RGBL1Loss'}, 'lidar_depth': None})
    assert list(model.objective.losses) == ['rgb'] and model.detection is None
    assert DistillNeRFModel(TINY).objective.losses.keys() == set()
    assert tiny_model(published_quirks=True).objective.published_quirks
    assert not model.objective.published_quirks and model.objective.space is model.network.space
    assert DistillNeRFModel(TINY, num_camera=2).num_camera == 2


def test_detection_losses_are_added(monkeypatch):
    model, calls = tiny_model({'rgb': {'type': 'RGBL1Loss'}}), []

    class Branch:
        def losses(self, scenes: list, samples: list) -> dict[str, torch.Tensor]:
            calls.append((scenes, samples))
            return {'loss_detection': torch.ones(())}

    model.__dict__['detection'] = Branch()
    monkeypatch.delitem(model._modules, 'detection', raising=False)
    samples = [BaseDataElement(metainfo={'token': 'a'})]
    losses = model(make_batch(1), samples, mode='loss')
    assert set(losses) == {'loss_rgb', 'loss_detection', 'psnr', 'lidar/abs_rel'}
    assert calls[0][1] is samples and len(calls[0][0]) == 1


class Fetches(TorchDispatchMode):
    """Counts the times that numbers come back from the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        # A list of numbers is fetched at once, as a copy to the processor, which is where the numbers of this test are.
        self.count += name in ('_local_scalar_dense', 'item', 'nonzero', 'is_nonzero')
        return func(*args, **(kwargs or {}))


def test_losses_and_what_is_logged_are_fetched_together():
    """Numbers of the host do not make mmengine wait for the device once per value."""
    model = tiny_model({'rgb': {'type': 'RGBL1Loss'}})
    losses = {f'loss_{number}': torch.tensor(number + 0.5) for number in range(9)}
    with Fetches() as fetches:
        total, values = model.parse_losses({**losses, 'psnr': torch.tensor(7.0)})
    assert fetches.count == 0
    assert total == sum(losses.values()) and isinstance(total, torch.Tensor)
    assert values == {'loss': total.item(), **{name: loss.item() for name, loss in losses.items()}, 'psnr': 7}
    assert all(isinstance(value, float) for value in values.values())


def test_a_sum_that_overflows_is_named():
    model = tiny_model({'rgb': {'type': 'RGBL1Loss'}})
    model._samples = 'a'
    large = torch.tensor(3e38)
    with pytest.raises(NonFiniteLoss) as error:
        model.parse_losses({'loss_a': large, 'loss_b': large, 'psnr': torch.tensor(math.nan)})
    assert (error.value.losses, error.value.samples) == ('loss', 'a')
