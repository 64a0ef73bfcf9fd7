"""The scene NeRF in mmengine: losses of a batch of rays, and cells that are divided as training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmdet3d.registry import HOOKS, MODELS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor

from ..models.checkpoint import read_checkpoint
from ..utils.errors import InputError
from . import growth
from .dataset import DriveRays, training_images
from .field import SceneField
from .field_teacher import OPAQUE, FieldTeacher
from .marching import Marching, Rays
from .nested_grid import NestedBoxes
from .ray_losses import sky_loss, spread_loss
from .seen_space import SeenSpace
from .settings import read_settings

# Meters that a ray into the sky goes.
FARTHEST = 1000.0
# Between which distances the spread of what a ray ends on counts, by their logarithm, meters.
SPREAD = (1.0, 150.0)


@MODELS.register_module()
class SceneNeRF(BaseModel):
    """A field of one drive and its losses.

    Args:
        cell_size: edge of the smallest cells at the end, meters.
        divisions: how often cells are halved until then.
        levels: number of nested boxes.
        reach: how far the innermost box reaches beyond the path: sideways, below, above, meters.
        step: distance of samples, in cells.
        near: where rays begin, meters.
        needed: least weight that a ray must give a cell for it to be kept.
        beam_weight: of the loss of LiDAR beams: free before their end, opaque behind it.
        exposure_weight: of the loss that keeps exposures near the identity.
        sky_weight: of the loss that keeps cells out of the sky, and other pixels opaque.
        spread_weight: of the loss that draws together what a ray ends on.
    """

    def __init__(
        self,
        cell_size: float = 0.1,
        divisions: int = 3,
        levels: int = 4,
        reach: Sequence[float] = (24.0, 4.0, 8.0),
        step: float = 0.7,
        near: float = 0.3,
        needed: float = 0.02,
        beam_weight: float = 0.1,
        exposure_weight: float = 1e-3,
        sky_weight: float = 0.05,
        spread_weight: float = 0.1,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.cell_size, self.divisions, self.levels, self.reach = cell_size, divisions, levels, tuple(reach)
        self.needed, self.beam_weight, self.exposure_weight = needed, beam_weight, exposure_weight
        self.sky_weight, self.spread_weight = sky_weight, spread_weight
        self.field = SceneField.empty(settings=Marching(step=step, near=near))
        self._known = growth.Known.of(None)
        self.register_buffer('seen', torch.zeros(0, dtype=torch.bool))

    def prepare(self, data: DriveRays) -> None:
        """Make the cells that training begins with."""
        cameras = [image.camera_at(*data.image_size) for image in data.images]
        self.learn_of(data)
        largest = self.cell_size * 2**self.divisions
        origins = None if data.beams is None else data.beams.origins
        path = growth.path_of(cameras, origins)
        boxes = NestedBoxes.around(path, largest, self.levels, self.reach, largest)
        some = cameras[:: max(1, len(cameras) // 60)]
        grid, values = growth.first_cells(
            boxes, self._known, some, self.field.settings.near, growth.walls_of(data.beams)
        )
        self.field = SceneField(grid, values, len(data.images), self.field.settings)

    def seen_space(self) -> SeenSpace:
        """Return what the training images saw, in cells as large as those that training began with."""
        boxes = self.field.grid.boxes
        largest = replace(boxes, sizes=boxes.sizes * (self.cell_size * 2**self.divisions / boxes.sizes[0]))
        return SeenSpace(largest, self.seen if len(self.seen) else None)

    @torch.no_grad()
    def mark_seen(self, data: DriveRays) -> None:
        """Note what pixels of all training images see up to the surface: of large images every so many of them."""
        space = self.seen_space()
        stride = max(1, min(4, data.image_size[0] // 56))
        for image in data.images:
            camera = image.camera_at(*data.image_size).to(torch.float32)
            origin, directions = camera.rays(data.image_size[0] // stride, data.image_size[1] // stride)
            directions = directions.reshape(-1, 3)
            rays = Rays.centered(origin.expand_as(directions).contiguous(), directions)
            outputs = self.field.march(rays)
            opacity = 1 - outputs.transmittance
            # The sky is seen through everything.
            distance = torch.where(opacity < OPAQUE, FARTHEST, outputs.distance / opacity.clamp_min(1e-6))
            space.mark(rays.origins, directions, distance)
        self.seen = space.flags

    def learn_of(self, data: DriveRays) -> None:
        """Take what LiDAR says of a drive; asked again when cells are divided."""
        self._known = growth.Known.of(data.evidence)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take what was seen in boxes of any size."""
        if (stored := state_dict.get(prefix + 'seen')) is not None:
            self.seen = torch.zeros_like(stored)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def divide(self) -> None:
        """Drop cells that no ray needed since the last change, and halve the others."""
        field = self.field
        needed = field.largest > self.needed
        field.replace_cells(*growth.divide(field.grid, field.values.detach(), needed, self._known))

    def drop(self) -> None:
        """Drop cells that no ray needed since the last change, nor any cell beside them.

        Small cells of a surface far away may lie between all rays so far: without them it would have holes.
        """
        field = self.field
        kept = field.grid.beside(field.largest > self.needed)
        field.replace_cells(*field.grid.select(kept, field.values.detach()))

    def forward(self, inputs: dict[str, Tensor], data_samples: Any = None, mode: str = 'loss') -> dict[str, Tensor]:
        """Return the losses of a batch of rays; no other mode."""
        if mode != 'loss':
            raise ValueError(f'mode {mode!r}: only loss; render with scene_nerf.teacher')
        pixels, count = _pixel_rays(inputs), len(inputs['images'])
        rays = pixels if 'beam_ends' not in inputs else _joined(pixels, self._beam_rays(inputs))
        outputs = self.field.march(rays)
        colors = self.field.color(outputs.map(lambda x: x[:count]), pixels.directions)
        losses = {
            'loss_color': 3 * F.mse_loss(self.field.exposed(colors, inputs['images']), inputs['colors']),
            'loss_exposure': self.exposure_weight * self.field.exposure.square().sum((1, 2)).mean(),
        }
        passed = outputs.transmittance[:count]
        if 'sky' in inputs:
            losses['loss_sky'] = self.sky_weight * sky_loss(passed, inputs['sky'])
        losses['loss_spread'] = self.spread_weight * spread_loss(passed, outputs.before[:count])
        if rays is not pixels:
            before, behind = outputs.before[count:].unbind(1)
            losses['loss_beams'] = self.beam_weight * ((1 - before).mean() + behind.mean())
        with torch.no_grad():
            losses['psnr'] = -10 * torch.log10(losses['loss_color'] / 3)
        return losses

    def _beam_rays(self, inputs: dict[str, Tensor]) -> Rays:
        """Return rays along beams, with a limit in front of their end and one behind it."""
        origins, ways = inputs['beam_origins'], inputs['beam_ends'] - inputs['beam_origins']
        lengths = ways.norm(dim=1)
        margin = (0.01 * lengths).clamp_min(float(self.field.grid.boxes.sizes[0]))
        limits = torch.stack([lengths - margin, lengths + margin], 1)
        return Rays(origins, ways / lengths[:, None], inputs['beam_jitter'], limits)


