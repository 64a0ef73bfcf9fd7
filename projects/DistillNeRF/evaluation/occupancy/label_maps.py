"""Classes of voxels from label maps of the input images, by the pixels that see them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...geometry.cameras import Cameras
from ...models.scene import Scene
from ...semantics.classes import OCC3D_CLASSES
from ...semantics.label_sets import LABEL_SETS, NO_CLASS, occ3d_table
from ...semantics.occ3d import FREE, VOXEL
from ...utils.errors import InputError
from ...utils.files import require_file
from .from_scene import UNSEEN
from .scene_voxels import SceneVoxels

# A pixel sees a voxel whose center is not farther than this behind what it shows, meters.
BEHIND = VOXEL
HINT = 'make the label map of this image again (docs/EVALUATION.md#classes-from-label-maps)'


@dataclass(frozen=True)
class LabelMap:
    """The label map of an image.

    Attributes:
        path: its file; None: it is missing, and may be.
        height, width: of the image itself, pixels; the map may have another size of the same shape.
    """

    path: Path | None
    height: int
    width: int


def read_label_map(record: LabelMap, label_set: str) -> np.ndarray:
    """Read the classes ``(h, w)`` uint8 of Occ3D-nuScenes that an image shows, :data:`NO_CLASS` for none.

    Args:
        record: of a file that must be there.
        label_set: what its numbers are; one of :data:`...semantics.label_sets.LABEL_SETS`.

    Raises:
        InputError: the file is missing, damaged, of another shape than the image, or has other numbers.
    """
    path, table = record.path, occ3d_table(label_set)
    labels = _read_numbers(require_file(path, HINT))
    rows, columns = labels.shape
    # Sizes are whole pixels: a small map may be half a pixel off.
    if abs(columns * record.height - rows * record.width) > min(record.height, record.width) / 2:
        raise InputError(
            f'{path}: the map is {columns}x{rows}, which has not the shape of its image, {record.width}x'
            f'{record.height}; {HINT}'
        )
    wrong = (labels >= len(table)) & (labels != NO_CLASS)
    if wrong.any():
        raise InputError(
            f'{path}: holds the number {labels[wrong][0]}, but {label_set} has 0 to {len(table) - 1}, and '
            f'{NO_CLASS} for unknown; choose another of the label sets {", ".join(LABEL_SETS)}'
        )
    every = np.full(NO_CLASS + 1, NO_CLASS, np.uint8)
    every[: len(table)] = table
    return every[labels]


def _read_numbers(path: str | os.PathLike) -> np.ndarray:
    """Read an array or image of whole numbers up to 255, as uint8."""
    path = Path(path)
    try:
        if path.suffix == '.npy':
            labels = np.load(path, allow_pickle=False)
        else:
            with Image.open(path) as image:
                labels = np.array(image)
    except (OSError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f'{path}: not a readable label map ({error}); {HINT}') from error
    if labels.ndim != 2 or 0 in labels.shape or labels.dtype.kind not in 'ui':
        about = f'{labels.dtype} {labels.shape}'
        raise InputError(f'{path}: holds {about}, not one number per pixel (h, w); write numbers of classes, no colors')
    if labels.min() < 0 or labels.max() > NO_CLASS:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise InputError(f'{path}: holds the number {wrong}; write numbers of classes from 0 to {NO_CLASS}')
    return labels.astype(np.uint8)


class LabelVotes:
    """Tell the classes of voxels of one sample by votes of the pixels that see them.

    A pixel sees a voxel if the voxel's center projects into it and is not more than :data:`BEHIND` farther away than
    what is rendered there, the farthest of the four pixels of the rendering around it. Every camera that sees a voxel
    has one vote, but for pixels of no class, such as the sky; of classes with equally many, that of the nearest camera
    counts. Voxels without any are unseen.

    Args:
        cameras: ``(V,)`` of the images.
        records: their label maps, in the same order.
        label_set: what the numbers in the maps are.

    Raises:
        InputError: a map is damaged.
    """

    def __init__(self, cameras: Cameras, records: Sequence[LabelMap], label_set: str) -> None:
        self._views = [
            (camera, record, torch.from_numpy(read_label_map(record, label_set)))
            for camera, record in enumerate(records)
            if record.path is not None
        ]
        self._cameras = cameras

    def __call__(self, voxels: SceneVoxels) -> Tensor:
        """Return the classes ``(N,)`` uint8 of voxels, :data:`.from_scene.UNSEEN` for those that no pixel sees."""
        centers = voxels.centers()
        votes = centers.new_zeros(len(centers), len(OCC3D_CLASSES))
        cameras = self._cameras.to(centers)
        depth = rendered_depth(voxels.scene, cameras)
        for camera, record, labels in self._views:
            index, classes, distance = _seen_by(cameras[camera], depth[camera], record, labels, centers)
            # All that is added for nearness is less than a vote, whatever the number of cameras.
            weight = 1 + 1 / (2 * len(cameras) * (1 + distance))
            votes.view(-1).index_add_(0, index * votes.shape[1] + classes, weight)
        most, classes = votes[:, :FREE].max(1)
        return torch.where(most > 0, classes, UNSEEN).byte()


def rendered_depth(scene: Scene, cameras: Cameras) -> Tensor:
    """Return the rendered distances ``(V, h, w)`` along the rays of cameras, meters."""
    return scene.render(cameras, ('depth',)).depth


def _seen_by(
    camera: Cameras, depth: Tensor, record: LabelMap, labels: Tensor, centers: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return indices ``(m,)`` of the centers that a camera sees, the classes there, and how far away they are.

    Args:
        camera: one, without a leading axis.
        depth: ``(h, w)`` rendered distance; pixels span the image from corner to corner.
        record, labels: its label map, and that map ``(h_l, w_l)``.
        centers: ``(N, 3)`` in the world.
    """
    pixels, z = camera.project(centers)
    # The image itself: its pixels are as wide as they are apart, the first from -0.5 to 0.5.
    size = pixels.new_tensor([record.width, record.height])
    shares = (pixels * size / pixels.new_tensor([camera.width, camera.height]) + 0.5) / size
    inside = (z > 0) & ((shares >= 0) & (shares < 1)).all(1)
    index = inside.nonzero().squeeze(1)
    distance = (centers[index] - camera.cam2world[:3, 3]).norm(dim=1)
    seen = distance <= _farthest_around(depth, pixels[index], camera) + BEHIND
    index, distance = index[seen], distance[seen]
    u, v = (shares[index] * shares.new_tensor([labels.shape[1], labels.shape[0]])).long().unbind(1)
    classes = labels.to(centers.device)[v, u].long()
    known = classes != NO_CLASS
    return index[known], classes[known], distance[known]


def _farthest_around(depth: Tensor, pixels: Tensor, camera: Cameras) -> Tensor:
    """Return the greatest of the four rendered depths ``(h, w)`` around each of the pixels ``(m, 2)``.

    On a road, depths change by meters from pixel to pixel; that of the nearest one would hide half of it.
    """
    rows, columns = depth.shape
    spans = pixels.new_tensor([camera.width - 1, camera.height - 1])
    place = pixels / spans * pixels.new_tensor([columns - 1, rows - 1])
    ends = (place.floor().long(), place.ceil().long())
    corners = [depth[v[:, 1].clamp(0, rows - 1), u[:, 0].clamp(0, columns - 1)] for v in ends for u in ends]
    return torch.stack(corners).amax(0)
