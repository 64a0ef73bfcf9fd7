"""The network's place in mmengine: data preprocessor, training and prediction steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet3d.registry import MODELS
from mmengine.dist import all_gather_object, all_reduce
from mmengine.logging import MessageHub
from mmengine.model import BaseDataPreprocessor, BaseModel, is_model_wrapper
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from ..geometry.tensors import TensorFields
from ..geometry.views import Views
from ..losses.image import psnr_tensor
from ..losses.modules import build_loss
from ..modules.heads import ColorHead
from .detection_wrapper import DetectionBranch
from .network import DistillNeRF, Encoded
from .objective import Objective, relative_depth_errors
from .scene import Rendering

Batch = dict[str, list[Views]]


class NonFiniteLoss(ArithmeticError):
    """Tell of a loss that is NaN or infinite.

    Attributes:
        losses: names of the losses, in the order of the log.
        samples: tokens of the samples that they were computed on, with the rank of each process if there are several.
    """

    def __init__(self, losses: str, samples: str) -> None:
        super().__init__(f'{losses} on {samples}')
        self.losses, self.samples = losses, samples


def _told_to_all(values: dict[str, float], samples: str) -> NonFiniteLoss:
    """Return the error of all processes, of which some, maybe not this one, have losses that are NaN or infinite."""
    # Beside the losses, and their sum, the log has numbers that are trained on in no way.
    bad = [name for name, value in values.items() if 'loss' in name and not math.isfinite(value)]
    found = all_gather_object((bad[1:] or bad, samples))
    names = dict.fromkeys(name for bad, _ in found for name in bad)
    alone = len(found) == 1
    places = [where if alone else f'{where} (rank {rank})' for rank, (bad, where) in enumerate(found) if bad]
    return NonFiniteLoss(', '.join(names), ', '.join(places))


def unwrap(model: nn.Module) -> nn.Module:
    """Return a model without the wrapper of distributed training."""
    if not is_model_wrapper(model):
        return model
    assert isinstance(model.module, nn.Module)
    return model.module


def _among(inputs: Views, targets: Views, with_past: bool) -> list[bool]:
    """Tell which target views are input views: those of the same camera and frame; ``with_past`` also of past ones."""
    known = set(zip(inputs.names, inputs.frames, strict=True))
    if with_past and inputs.past is not None:
        known |= set(zip(inputs.past.names, inputs.past.frames, strict=True))
    return [view in known for view in zip(targets.names, targets.frames, strict=True)]


def _mean(loss: Tensor | Sequence[Tensor]) -> Tensor:
    """Return the mean of a loss; that of several tensors is the sum of their means, as in mmengine."""
    if not isinstance(loss, Tensor):
        return torch.stack([_mean(part) for part in loss]).sum()
    return loss.mean() if loss.dim() else loss


@MODELS.register_module()
class ViewsPreprocessor(BaseDataPreprocessor):
    """Move the :class:`Views` of a batch to the model's device; their images need no other preparation.

    Args:
        non_blocking: go on while pinned memory is copied to a GPU; work there waits for it by itself.
    """

    def __init__(self, non_blocking: bool = True) -> None:
        super().__init__(non_blocking)

    def cast_data(self, data: Any) -> Any:
        """Do as the base class, for tensor dataclasses as well."""
        if isinstance(data, TensorFields):
            return data.to(self.device, non_blocking=self._non_blocking)
        return super().cast_data(data)


@MODELS.register_module()
class DistillNeRFModel(BaseModel):
    """Train and evaluate the network with its losses.

    Args:
        network: keyword arguments of :class:`.network.DistillNeRF`.
        losses: name -> config of a registered loss, or ``None`` for none; see :class:`.objective.Objective`.
        det_head_3d: keyword arguments of :class:`.detection_wrapper.DetectionBranch`, or ``None`` for none; the
            training data then load boxes (:class:`..hooks.data_for_model_hook.DataForModelHook`).
        num_camera: train and evaluate on so many cameras, those that look most to the front, which the datasets choose
            (the same hook); ``None`` for all.
        visualize_imgs, visualize_voxels, visualize_foundation_model_feat, language_query, save_visualized_imgs,
            text_encoder, voxel_colors, voxel_min_density, vis_save_directory: what is drawn before training and by
            ``tools/visualization.py`` (:class:`..visualization.options.PictureOptions`); the model draws nothing.
        data_preprocessor: config of the preprocessor; ``None`` for :class:`ViewsPreprocessor`.
        voxel_colours: another spelling of ``voxel_colors``.
    """

    def __init__(
        self,
        network: dict,
        losses: dict[str, dict] | None = None,
        det_head_3d: dict | None = None,
        num_camera: int | None = None,
        visualize_imgs: bool = False,
        visualize_voxels: bool = False,
        visualize_foundation_model_feat: bool = False,
        language_query: str | Sequence[str] | bool = False,
        save_visualized_imgs: bool = True,
        text_encoder: str | Mapping[str, Any] | None = None,
        voxel_colors: str | Sequence[str] | None = None,
        voxel_min_density: float | None = None,
        vis_save_directory: str | None = None,
        data_preprocessor: dict | None = None,
        voxel_colours: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor or ViewsPreprocessor())
        self.network = DistillNeRF(**network)
        head = self.network.head
        if isinstance(head, ColorHead) and head.decoder.scale != self.network.downscale:
            raise ValueError(
                f'the decoder enlarges {head.decoder.scale} times, but images are rendered at '
                f'1/{self.network.downscale}: change head.num_layers, head.num_upsample or downscale'
            )
        modules = {name: build_loss(config) for name, config in (losses or {}).items() if config}
        self.objective = Objective(modules, self.network.space, self.network.published_quirks)
        self.detection = None
        if det_head_3d is not None:
            self.detection = DetectionBranch(
                self.network.space, self.network.coarse_level, self.network.channels + 1, **det_head_3d
            )
        self.num_camera = num_camera

    def forward(
        self, inputs: Batch, data_samples: list[BaseDataElement] | None = None, mode: str = 'tensor'
    ) -> dict[str, Tensor] | list[BaseDataElement] | tuple[list[Encoded], list[Rendering]]:
        """Process one batch, as mmengine calls it.

        Args:
            inputs: lists of :class:`Views`, one per sample, under ``input_views`` and ``target_views``.
            data_samples: token, scene and frame of each sample; predictions are added to them.
            mode: ``loss`` for losses, ``predict`` for data samples with predictions, ``tensor`` for the raw results.
        """
        self._samples = ', '.join(str(sample.get('token', '?')) for sample in data_samples or [])
        encoded = self.network.encode(inputs['input_views'])
        jitter = self.training and self.network.jitter
        with_past = self.network.blend is not None and self.network.blend.past
        renderings = [
            # A view that is among the inputs would else be copied.
            sample.scene.render(targets.cameras, jitter=jitter, withhold_own=_among(views, targets, with_past))
            for sample, views, targets in zip(encoded, inputs['input_views'], inputs['target_views'], strict=True)
        ]
        if mode == 'tensor':
            return encoded, renderings
        if mode == 'loss':
            return self._losses(encoded, renderings, inputs, data_samples)
        if mode == 'predict':
            return self._predictions(encoded, renderings, inputs, data_samples or [])
        raise ValueError(f'unknown mode {mode!r}: use loss, predict or tensor')

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Add the losses up; all values are fetched from the device at once, so that nothing waits for it again.

        Returns:
            the sum, and the numbers for the log.

        Raises:
            NonFiniteLoss: one of them is NaN or infinite, in this process or in another: all of them raise the same.
                The weights are still those that gave it.
        """
        means = {name: _mean(value) for name, value in losses.items()}
        total = torch.stack([value for name, value in means.items() if 'loss' in name]).sum()
        stacked = torch.stack([value.detach().float() for value in (total, *means.values())])
        failed = (~total.detach().isfinite()).float()[None]
        all_reduce(failed)
        *numbers, failures = torch.cat([stacked, failed]).tolist()
        values = dict(zip(('loss', *means), numbers, strict=True))
        if failures:
            raise _told_to_all(values, self._samples)
        return total, values

    def _losses(
        self,
        encoded: list[Encoded],
        renderings: list[Rendering],
        inputs: Batch,
        data_samples: list[BaseDataElement] | None,
    ) -> dict[str, Tensor]:
        iteration = MessageHub.get_current_instance().get_info('iter', 0)
        losses = self.objective(encoded, renderings, inputs['input_views'], inputs['target_views'], iteration)
        if self.detection is not None:
            losses |= self.detection.losses([sample.scene for sample in encoded], data_samples or [])
        if self.network.head.renders == 'rgb':
            with torch.no_grad():
                pairs = zip(renderings, inputs['target_views'], strict=True)
                values = [psnr_tensor(image.rgb, views.images) for image, views in pairs if image.rgb is not None]
                losses['psnr'] = torch.stack(values).mean().float()
        return losses | relative_depth_errors(renderings, inputs['target_views'])

    def _predictions(
        self, encoded: list[Encoded], renderings: list[Rendering], inputs: Batch, data_samples: list[BaseDataElement]
    ) -> list[BaseDataElement]:
        for index, (sample, rendering) in enumerate(zip(encoded, renderings, strict=True)):
            if index == len(data_samples):
                data_samples.append(BaseDataElement())
            result = data_samples[index]
            result.input_views = inputs['input_views'][index]
            result.target_views = inputs['target_views'][index]
            for name in ('rgb', 'features'):
                if (rendered := getattr(rendering, name)) is not None:
                    setattr(result, name, rendered)
            result.depth = rendering.depth
            result.opacity = rendering.opacity
            result.coarse_depth = sample.coarse.depth
            result.fine_depth = sample.fine.depth
            result.scene_field = sample.scene
        return data_samples
