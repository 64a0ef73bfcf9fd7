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

from ..models.checkpoint import read_checkpoint, require_finite
from ..utils.errors import InputError, warn
from . import growth
from .cells import Cells
from .columns import walls_of
from .dataset import DriveRays, training_images
from .feature_fit import learn_features
from .field import SceneField
from .field_teacher import OPAQUE, FieldTeacher
from .identity import check_identity, identify
from .marching import Marching, Rays
from .nested_grid import BLOCK, NestedBoxes, NestedGrid
from .numbers import check_number
from .pose_search import find_turns
from .ray_losses import sky_loss, spread_loss
from .seen_space import SeenSpace
from .settings import read_settings
from .solid_pixels import SolidPixels
from .turns import rotate, turn_images

# More cells, occupied or not, do not fit into memory when training begins.
MOST_CELLS = 2**28
# Meters that a ray into the sky goes.
FARTHEST = 1000.0
# Between which distances the spread of what a ray ends on counts, by their logarithm, meters.
SPREAD = (1.0, 150.0)
# Buffers that not every checkpoint has.
OPTIONAL = ('turns', 'solid_images', 'solid_bits')


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
        feature_size: edge of the smallest cells of features, if there are any, meters.
        correct_poses: whether cameras are turned to fit the field (:class:`.pose_hook.CorrectPoses`).

    Attributes:
        turns: ``(n, 3)`` by which the cameras of the training images are turned (:mod:`.turns`); None: not at all.
        solid_images, solid_bits: which pixels of keyframe images are called solid (:class:`.solid_pixels.SolidPixels`);
            None until the training ends, and in checkpoints of earlier versions.
    """

    turns: Tensor | None
    solid_images: Tensor | None
    solid_bits: Tensor | None

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
        feature_size: float = 0.4,
        correct_poses: bool = False,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        for name, value in (('cell_size', cell_size), ('step', step), ('feature_size', feature_size)):
            check_number(f'model.{name}', value, above=0)
        for name, value in (
            ('near', near),
            ('needed', needed),
            ('beam_weight', beam_weight),
            ('sky_weight', sky_weight),
        ):
            check_number(f'model.{name}', value, least=0)
        for name, value in (('exposure_weight', exposure_weight), ('spread_weight', spread_weight)):
            check_number(f'model.{name}', value, least=0)
        check_number('model.divisions', divisions, least=0, whole=True)
        check_number('model.levels', levels, least=1, whole=True)
        if not isinstance(reach, Sequence) or len(reach) != 3:
            raise InputError(f'model.reach is {reach!r}; give meters sideways, below and above')
        for value in reach:
            check_number('model.reach', value, above=0)
        if not isinstance(correct_poses, bool):
            raise InputError(f'model.correct_poses is {correct_poses!r}; give True or False')
        self.correct_poses = correct_poses
        self.cell_size, self.divisions, self.levels, self.reach = cell_size, divisions, levels, tuple(reach)
        self.needed, self.beam_weight, self.exposure_weight = needed, beam_weight, exposure_weight
        self.sky_weight, self.spread_weight, self.feature_size = sky_weight, spread_weight, feature_size
        self.field = SceneField(Cells.empty(), settings=Marching(step=step, near=near))
        self._known = growth.Known.of(None)
        self.register_buffer('seen', torch.zeros(0, dtype=torch.bool))
        self.register_buffer('drive', torch.zeros(0, dtype=torch.uint8))
        for name in OPTIONAL:
            self.register_buffer(name, None)

    def prepare(self, data: DriveRays) -> None:
        """Make the cells that training begins with."""
        cameras = [image.camera_at(*data.image_size) for image in data.images]
        origins = None if data.lidar is None else data.lidar.beams.origins
        path = growth.path_of(cameras, origins)
        known, largest = growth.Known.of(None if data.lidar is None else data.lidar.evidence), self.largest_cell
        boxes = NestedBoxes.around(path, largest, self.levels, self.reach, largest)
        if (count := boxes.blocks.double().prod(1).sum().item() * BLOCK**3) > MOST_CELLS:
            raise InputError(
                f'model.cell_size {self.cell_size:g} and divisions {self.divisions} make {count:.2g} cells of '
                f'{largest:g} m to begin with; give larger cells, more divisions or less reach'
            )
        some = cameras[:: max(1, len(cameras) // 60)]
        walls = walls_of(None if data.lidar is None else data.lidar.still)
        grid, values = growth.first_cells(boxes, known, some, self.field.settings.near, walls)
        device = self.field.cells.values.device
        self.field = SceneField(Cells(grid, values), len(data.images), self.field.settings)
        self.learn_of(data)
        self.field.moving.begin(largest)
        self.field.to(device)

    @property
    def largest_cell(self) -> float:
        """Return the size of the cells of the innermost box that training begins with, meters."""
        return self.cell_size * 2**self.divisions

    def seen_space(self) -> SeenSpace:
        """Return what the training images saw, in cells as large as those that training began with."""
        boxes = self.field.cells.grid.boxes
        largest = replace(boxes, sizes=boxes.sizes * (self.largest_cell / boxes.sizes[0]))
        return SeenSpace(largest, self.seen if len(self.seen) else None)

    @torch.no_grad()
    def mark_seen(self, data: DriveRays) -> None:
        """Note what pixels of all training images see up to the surface: of large images every so many of them."""
        space, values = self.seen_space(), self.field.exposure
        stride = max(1, min(4, data.image_size[0] // 56))
        for image in turn_images(data.images, self.turns):
            camera = image.camera_at(*data.image_size).to(values)
            size = data.image_size[0] // stride, data.image_size[1] // stride
            origin, directions = camera.rays(*size)
            # Through the own car nothing is seen.
            directions = directions[0][torch.from_numpy(~image.own_car_mask(*size)).to(values.device)]
            rays = Rays.centered(origin.expand_as(directions).contiguous(), directions)
            outputs = self.field.march(
                rays, torch.full((len(rays),), image.timestamp, dtype=torch.float64, device=values.device)
            )
            opacity = 1 - outputs.transmittance
            # The sky is seen through everything.
            distance = torch.where(opacity < OPAQUE, FARTHEST, outputs.distance / opacity.clamp_min(1e-6))
            space.mark(rays.origins, directions, distance)
        self.seen = space.flags.to(values.device)

    def mark_solid(self, data: DriveRays) -> None:
        """Note which pixels of keyframe images the labels of the sky call solid."""
        solid, device = SolidPixels.of(data.images, data.sky), self.field.exposure.device
        self.solid_images, self.solid_bits = (x.to(device) for x in (solid.images, solid.bits))

    def solid_pixels(self) -> SolidPixels | None:
        """Return which pixels of keyframe images are called solid; None if that was not noted."""
        if self.solid_images is None or self.solid_bits is None:
            return None
        return SolidPixels(self.solid_images, self.solid_bits)

    def learn_features(self, data: DriveRays) -> None:
        """Learn the features of the drive, where it has some; those of an earlier training go."""
        self.field.features = None
        if (maps := data.features) is not None:
            taken = {image.path: image for image in turn_images(data.images, self.turns)}
            maps = replace(maps, images=tuple(taken[image.path] for image in maps.images))
            self.field.features = learn_features(
                self.field, maps, data.image_size, self.feature_size, self.largest_cell
            )

    def learn_of(self, data: DriveRays) -> None:
        """Take what LiDAR says of a drive, asked again when cells are divided, and what the drive is known by."""
        self._known = growth.Known.of(None if data.lidar is None else data.lidar.evidence)
        if data.lidar is not None:
            self.field.moving.learn_of(data.lidar.things, self.largest_cell)
        self.drive = identify(data.drive.scene, data.images).to(self.drive.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take what was seen in boxes of any size, and what is said of the drive; older checkpoints say nothing."""
        state_dict.setdefault(prefix + 'drive', self.drive)
        for name in ('seen', 'drive'):
            if (stored := state_dict.get(prefix + name)) is not None:
                setattr(self, name, getattr(self, name).new_zeros(stored.shape))
        for name in OPTIONAL:
            stored = state_dict.get(prefix + name)
            setattr(self, name, None if stored is None else torch.zeros_like(stored, device=self.field.exposure.device))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def turn_cameras(self, data: DriveRays) -> None:
        """Turn the cameras of the training images so that these show what the field does."""
        self.turns = find_turns(self.field, data.images, data.pixels, self.turns)

    def divide(self) -> None:
        """Drop cells that no ray needed since the last change, and halve the others."""
        cells = self.field.cells
        needed = cells.largest > self.needed
        if self._take(*growth.divide(cells.grid, cells.values.detach(), needed, self._known)):
            self.field.moving.divide(self.needed)

    def drop(self) -> None:
        """Drop cells that no ray needed since the last change, nor any cell beside them.

        Small cells of a surface far away may lie between all rays so far: without them it would have holes.
        """
        cells, moving = self.field.cells, self.field.moving.cells
        kept = cells.grid.beside(cells.largest > self.needed)
        if self._take(*cells.grid.select(kept, cells.values.detach())):
            moving.select(moving.largest > self.needed)

    def _take(self, grid: NestedGrid, values: Tensor) -> bool:
        """Take other cells that stand; if there are none, keep all cells as they are, with a warning."""
        if len(grid):
            self.field.cells.replace(grid, values)
            return True
        warn(
            f'no ray gave a cell a weight of {self.needed:g} since the last change: the cells stay as they are; train '
            'longer (train_cfg.max_iters) or lower model.needed'
        )
        return False

    def forward(self, inputs: dict[str, Tensor], data_samples: Any = None, mode: str = 'loss') -> dict[str, Tensor]:
        """Return the losses of a batch of rays; no other mode."""
        if mode != 'loss':
            raise ValueError(f'mode {mode!r}: only loss; render with scene_nerf.teacher')
        pixels, times = self._pixel_rays(inputs), inputs['times']
        rays, count = pixels, len(pixels)
        if 'beam_ends' in inputs:
            rays, times = Rays.joined([pixels, self._beam_rays(inputs)]), torch.cat([times, inputs['beam_times']])
        outputs = self.field.march(rays, times)
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

    def _pixel_rays(self, inputs: dict[str, Tensor]) -> Rays:
        """Return whole rays through pixels."""
        directions = inputs['directions']
        if self.turns is not None:
            directions = rotate(self.turns[inputs['images']], directions)
        places = SPREAD[0] * (SPREAD[1] / SPREAD[0]) ** inputs['places']
        return Rays.whole(inputs['origins'], directions, inputs['jitter'], places)

    def _beam_rays(self, inputs: dict[str, Tensor]) -> Rays:
        """Return rays along beams, with a limit in front of their end and one behind it."""
        origins, ways = inputs['beam_origins'], inputs['beam_ends'] - inputs['beam_origins']
        lengths = ways.norm(dim=1)
        margin = (0.01 * lengths).clamp_min(float(self.field.cells.grid.boxes.sizes[0]))
        limits = torch.stack([lengths - margin, lengths + margin], 1)
        return Rays.whole(origins, ways / lengths[:, None], inputs['beam_jitter'], limits)


