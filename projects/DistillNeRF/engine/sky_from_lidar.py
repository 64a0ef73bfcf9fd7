"""Sky masks of whole drives by LiDAR and color, without a network, in the layout of docs/DATA.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..foundation_models.map_network import Size
from ..scene_nerf.dataset import LidarKnowledge
from ..scene_nerf.drive import Drive, load_drive
from ..scene_nerf.sky_labels import label_sky
from ..utils.errors import InputError
from .extraction import ExtractionOptions, ImageTask, Loaded, Stages, extract, read_task_image, target
from .sky_masks import SKY, MaskSummary, save_map


class _Labels:
    """Labels of the sky of one drive after the other.

    Args:
        info_files: that have the drives.
        roots: folders of ``img`` and ``lidar``.
        size: (height, width) of the labels.
    """

    def __init__(self, info_files: Sequence[Path], roots: dict[str, str], size: Size) -> None:
        self._files, self._roots, self._size = [str(file) for file in info_files], roots, size
        self._scene: str | None = None
        # By camera and keyframe.
        self._labels: dict[tuple[str, int | None], np.ndarray] = {}

    def of(self, task: ImageTask) -> np.ndarray:
        """Return the labels ``(h, w)`` int8 of an image (:func:`..scene_nerf.sky_labels.label_sky`)."""
        read_task_image(task)
        scene = task.info['scene']
        if scene != self._scene:
            drive = load_drive(self._files, scene, self._roots)
            self._labels, self._scene = self._of_drive(drive), scene
        return self._labels[task.camera, task.info['frame']]

    def _of_drive(self, drive: Drive) -> dict[tuple[str, int | None], np.ndarray]:
        if not drive.sweeps:
            raise InputError(
                f'scene {drive.scene}: has no LiDAR, which tells its sky; use tools/extract_sky_masks.py transformers'
            )
        images = [image for image in drive.images if image.frame is not None]
        pixels = torch.from_numpy(np.stack([image.read(*self._size) for image in images]))
        cameras = [image.camera_at(*self._size) for image in images]
        labels = label_sky(cameras, pixels, LidarKnowledge.of(drive).still)
        return {(image.camera, image.frame): part.numpy() for image, part in zip(images, labels, strict=True)}


def extract_sky_from_lidar(
    tasks: Sequence[ImageTask], lidar_root: Path | None, image_root: Path | None, size: Size, options: ExtractionOptions
) -> tuple[MaskSummary, float]:
    """Write the sky masks of all images that are missing or stale; what is not known is no sky in them.

    Args:
        tasks: the images, with files of :func:`.sky_masks.mask_files`.
        lidar_root, image_root: folders of LiDAR and images; None: that of the first info file.
        size: (height, width) of the masks.
        options: where they go.

    Returns:
        what was made, and the share of pixels of which nothing is known.

    Raises:
        InputError: a scene without LiDAR, damaged files, or files of other settings.
    """
    info_files = list(dict.fromkeys(task.info_file for task in tasks))
    folder = info_files[0].parent
    roots = {'img': str(image_root or folder), 'lidar': str(lidar_root or folder), 'truth': str(folder)}
    drives = _Labels(info_files, roots, size)

    def write(task: ImageTask, more: None, labels: np.ndarray) -> tuple[float, float]:
        save_map(target(options, task, SKY), (labels > 0).astype(np.uint8))
        return float((labels > 0).mean()), float((labels == 0).mean())

    # One reader: drives come one after the other.
    stages = Stages(lambda task: Loaded(drives.of(task)), lambda labels: labels, write)
    done = extract(sorted(tasks, key=lambda task: task.info['scene']), stages, dataclasses.replace(options, workers=1))
    sky, unknown = np.mean([value for _, value in done.values], axis=0) if done.values else (np.nan, np.nan)
    return MaskSummary(done.written, done.kept, float(sky), float('nan'), 0), float(unknown)