def _pixel_rays(inputs: dict[str, Tensor]) -> Rays:
    places = SPREAD[0] * (SPREAD[1] / SPREAD[0]) ** inputs['places']
    return Rays(inputs['origins'], inputs['directions'], inputs['jitter'], places)


def _joined(first: Rays, second: Rays) -> Rays:
    return Rays(*(torch.cat([getattr(rays, name) for rays in (first, second)]) for name in Rays.__dataclass_fields__))


@HOOKS.register_module()
class DivideCells(Hook):
    """Halve the cells of a scene NeRF at some shares of the training, and drop those that no pixel needs at others.

    Args:
        divide: when cells are halved.
        drop: when cells are dropped.
    """

    def __init__(self, divide: Sequence[float] = (0.05, 0.12, 0.25), drop: Sequence[float] = (0.5,)) -> None:
        self.shares = {**dict.fromkeys(divide, 'divide'), **dict.fromkeys(drop, 'drop')}

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Change the cells where it is time to, and forget what the optimizer knows of them.

        At the end, note what was seen; the checkpoint is written after that.
        """
        for share, change in self.shares.items():
            if runner.iter + 1 == round(share * runner.max_iters):
                old = runner.model.field.values
                getattr(runner.model, change)()
                optimizer = runner.optim_wrapper.optimizer
                optimizer.state.pop(old, None)
                for group in optimizer.param_groups:
                    group['params'] = [runner.model.field.values if p is old else p for p in group['params']]
                cells, vertices = len(runner.model.field.grid), len(runner.model.field.values)
                runner.logger.info(f'{change}: {cells:,} cells, {vertices:,} vertices')
        if runner.iter + 1 == runner.max_iters:
            runner.model.eval()
            runner.model.mark_seen(runner.train_dataloader.dataset)
            runner.model.train()


def load_teacher(config: Config, checkpoint: str | Path) -> FieldTeacher:
    """Load a trained field.

    Raises:
        InputError: the checkpoint is missing, damaged, none of a scene NeRF, or of another drive.
    """
    model = MODELS.build({'_scope_': 'mmdet3d', **config.model})
    load_field(model, checkpoint)
    settings = read_settings(config, str(config.filename))
    images = training_images(settings.drive(), settings.holdout_frames)
    if len(images) != len(model.field.exposure):
        raise InputError(
            f'{checkpoint}: was trained on {len(model.field.exposure)} images, but {config.filename} names '
            f'{len(images)}; give the config that it was trained with, which lies beside it'
        )
    return FieldTeacher(model.field.eval(), images, settings.image_size, model.seen_space())


def load_field(model: SceneNeRF, checkpoint: str | Path) -> None:
    """Load the weights of a checkpoint, whatever its cells are."""
    state = read_checkpoint(checkpoint)
    weights = state.get('state_dict', state)
    try:
        model.load_state_dict(weights)
    except (RuntimeError, KeyError) as error:
        reason = ' '.join(str(error).split())[:200]
        raise InputError(f'{checkpoint}: none of a scene NeRF ({reason}); give one of tools/train.py') from error
