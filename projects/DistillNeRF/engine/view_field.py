"""The field of a drive in the viewer: its keyframes, and what it shows without its sky or its cells."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..configuration.config import load_config
from ..geometry.cameras import Cameras
from ..scene_nerf.cells import Cells
from ..scene_nerf.drive import Drive, DriveImage
from ..scene_nerf.field_teacher import FieldTeacher
from ..scene_nerf.moving_cells import MovingCells
from ..scene_nerf.settings import SECTION
from ..scene_nerf.teacher import TeacherRendering, corrected
from ..utils.errors import InputError
from ..utils.files import require_file
from ..visualization.colors import UNKNOWN_COLOR
from ..visualization.panels import ring_order
from ..visualization.viewer.field_session import MOVING, SKY, STATIC, UNSEEN, FieldPixels, FieldScene
from ..visualization.viewer.viewpoints import Viewpoint
from .machine import prepare_processor
from .teachers import TeacherSource
from .view import leave_a_core

TRAINED = 'give a checkpoint of a scene NeRF that tools/train.py wrote'


class FieldParts:
    """Render a field without some of what it is made of.

    Args:
        teacher: the field; its own colors are shown, not those of recorded images.
    """

    def __init__(self, teacher: FieldTeacher) -> None:
        self._seen = teacher.seen
        self._whole = replace(teacher, seen=None, warp=False, with_features=False)
        self._variants: dict[frozenset[str], FieldTeacher] = {frozenset(): self._whole}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return what can be hidden; moving things where the field tells them apart."""
        return (
            STATIC,
            *([MOVING] if len(self._whole.field.moving) else []),
            SKY,
            *([] if self._seen is None else [UNSEEN]),
        )

    def render(self, timestamp: float, camera: Cameras, hidden: frozenset[str]) -> FieldPixels:
        """Render one camera without hidden parts: the sky behind things, gray behind the sky and for unseen places."""
        pixels = _pixels(self._visible(timestamp, camera, hidden))
        if UNSEEN not in hidden:
            return pixels
        known = replace(self._whole, seen=self._seen).render(camera, timestamp)
        unknown = known.depth[0].isnan() & (known.sky[0] == 0)
        gray = pixels.rgb.new_tensor(UNKNOWN_COLOR)[:, None, None] / 255
        return FieldPixels(
            torch.where(unknown, gray, pixels.rgb),
            pixels.depth.masked_fill(unknown, torch.nan),
            pixels.sky.masked_fill(unknown, 0),
        )

    def _visible(self, timestamp: float, camera: Cameras, hidden: frozenset[str]) -> TeacherRendering:
        return self._variant(hidden - {UNSEEN}).render(camera, timestamp)

    def _variant(self, hidden: frozenset[str]) -> FieldTeacher:
        """Return the field without what stands or moves, or with gray instead of its sky."""
        if hidden not in self._variants:
            field = self._whole.field
            # The rest is shared.
            shared = (field.cells, field.moving, field.features, *field.parameters())
            other = copy.deepcopy(field, {id(part): part for part in shared})
            if STATIC in hidden:
                other.cells = Cells.empty()
            if MOVING in hidden:
                other.moving = MovingCells()
            if SKY in hidden:
                gray = torch.logit(field.sky.new_tensor(UNKNOWN_COLOR) / 255)
                other.sky = nn.Parameter(gray[:, None, None].expand_as(field.sky).clone())
            self._variants[hidden] = replace(self._whole, field=other)
        return self._variants[hidden]


def _pixels(rendering: TeacherRendering) -> FieldPixels:
    assert rendering.image is not None
    return FieldPixels(rendering.image[0], rendering.depth[0], rendering.sky[0])


class DriveTimes:
    """Serve the keyframes of a drive, each a time at which its field is looked at.

    Args:
        teacher: the field.
        drive: the drive.
    """

    def __init__(self, teacher: FieldTeacher, drive: Drive) -> None:
        self._parts, self._drive, self._size = FieldParts(teacher), drive, teacher.image_size
        self._teacher = teacher
        first = self._images(0)
        self._front = max(first, key=lambda image: image.cam2scene[1, 2]).camera

    def __len__(self) -> int:
        return len(self._drive.keyframes)

    def load(self, number: int) -> FieldScene:
        """Read the images of a keyframe.

        Raises:
            InputError: no such keyframe, or an image that is missing or damaged.
        """
        if not 0 <= number < len(self):
            raise InputError(f'sample {number}: the drive has keyframes 0 to {len(self) - 1}')
        images = self._images(number)
        single = [image.camera_at(*self._size).to(torch.float32) for image in images]
        cameras = Cameras(
            torch.cat([one.intrinsics for one in single]), torch.cat([one.cam2world for one in single]), *self._size
        )
        order = ring_order(cameras)
        images, cameras = [images[index] for index in order], cameras[order]
        names = tuple(image.camera for image in images)
        index = names.index(self._front) if self._front in names else 0
        front, begin = images[index], self._images(0)[0].timestamp
        return FieldScene(
            f'{self._drive.scene} frame {self._drive.keyframes[number]}, {front.timestamp - begin:.2f} s',
            cameras,
            names,
            np.stack([image.read(*self._size) for image in images]),
            Viewpoint.of_cameras(cameras, index),
            self._parts.names,
            partial(self._parts.render, front.timestamp),
        )

    def _images(self, number: int) -> list[DriveImage]:
        frame = self._drive.keyframes[number]
        return [corrected(self._teacher, image) for image in self._drive.images if image.frame == frame]


def open_field(
    config: str | None, checkpoint: Path, options: Mapping[str, Any] | None = None, device: str | None = None
) -> DriveTimes:
    """Load the field of a drive.

    Args:
        config: that of its training; ``None`` for the one beside the checkpoint.
        checkpoint: a file that ``tools/train.py`` wrote.
        options: overrides of the config.
        device: where it is rendered; None for the processor.

    Raises:
        InputError: no config, one of something else, a checkpoint that does not fit, or no such device.
    """
    require_file(checkpoint, TRAINED)
    prepare_processor()
    leave_a_core()
    loaded = load_config(config or config_beside(checkpoint), options, sections=(SECTION,))
    source = TeacherSource(loaded, str(checkpoint), device=device)
    drive = source.settings().drive()
    if not drive.keyframes:
        raise InputError(f'{loaded.filename}: scene {drive.scene} has no images; choose another one')
    return DriveTimes(source.open(), drive)


def config_beside(checkpoint: Path) -> Path:
    """Return the config that its training left beside a checkpoint.

    Raises:
        InputError: there is none, or several.
    """
    found = sorted(checkpoint.parent.glob('*.py'))
    if len(found) != 1:
        there = f'several configs ({", ".join(path.name for path in found)})' if found else 'no config'
        raise InputError(f'{checkpoint}: {there} beside it; give the one of its training: CONFIG --scene-nerf CKPT')
    return found[0]
