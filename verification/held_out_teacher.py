"""Score a teacher on the images and the LiDAR that were kept out of its training, as its report does, and its field.

    python -m verification.held_out_teacher CONFIG CHECKPOINT [--method lidar] [--cfg-options ...]

CONFIG and CHECKPOINT are those of tools/render_scene_nerf.py; ``scene_nerf.holdout_frames`` and
``scene_nerf.holdout_lidar_frames`` have to be those of the training. Prints JSON: ``exported`` colors, the colors of
the ``field`` alone, the ``neighbor`` image unchanged (the nearest training image of the camera), and ``depth``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import torch

from projects.DistillNeRF.scene_nerf.drive import Drive, DriveImage
from projects.DistillNeRF.scene_nerf.field_teacher import FieldTeacher
from projects.DistillNeRF.scene_nerf.scores import (
    image_summary,
    images_of,
    merged,
    point_depths,
    render_image,
    score_image,
)
from projects.DistillNeRF.scene_nerf.teacher import Teacher, TeacherRendering
from projects.DistillNeRF.utils.errors import command
from verification.teacher_command import parse_teacher


def colors(images: Sequence[DriveImage], render: Callable[[DriveImage], TeacherRendering]) -> dict[str, Any] | None:
    """Average the scores of renderings of images; None if there are none with colors."""
    scores = [score for image in images if (score := score_image(render(image), image)) is not None]
    return image_summary(scores) if scores else None


def neighbor(drive: Drive, held_out: Sequence[int], image: DriveImage, size: tuple[int, int]) -> TeacherRendering:
    """Return the image of the same camera that is nearest in time and was trained on, as if it were a rendering."""
    known = [one for one in drive.images if one.camera == image.camera and one.frame not in held_out]
    nearest = min(known, key=lambda one: abs(one.timestamp - image.timestamp))
    pixels = torch.from_numpy(nearest.read(*size)).permute(2, 0, 1)[None] / 255
    nothing = torch.full((1, *size), torch.nan)
    return TeacherRendering(nothing, torch.zeros_like(nothing), pixels)


def scores(teacher: Teacher, drive: Drive, frames: Sequence[int], lidar: Sequence[int], size: tuple[int, int]) -> dict:
    """Return all figures of a teacher on what was kept out."""
    images = images_of(drive, frames)
    result: dict[str, Any] = {'exported': colors(images, lambda image: render_image(teacher, image, size))}
    result['neighbor'] = colors(images, lambda image: neighbor(drive, frames, image, size))
    points = point_depths(teacher, drive, lidar, size)
    result['depth'] = merged(list(points.values())).scores() if points else None
    if isinstance(teacher, FieldTeacher):
        teacher.warp = False
        result['field'] = colors(images, lambda image: render_image(teacher, image, size))
    return result


@command
def main() -> None:
    """Print the scores as JSON."""
    source = parse_teacher(__doc__)
    settings = source.settings()
    chosen = settings.holdout_frames, settings.holdout_lidar_frames
    print(json.dumps(scores(source.open(), settings.drive(), *chosen, settings.image_size), indent=2))


if __name__ == '__main__':
    main()