@HOOKS.register_module()
class DivideCells(Hook):
    """Halve the cells of a scene NeRF at some shares of the training, and drop those that no pixel needs at others.

    Args:
        divide: when cells are halved.
        drop: when cells are dropped.
    """

    # Before the timer, which takes what later hooks need for waiting for data.
    priority = 'ABOVE_NORMAL'

    def __init__(self, divide: Sequence[float] = (0.05, 0.12, 0.25), drop: Sequence[float] = (0.5,)) -> None:
        for name, shares in (('divide', divide), ('drop', drop)):
            if not isinstance(shares, Sequence) or isinstance(shares, str):
                raise InputError(f'{name} of DivideCells is {shares!r}; give a list of shares of the training')
            for share in shares:
                check_number(f'{name} of DivideCells', share, least=0)
        if both := set(divide) & set(drop):
            raise InputError(f'divide and drop of DivideCells both have {min(both):g}; leave it to one of them')
        self.shares = {**dict.fromkeys(divide, 'divide'), **dict.fromkeys(drop, 'drop')}

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Change the cells where it is time to, and forget what the optimizer knows of them.

        At the end, note what was seen and what is solid, and learn features; the checkpoint is written after that.
        """
        for share, change in self.shares.items():
            if runner.iter + 1 == round(share * runner.max_iters):
                parts = (runner.model.field.cells, runner.model.field.moving.cells)
                old = [part.values for part in parts]
                getattr(runner.model, change)()
                optimizer = runner.optim_wrapper.optimizer
                for before, part in zip(old, parts, strict=True):
                    optimizer.state.pop(before, None)
                    for group in optimizer.param_groups:
                        group['params'] = [part.values if p is before else p for p in group['params']]
                runner.logger.info(f'{change}: {describe(runner.model.field)}')
        if runner.iter + 1 == runner.max_iters:
            runner.model.eval()
            runner.model.mark_seen(runner.train_dataloader.dataset)
            runner.model.mark_solid(runner.train_dataloader.dataset)
            runner.model.learn_features(runner.train_dataloader.dataset)
            runner.model.train()
            if (features := runner.model.field.features) is not None:
                runner.logger.info(
                    f'features: {len(features.still):,} cells, {len(features.moving):,} of moving things'
                )


def describe(field: SceneField) -> str:
    """Say how large a field is."""
    cells, moving = len(field.cells), len(field.moving.cells)
    return f'{cells:,} cells, {len(field.moving)} moving things with {moving:,} cells'


def load_teacher(config: Config, checkpoint: str | Path) -> FieldTeacher:
    """Load a trained field.

    Raises:
        InputError: the checkpoint is missing, damaged, none of a scene NeRF, or of another drive.
    """
    model = MODELS.build({'_scope_': 'mmdet3d', **config.model})
    load_field(model, checkpoint)
    settings = read_settings(config, str(config.filename))
    images = training_images(settings.drive(), settings.holdout_frames)
    check_identity(model.drive, len(model.field.exposure), settings.scene, images, checkpoint, str(config.filename))
    taken, solid = turn_images(images, model.turns), model.solid_pixels()
    if solid is None:
        warn(
            f'{checkpoint}: does not say which pixels of images are solid, as it is of an earlier version or of a '
            'training that has not ended: some houses may be taken for the sky; one more step notes it: '
            f'tools/train.py CONFIG --resume {checkpoint}, with one more in train_cfg.max_iters'
        )
    return FieldTeacher(
        model.field.eval(), taken, settings.image_size, model.seen_space(), turns=model.turns, solid=solid
    )


def load_field(model: SceneNeRF, checkpoint: str | Path) -> None:
    """Load the weights of a checkpoint, whatever its cells are."""
    state = read_checkpoint(checkpoint)
    weights = state.get('state_dict', state)
    try:
        model.load_state_dict(weights)
    except (RuntimeError, KeyError) as error:
        reason = ' '.join(str(error).split())[:200]
        raise InputError(f'{checkpoint}: none of a scene NeRF ({reason}); give one of tools/train.py') from error
    require_finite(weights, checkpoint)
